//! `file://` URLs, by which a lockfile names files of a root file system.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// The absolute path that a URL names. `None` when it is no sound `file:///`
/// URL of this machine.
pub(super) fn to_path(url: &str) -> Option<PathBuf> {
    let path = url
        .strip_prefix("file://")
        .filter(|path| path.starts_with('/'))?;
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high << 4 | low).ok()?
            }
            other => other,
        });
    }
    (!bytes.contains(&0)).then(|| OsString::from_vec(bytes).into())
}

/// The `file://` URL of an absolute path.
pub(super) fn from_path(path: &Path) -> String {
    let mut url = "file://".to_owned();
    if !path.has_root() {
        url.push('/');
    }
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                url.push(char::from(*byte))
            }
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_its_url() {
        for path in ["/components/a.wasm", "/a b%/é.wasm"] {
            assert_eq!(
                to_path(&from_path(Path::new(path))).unwrap(),
                Path::new(path)
            );
        }
        for url in [
            "",
            "/x",
            "http://x/y",
            "file://host/x",
            "file:///%zz",
            "file:///%+1",
            "file:///%00",
        ] {
            assert_eq!(to_path(url), None, "{url}");
        }
    }
}
