//! What an operator sets in containerd's configuration of the runtime: read from the options of a
//! Create request, as `containerd.runc.v1.Options` or as `runtimeoptions.v1.Options` with TOML.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use containerd_shim::protos::protobuf::well_known_types::any::Any;
use containerd_shim::protos::protobuf::{CodedInputStream, Message as _};
use containerd_shim::protos::shim::oci;
use serde::Deserialize;

/// The runtime's options; every field has a default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    /// Whether systemd manages the containers' cgroups.
    #[serde(default, rename = "SystemdCgroup", alias = "systemd_cgroup")]
    pub(crate) systemd_cgroup: bool,
    /// Where compiled code is kept on this node.
    #[serde(default)]
    pub(crate) cache_dir: Option<PathBuf>,
}

impl Options {
    /// Reads the options of a Create request.
    pub(crate) fn from_any(any: Option<&Any>) -> anyhow::Result<Options> {
        let Some(any) = any else {
            return Ok(Options::default());
        };
        match any.type_url.rsplit('/').next().unwrap_or_default() {
            "" if any.value.is_empty() => Ok(Options::default()),
            "containerd.runc.v1.Options" => {
                let options = oci::Options::parse_from_bytes(&any.value)
                    .context("reading the runtime's options")?;
                Ok(Options {
                    systemd_cgroup: options.systemd_cgroup,
                    cache_dir: None,
                })
            }
            "runtimeoptions.v1.Options" | "cri.runtimeoptions.v1.Options" => {
                let (path, body) = generic(&any.value).context("reading the runtime's options")?;
                match (path.as_str(), body.as_slice()) {
                    ("", body) => Options::from_toml(body, "containerd's options of the runtime"),
                    (path, _) => {
                        let body = std::fs::read(path).with_context(|| {
                            format!("reading the runtime's options from {path}")
                        })?;
                        Options::from_toml(&body, path)
                    }
                }
            }
            other => bail!(
                "the runtime's options have the type {other:?}: write containerd.runc.v1.Options \
                 or runtimeoptions.v1.Options into containerd's configuration"
            ),
        }
    }

    fn from_toml(body: &[u8], place: &str) -> anyhow::Result<Options> {
        let text = std::str::from_utf8(body).with_context(|| format!("{place} is no text"))?;
        toml::from_str(text).with_context(|| format!("reading {place}"))
    }
}

/// `config_path` and `config_body` of a `runtimeoptions.v1.Options` message.
fn generic(message: &[u8]) -> anyhow::Result<(String, Vec<u8>)> {
    let mut input = CodedInputStream::from_bytes(message);
    let (mut path, mut body) = (String::new(), Vec::new());
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        // A field's tag is its number, shifted by three bits, and 2 for "bytes".
        match tag {
            0x12 => path = input.read_string()?,
            0x1a => body = input.read_bytes()?,
            tag if tag & 7 == 2 => drop(input.read_bytes()?),
            tag if tag & 7 == 0 => drop(input.read_raw_varint64()?),
            tag => bail!("unexpected field with tag {tag}"),
        }
    }
    Ok((path, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(type_url: &str, value: Vec<u8>) -> Any {
        Any {
            type_url: type_url.into(),
            value,
            ..Default::default()
        }
    }

    #[test]
    fn no_options_are_the_defaults() {
        assert_eq!(Options::from_any(None).unwrap(), Options::default());
    }

    #[test]
    fn runc_options_tell_the_cgroup_driver() {
        let runc = oci::Options {
            systemd_cgroup: true,
            ..Default::default()
        };
        let any = any("containerd.runc.v1.Options", runc.write_to_bytes().unwrap());
        assert!(Options::from_any(Some(&any)).unwrap().systemd_cgroup);
    }

    #[test]
    fn generic_options_are_toml_in_the_body_or_in_a_file() {
        let toml = b"SystemdCgroup = true\ncache_dir = '/c'\n";
        let mut value = vec![0x0a, 1, b't', 0x1a, toml.len() as u8];
        value.extend_from_slice(toml);
        let expected = Options {
            systemd_cgroup: true,
            cache_dir: Some("/c".into()),
        };
        let body = any("type.googleapis.com/runtimeoptions.v1.Options", value);
        assert_eq!(Options::from_any(Some(&body)).unwrap(), expected);

        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, toml).unwrap();
        let path = file.path().to_str().unwrap();
        let mut value = vec![0x12, path.len() as u8];
        value.extend_from_slice(path.as_bytes());
        let by_path = any("runtimeoptions.v1.Options", value);
        assert_eq!(Options::from_any(Some(&by_path)).unwrap(), expected);
    }

    #[test]
    fn unknown_options_are_refused() {
        let toml = b"cache = 1";
        let mut value = vec![0x1a, toml.len() as u8];
        value.extend_from_slice(toml);
        let error = Options::from_any(Some(&any("runtimeoptions.v1.Options", value))).unwrap_err();
        assert!(
            format!("{error:#}").contains("unknown field `cache`"),
            "{error:#}"
        );
        assert!(Options::from_any(Some(&any("x.Options", vec![]))).is_err());
    }
}
