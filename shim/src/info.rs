//! What this runtime is, for containerd: `-v` in words, `-info` as a message.

use std::io::{self, Read as _, Write as _};
use std::path::Path;

use containerd_shim::protos::protobuf::{Message as _, MessageField};
use containerd_shim::protos::types::introspection::{RuntimeInfo, RuntimeVersion};

/// The runtime type that containerd calls us by, from the name of the binary.
pub(crate) fn runtime_type(program: &str) -> String {
    let name = Path::new(program)
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let words = name
        .strip_prefix("containerd-shim-")
        .and_then(|rest| rest.rsplit_once('-'));
    match words {
        Some((name, version)) => format!("io.containerd.{name}.{version}"),
        None => "io.containerd.catena.v1".to_owned(),
    }
}

/// Prints the version.
pub(crate) fn version(program: &str) -> anyhow::Result<()> {
    Ok(writeln!(
        io::stdout(),
        "{program}:\n  Version: {}",
        env!("CARGO_PKG_VERSION")
    )?)
}

/// Answers `-info` on standard output; the options on standard input change nothing of it.
pub(crate) fn info(program: &str) -> anyhow::Result<()> {
    io::stdin().read_to_end(&mut Vec::new())?;
    let info = RuntimeInfo {
        name: runtime_type(program),
        version: MessageField::some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    Ok(io::stdout().write_all(&info.write_to_bytes()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_type_follows_the_binarys_name() {
        assert_eq!(
            runtime_type("/usr/bin/containerd-shim-catena-v1"),
            "io.containerd.catena.v1"
        );
        assert_eq!(
            runtime_type("containerd-shim-spin-v2"),
            "io.containerd.spin.v2"
        );
        assert_eq!(runtime_type("/usr/bin/catena"), "io.containerd.catena.v1");
    }
}
