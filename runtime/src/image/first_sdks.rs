//! Core modules of Spin's first SDKs, by wit-bindgen 0.2: they carry no component
//! types, and their functions have names of their own. The SDK for Go still makes
//! them in its version 2.
//!
//! Each function takes and gives the same numbers in the same places as the one of
//! the same purpose in `fermyon:spin` without a version, and the values in memory
//! lie as they do today. So such a module needs no adapter of its own: it gets
//! today's names and a section with the types of what it imports and exports, and
//! `componentize` goes on from there.
//!
//! Compared were the interfaces of the last of these SDKs, for Rust 1.5 and for Go 2.
//! Of the ones before, a function that is gone is refused by its name, and one that
//! takes other numbers is refused by the encoder. What differed in memory only is not
//! noticed, nor is it by Spin: parameters of an early `outbound-pg` were texts.
//!
//! What a response holds is not freed, since there is no `cabi_post_...`. Nothing
//! is lost by that: an instance answers one request.

use std::borrow::Cow;
use std::collections::BTreeSet;

use anyhow::{Context as _, Result, anyhow, bail};
use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
use wasm_encoder::reencode::{Reencode as _, RoundtripReencoder};
use wasm_encoder::{CustomSection, ExportSection, ImportSection, Module, RawSection};
use wasmparser::{Parser, Payload};
use wit_component::{StringEncoding, metadata};
use wit_parser::{Resolve, SourceMap};

use super::wasm::{FIRST_HANDLER, Interface};

/// What they export to be woken; the interface and the function that it is now.
const EXPORTS: [(&str, &str, &str); 2] = [
    (FIRST_HANDLER, "inbound-http", "handle-request"),
    ("handle-redis-message", "inbound-redis", "handle-message"),
];

/// What they import: the module, the interface that it is now, and its functions.
const IMPORTS: [(&str, &str, &[&str]); 8] = [
    ("spin-config", "config", &["get-config"]),
    ("wasi-outbound-http", "http", &["request"]),
    (
        "outbound-redis",
        "redis",
        &[
            "publish", "get", "set", "incr", "del", "sadd", "smembers", "srem", "execute",
        ],
    ),
    (
        "key-value",
        "key-value",
        &[
            "open", "get", "set", "delete", "exists", "get-keys", "close",
        ],
    ),
    ("sqlite", "sqlite", &["open", "execute", "close"]),
    ("outbound-pg", "postgres", &["query", "execute"]),
    ("outbound-mysql", "mysql", &["query", "execute"]),
    ("llm", "llm", &["infer", "generate-embeddings"]),
];

/// The one function that has another name today: of which import, and both names.
const RENAMED: (&str, &str, &str) = ("wasi-outbound-http", "request", "send-request");

/// The interfaces, one package in several files.
const WIT: [&str; 10] = [
    include_str!("../../bindings/wit/fermyon-spin/config.wit"),
    include_str!("../../bindings/wit/fermyon-spin/key-value.wit"),
    include_str!("../../bindings/wit/fermyon-spin/llm.wit"),
    include_str!("../../bindings/wit/fermyon-spin/mysql.wit"),
    include_str!("../../bindings/wit/fermyon-spin/postgres.wit"),
    include_str!("../../bindings/wit/fermyon-spin/rdbms-types.wit"),
    include_str!("../../bindings/wit/fermyon-spin/redis-types.wit"),
    include_str!("../../bindings/wit/fermyon-spin/redis.wit"),
    include_str!("../../bindings/wit/fermyon-spin/sqlite.wit"),
    include_str!("../../bindings/wit/fermyon-spin-http/http.wit"),
];

/// The one interface whose own file declares types of [`WIT`] again.
const INBOUND_REDIS: &str = "package fermyon:spin;
interface inbound-redis {
  use redis-types.{payload, error};
  handle-message: func(message: payload) -> result<_, error>;
}";

/// Whether a core module is one of these: by what it exports, or, of a command, by
/// what it imports.
pub(super) fn made(interface: &Interface) -> bool {
    let imports = |wanted: &str| interface.imports.iter().any(|name| name == wanted);
    !interface.component
        && !interface.has_component_types
        && (wakes(interface) || IMPORTS.iter().any(|(module, ..)| imports(module)))
}

/// Whether it exports what an event wakes.
pub(super) fn wakes(interface: &Interface) -> bool {
    let exports = |wanted: &str| interface.exports.iter().any(|name| name == wanted);
    EXPORTS.iter().any(|(name, ..)| exports(name))
}

/// The module with today's names, and with the types of its functions.
///
/// # Errors
/// When it imports what these interfaces do not have.
pub(super) fn renewed(module: &[u8]) -> Result<Vec<u8>> {
    let mut renewed = Module::new();
    let mut world = World::default();
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::ImportSection(section) => {
                let mut imports = ImportSection::new();
                for import in section.into_imports() {
                    let import = import?;
                    let (from, name) = world.import(import.module, import.name)?;
                    let kind = RoundtripReencoder.entity_type(import.ty)?;
                    imports.import(&from, name, kind);
                }
                renewed.section(&imports);
            }
            Payload::ExportSection(section) => {
                let mut exports = ExportSection::new();
                for export in section {
                    let export = export?;
                    let kind = RoundtripReencoder.export_kind(export.kind)?;
                    exports.export(&world.export(export.name), kind, export.index);
                }
                renewed.section(&exports);
            }
            payload => {
                if let Some((id, range)) = payload.as_section() {
                    let data = module.get(range).context("a section that is not there")?;
                    renewed.section(&RawSection { id, data });
                }
            }
        }
    }
    renewed.section(&CustomSection {
        name: Cow::Borrowed("component-type:first-sdks"),
        data: Cow::Owned(world.types()?),
    });
    Ok(renewed.finish())
}

/// The interfaces that a module has a part in.
#[derive(Default)]
struct World {
    imports: BTreeSet<&'static str>,
    exports: BTreeSet<&'static str>,
}

impl World {
    /// Where a function comes from today, and its name there.
    fn import<'a>(&mut self, module: &'a str, name: &'a str) -> Result<(Cow<'a, str>, &'a str)> {
        if module == WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME {
            return Ok((Cow::Borrowed(module), name));
        }
        let known = IMPORTS
            .iter()
            .find(|(old, _, functions)| *old == module && functions.contains(&name));
        let Some((_, interface, _)) = known else {
            bail!(
                "it imports `{name}` of `{module}`, which is not among the interfaces of the last \
                 of these SDKs"
            );
        };
        self.imports.insert(interface);
        let (of, old, new) = RENAMED;
        let name = if (module, name) == (of, old) {
            new
        } else {
            name
        };
        Ok((Cow::Owned(format!("fermyon:spin/{interface}")), name))
    }

    fn export<'a>(&mut self, name: &'a str) -> Cow<'a, str> {
        let Some((_, interface, function)) = EXPORTS.iter().find(|(old, ..)| *old == name) else {
            return Cow::Borrowed(name);
        };
        self.exports.insert(interface);
        Cow::Owned(format!("fermyon:spin/{interface}#{function}"))
    }

    /// What wit-bindgen would have written into the module.
    fn types(&self) -> Result<Vec<u8>> {
        let mut world = "package fermyon:spin;\nworld module {\n".to_owned();
        for import in &self.imports {
            world += &format!("import {import};\n");
        }
        for export in &self.exports {
            world += &format!("export {export};\n");
        }
        world += "}\n";
        let mut sources = SourceMap::new();
        let texts = WIT.into_iter().chain([INBOUND_REDIS, &world]);
        for (number, text) in texts.enumerate() {
            sources.push_str(&format!("{number}.wit"), text);
        }
        let group = sources
            .parse()
            .map_err(|(_, error)| anyhow!("the interfaces of the first SDKs: {error:?}"))?;
        let mut resolve = Resolve::default();
        let package = resolve
            .push_group(group)
            .map_err(|error| anyhow!("the interfaces of the first SDKs: {error:?}"))?;
        let world = resolve.packages[package].worlds["module"];
        metadata::encode(&resolve, world, StringEncoding::UTF8, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_today() {
        let mut world = World::default();
        for ((module, name), (from, now)) in [
            (
                ("spin-config", "get-config"),
                ("fermyon:spin/config", "get-config"),
            ),
            (
                ("wasi-outbound-http", "request"),
                ("fermyon:spin/http", "send-request"),
            ),
            (("outbound-pg", "query"), ("fermyon:spin/postgres", "query")),
            (
                ("wasi_snapshot_preview1", "fd_write"),
                ("wasi_snapshot_preview1", "fd_write"),
            ),
        ] {
            let found = world.import(module, name).unwrap();
            assert_eq!(found, (Cow::Borrowed(from), now));
        }
        assert_eq!(world.export("memory"), "memory");
        let http = world.export("handle-http-request");
        assert_eq!(http, "fermyon:spin/inbound-http#handle-request");
    }

    #[test]
    fn what_is_gone_is_refused_by_name() {
        for (module, name) in [("sqlite", "query"), ("wasi-cache", "get"), ("env", "now")] {
            let error = World::default().import(module, name).unwrap_err();
            let named = format!("`{name}` of `{module}`");
            assert!(error.to_string().contains(&named), "{error}");
        }
    }

    /// All of them at once, so that none of the files is wrong.
    #[test]
    fn every_interface_has_its_types() {
        let world = World {
            imports: IMPORTS.iter().map(|(_, interface, _)| *interface).collect(),
            exports: EXPORTS.iter().map(|(_, interface, _)| *interface).collect(),
        };
        assert!(!world.types().unwrap().is_empty());
    }
}
