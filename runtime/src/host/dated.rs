//! What the release candidates of WASI from 2023 had and its release has not,
//! or has otherwise.
//!
//! A component that imports them (under the names that
//! `compile/candidates.rs` gives them) is linked with the release, whose types
//! they share, and with these functions over it. That of November is the
//! release but for a few functions of `wasi:http/types`; that of October
//! reported errors otherwise, and had other ways to poll and to wait.

use std::borrow::Cow;
use std::collections::BTreeSet;

use wasmtime::component::{Component, ComponentType, Lift, Linker, Lower, Resource, ResourceType};
use wasmtime_wasi::clocks::WasiClocksView as _;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::Host as _;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::io::error::{Error, HostError as _};
use wasmtime_wasi::p2::bindings::io::poll::{Host as _, HostPollable as _};

use super::{State, http};
use crate::engine::Engine;

/// wasmtime's own names of the interfaces.
const POLL: &str = "wasi:io/poll@0.2.12";
const STREAMS: &str = "wasi:io/streams@0.2.12";
const MONOTONIC_CLOCK: &str = "wasi:clocks/monotonic-clock@0.2.12";
/// The release has it not yet.
const TIMEZONE: &str = "wasi:clocks/timezone@0.2.0";

const OCTOBER: &str = "@0.2.0+rc-2023-10-18";
const NOVEMBER: &str = "@0.2.0+rc-2023-11-10";

/// The linker for a component: `linker` itself for one that imports no release
/// candidate of 2023.
///
/// # Errors
/// When wasmtime cannot take a definition: a defect of catena.
pub(crate) fn linker<'l>(
    linker: &'l Linker<State>,
    engine: &Engine,
    component: &Component,
) -> wasmtime::Result<Cow<'l, Linker<State>>> {
    let component = component.component_type();
    let imports = component.imports(engine.wasmtime());
    let dated: BTreeSet<String> = imports
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.contains("+rc-2023-"))
        .collect();
    if dated.is_empty() {
        return Ok(Cow::Borrowed(linker));
    }
    let mut linker = linker.clone();
    linker.allow_shadowing(true);
    let imports = |interface: &str, date: &str| dated.contains(&format!("wasi:{interface}{date}"));
    if imports("http/types", NOVEMBER) {
        http::add_november_to_linker(&mut linker)?;
    }
    if imports("http/types", OCTOBER) {
        http::add_october_to_linker(&mut linker)?;
    }
    if dated.iter().any(|name| name.ends_with(OCTOBER)) {
        add_poll(&mut linker)?;
        add_stream_error(&mut linker)?;
        add_clocks(&mut linker)?;
    }
    Ok(Cow::Owned(linker))
}

fn add_poll(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut poll = linker.instance(POLL)?;
    poll.func_wrap_async(
        "poll-list",
        |mut store, (list,): (Vec<Resource<DynPollable>>,)| {
            Box::new(async move { Ok((store.data_mut().table.poll(list).await?,)) })
        },
    )?;
    poll.func_wrap_async("poll-one", |mut store, (one,): (Resource<DynPollable>,)| {
        Box::new(async move { store.data_mut().table.block(one).await })
    })
}

/// The error of a stream was defined where the streams are.
fn add_stream_error(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut streams = linker.instance(STREAMS)?;
    streams.resource("error", ResourceType::host::<Error>(), |mut store, rep| {
        let error = Resource::<Error>::new_own(rep);
        store.data_mut().table.delete(error)?;
        Ok(())
    })?;
    streams.func_wrap(
        "[method]error.to-debug-string",
        |mut store, (error,): (Resource<Error>,)| {
            Ok((store.data_mut().table.to_debug_string(error)?,))
        },
    )
}

/// How a moment is shown.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct TimezoneDisplay {
    #[component(name = "utc-offset")]
    utc_offset: i32,
    name: String,
    #[component(name = "in-daylight-saving-time")]
    in_daylight_saving_time: bool,
}

fn add_clocks(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.instance(MONOTONIC_CLOCK)?.func_wrap(
        "subscribe",
        |mut store, (when, absolute): (u64, bool)| {
            let mut clocks = store.data_mut().clocks();
            let pollable = match absolute {
                true => clocks.subscribe_instant(when)?,
                false => clocks.subscribe_duration(when)?,
            };
            Ok((pollable,))
        },
    )?;
    // Guests live in UTC.
    let mut timezone = linker.instance(TIMEZONE)?;
    timezone.func_wrap("display", |_, (_when,): (Datetime,)| {
        Ok((TimezoneDisplay {
            utc_offset: 0,
            name: "UTC".to_owned(),
            in_daylight_saving_time: false,
        },))
    })?;
    timezone.func_wrap("utc-offset", |_, (_when,): (Datetime,)| Ok((0i32,)))
}
