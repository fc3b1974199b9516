//! Takes from a dependency what it may not use of its parent's.
//!
//! Both have the same host, which gives what a name says. So the imports through
//! which a dependency could reach anything get other names: `wasi:http/client`
//! becomes `denied-wasi:http/client`, and `host::denied` answers there. What it
//! may import under its own name is a list of what gives no power by itself; an
//! interface that is added to the host and not to the list is denied.

use anyhow::bail;
use wasmparser::{ComponentImportSectionReader, Parser, Payload};

use crate::app::{Inherit, Power};

/// Begins the names of interfaces that give nothing.
pub(crate) const DENIED: &str = "denied-";

/// Whose interfaces the host gives; no other is there to be denied.
const HOSTS: [&str; 3] = ["wasi:", "fermyon:", "spin:"];

/// What an interface gives to who imports it.
#[derive(Debug, PartialEq, Eq)]
enum Gives {
    /// Nothing that reaches beyond the instance, or only what it was handed.
    Nothing,
    /// What this permits.
    Power(Power),
    /// Something that has no name of its own.
    More,
}

/// `wasm`, a component, with all it may not use denied to it.
///
/// # Errors
/// When it is damaged.
pub(super) fn isolate(wasm: &[u8], inherit: &Inherit) -> anyhow::Result<Vec<u8>> {
    if *inherit == Inherit::All {
        return Ok(wasm.to_vec());
    }
    let mut out = Vec::with_capacity(wasm.len() + 1024);
    let mut copied = 0;
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match &payload {
            Payload::Version { range, .. } => {
                depth += 1;
                if depth == 1 {
                    out.extend(&wasm[..range.end]);
                    copied = range.end;
                }
                continue;
            }
            Payload::End(_) => {
                depth = depth.saturating_sub(1);
                continue;
            }
            _ if depth != 1 => continue,
            _ => {}
        }
        let Some((id, range)) = payload.as_section() else {
            continue;
        };
        if let Payload::ComponentImportSection(section) = &payload {
            let content = renamed(wasm, section, inherit)?;
            out.push(id);
            put_length(&mut out, content.len())?;
            out.extend(content);
        } else {
            out.extend(&wasm[copied..range.end]);
        }
        copied = range.end;
    }
    Ok(out)
}

/// The content of a section of imports, with other names.
fn renamed(
    wasm: &[u8],
    section: &ComponentImportSectionReader<'_>,
    inherit: &Inherit,
) -> anyhow::Result<Vec<u8>> {
    let range = section.range();
    let mut content = Vec::new();
    let mut copied = range.start;
    for import in section.clone().into_iter_with_offsets() {
        let (start, import) = import?;
        let name = import.name.name;
        if let Some(interface) = import.name.implements {
            // Catena gives by names alone; what the host may give otherwise is not ours to sort.
            bail!(
                "it imports `{name}` as an implementation of `{interface}`; build it without that"
            );
        }
        if may_import(name, inherit) {
            continue;
        }
        // An import is one byte, the name's length, the name, and its type.
        let name_end = name.as_ptr().addr() - wasm.as_ptr().addr() + name.len();
        content.extend(&wasm[copied..=start]);
        put_length(&mut content, DENIED.len() + name.len())?;
        content.extend(DENIED.as_bytes());
        content.extend(name.as_bytes());
        copied = name_end;
    }
    content.extend(&wasm[copied..range.end]);
    Ok(content)
}

fn may_import(name: &str, inherit: &Inherit) -> bool {
    if !HOSTS.iter().any(|host| name.starts_with(host)) {
        return true;
    }
    match gives(name) {
        Gives::Nothing => true,
        Gives::Power(power) => inherit.has(power),
        Gives::More => false,
    }
}

/// What an interface of the host gives, by its name, whatever its version.
fn gives(name: &str) -> Gives {
    let path = name.split('@').next().unwrap_or_default();
    let Some((package, interface)) = path.split_once('/') else {
        return Gives::More;
    };
    match (package, interface) {
        ("wasi:io" | "wasi:clocks" | "wasi:random", _) => Gives::Nothing,
        ("wasi:cli", "environment") => Gives::Power(Power::Environment),
        // What happened in it is the component's to tell, whoever was at work.
        ("wasi:otel", _) => Gives::Nothing,
        // The standard streams are the container's log for whoever is in it.
        ("wasi:cli", "exit" | "stdin" | "stdout" | "stderr" | "types") => Gives::Nothing,
        ("wasi:cli", terminal) if terminal.starts_with("terminal-") => Gives::Nothing,
        ("wasi:http", "types") => Gives::Nothing,
        ("wasi:http", "outgoing-handler" | "client") => Gives::Power(Power::AllowedOutboundHosts),
        // Files are opened below a folder that somebody has.
        ("wasi:filesystem", "types") => Gives::Nothing,
        ("wasi:filesystem", "preopens") => Gives::Power(Power::Files),
        ("wasi:sockets", "network" | "instance-network") => Gives::Nothing,
        ("wasi:sockets", _) => Gives::Power(Power::AllowedOutboundHosts),
        ("wasi:keyvalue", _) => Gives::Power(Power::KeyValueStores),
        ("wasi:config", _) => Gives::Power(Power::Variables),
        ("fermyon:spin", types) if types.ends_with("-types") => Gives::Nothing,
        ("fermyon:spin", name) => gives_of_spin(name),
        (package, _) => match package.strip_prefix("spin:") {
            Some(name) => gives_of_spin(name),
            None => Gives::More,
        },
    }
}

/// The same for the interfaces of Spin. Servers of databases belong to
/// `sqlite_databases`, as Spin has it; which of them, the hosts of the component
/// say.
fn gives_of_spin(name: &str) -> Gives {
    match name {
        "llm" => Gives::Power(Power::AiModels),
        "http" | "redis" | "mqtt" => Gives::Power(Power::AllowedOutboundHosts),
        "key-value" => Gives::Power(Power::KeyValueStores),
        "sqlite" | "mysql" | "postgres" => Gives::Power(Power::SqliteDatabases),
        "config" | "variables" => Gives::Power(Power::Variables),
        _ => Gives::More,
    }
}

/// A length as wasm has it: seven bits a byte.
fn put_length(out: &mut Vec<u8>, length: usize) -> anyhow::Result<()> {
    let mut rest = u32::try_from(length)?;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push((rest & 0x7f) as u8);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::image::Interface;

    /// A component that imports empty instances of these names, and holds a component that imports
    /// the first of them too.
    fn importing(names: &[&str]) -> Vec<u8> {
        let mut wasm = nested(names);
        let inner = nested(&names[..1]);
        wasm.push(4);
        put_length(&mut wasm, inner.len()).unwrap();
        wasm.extend(inner);
        wasm
    }

    fn nested(names: &[&str]) -> Vec<u8> {
        let mut wasm = b"\0asm\x0d\0\x01\0".to_vec();
        // One type, an instance with nothing in it; imports of that type.
        wasm.extend([7, 3, 1, 0x42, 0]);
        let mut section = vec![u8::try_from(names.len()).unwrap()];
        for name in names {
            // The length in more bytes than it needs.
            section.extend([0, u8::try_from(name.len()).unwrap() | 0x80, 0]);
            section.extend(name.as_bytes());
            section.extend([5, 0]);
        }
        wasm.push(10);
        put_length(&mut wasm, section.len()).unwrap();
        wasm.extend(section);
        wasm
    }

    #[test]
    fn what_a_dependency_may_not_use_is_renamed() {
        let names = [
            "wasi:http/outgoing-handler@0.2.6",
            "example:own/thing@1.0.0",
            "wasi:filesystem/preopens@0.2.6",
            "wasi:io/streams@0.2.6",
            "plain",
        ];
        let wasm = importing(&names);
        let imports = |inherit: &Inherit| {
            let isolated = isolate(&wasm, inherit).unwrap();
            wasmparser::Validator::new()
                .validate_all(&isolated)
                .expect("still a component");
            Interface::read(&isolated).unwrap().imports
        };
        assert_eq!(
            imports(&Inherit::nothing()),
            [
                "denied-wasi:filesystem/preopens@0.2.6",
                "denied-wasi:http/outgoing-handler@0.2.6",
                "example:own/thing@1.0.0",
                "plain",
                "wasi:io/streams@0.2.6",
            ]
        );
        let files = Inherit::Some(BTreeSet::from([Power::Files]));
        assert!(imports(&files).contains(&names[2].to_owned()));
        assert!(!imports(&files).contains(&names[0].to_owned()));
        assert_eq!(isolate(&wasm, &Inherit::All).unwrap(), wasm);
    }

    #[test]
    fn what_is_not_known_is_denied() {
        for name in [
            "wasi:nn/graph@1.0.0",
            "spin:new/thing",
            "wasi:x",
            "fermyon:spin/new",
        ] {
            assert!(!may_import(name, &Inherit::nothing()), "{name}");
            assert_eq!(gives(name), Gives::More, "{name}");
        }
        for name in [
            "wasi:http/types@0.2.0",
            "fermyon:spin/http-types",
            "wasi:otel/tracing@0.2.0-rc.2",
            "wasi:cli/stdout@0.3.0",
        ] {
            assert!(may_import(name, &Inherit::nothing()), "{name}");
        }
    }
}
