//! Turns a core module into a component.
//!
//! The engine calls it before it compiles, and the packer before it writes an
//! image, so that everything below them sees components only.

use std::borrow::Cow;

use anyhow::{Context as _, Result, bail};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::ComponentEncoder;

use super::first_sdks;
use super::wasm::Interface;

/// The component of these bytes: a component as it is, a core module encoded as
/// one with the WASI adapter that it needs.
///
/// # Errors
/// When they are no module, or one that cannot be turned into a component.
pub fn componentize(bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
    let interface =
        Interface::read(bytes).map_err(|reason| anyhow::anyhow!("the file {reason}"))?;
    if interface.component {
        return Ok(Cow::Borrowed(bytes));
    }
    if first_sdks::made(&interface) {
        check_allocator(&interface)?;
        return first_sdks::renewed(bytes)
            .and_then(|module| encode(&module, first_adapter(&interface)))
            .map(Cow::Owned)
            .context(
                "this core module of one of Spin's first SDKs cannot be turned into a component; \
                 build it again with a newer SDK",
            );
    }
    let adapter = adapter(&interface)?;
    let component = encode(bytes, adapter).context(
        "this core module cannot be turned into a component; build it as a component (for example \
         for wasm32-wasip2)",
    )?;
    Ok(Cow::Owned(component))
}

fn encode(module: &[u8], adapter: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default()
        .module(module)
        .and_then(|encoder| encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter))
        .and_then(|encoder| encoder.validate(true).encode())
}

/// One of the first SDKs' modules that events wake may export a `_start` as well;
/// TinyGo's do. It is not called.
fn first_adapter(interface: &Interface) -> &'static [u8] {
    if first_sdks::wakes(interface) || !interface.runs() {
        WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER
    } else {
        WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER
    }
}

/// A program with `_start` needs the command adapter, which exports
/// `wasi:cli/run`. A library whose interface was written by wit-bindgen (0.5 or
/// newer leaves component types in custom sections, and `interface#function`
/// exports) needs the reactor adapter, which adds no export.
fn adapter(interface: &Interface) -> Result<&'static [u8]> {
    let starts = interface.exports.iter().any(|name| name == "_start");
    let has_world_exports = interface.exports.iter().any(|name| name.contains('#'));
    match (interface.has_component_types, starts) {
        (true, false) => Ok(WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER),
        (true, true) if has_world_exports => Ok(WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER),
        (_, true) => {
            check_allocator(interface)?;
            Ok(WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER)
        }
        (false, false) => bail!(
            "this core module exports no `_start` and carries no component types; \
             build it as a WASI command, or with wit-bindgen 0.5 or newer"
        ),
    }
}

/// What wit-bindgen has a module export, now and by 0.2.
const ALLOCATORS: [&str; 2] = ["cabi_realloc", "canonical_abi_realloc"];

/// The first version of clang that no wasi-sdk with the fault below has.
const SOUND_CLANG: [u32; 3] = [15, 0, 7];

/// Refuses a module whose allocator may overwrite what the adapter keeps in the
/// same memory: that of wasi-libc before its pull request 377 takes all memory
/// that it finds for its own. The mending came with wasi-sdk 18, but what a module
/// tells is its clang, and wasi-sdk 19 is the first that has another. As Spin does,
/// modules of wit-bindgen are taken: the adapter asks their allocator for memory.
/// So are those that do not say what compiled them, or not so that it can be read.
fn check_allocator(interface: &Interface) -> Result<()> {
    let asked = |name: &String| ALLOCATORS.contains(&name.as_str());
    if interface.has_component_types || interface.exports.iter().any(asked) {
        return Ok(());
    }
    let Some(clang) = interface.clang.as_deref() else {
        return Ok(());
    };
    if version(clang).is_some_and(|number| number < SOUND_CLANG) {
        bail!(
            "this core module was compiled with clang {clang}, of a wasi-sdk before 19, whose \
             allocator may overwrite memory that is not its own; build it again with wasi-sdk 19 \
             or newer, or with a newer version of its language"
        );
    }
    Ok(())
}

/// `15.0.7`, whatever follows after a space.
fn version(clang: &str) -> Option<[u32; 3]> {
    let mut numbers = clang.split(' ').next()?.splitn(3, '.').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some([next()?, next()?, next()?])
}
