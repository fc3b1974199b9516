//! Decompression of layers, and the names of what is in them.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Component, Path};

/// The longest path that an entry may have, in bytes.
const MAX_PATH: usize = 4096;

/// Undoes gzip or zstd, told by the first bytes; anything else is left as it is.
pub(crate) fn decompress<'r>(
    reader: impl Read + Send + 'r,
) -> io::Result<Box<dyn Read + Send + 'r>> {
    let mut reader = BufReader::with_capacity(1 << 16, reader);
    let start = reader.fill_buf()?;
    if start.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader)));
    }
    if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(Box::new(zstd::stream::read::Decoder::with_buffer(reader)?));
    }
    Ok(Box::new(reader))
}

/// The parts of an entry's path, from the root on; the reason if it is unsafe.
/// A leading `/` means the root of the image, as every unpacker reads it.
pub(crate) fn parts(path: &Path) -> Result<Vec<OsString>, String> {
    let shown = path.display();
    if path.as_os_str().len() > MAX_PATH {
        return Err(format!(
            "has an entry whose path is longer than {MAX_PATH} bytes"
        ));
    }
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part.to_owned()),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(format!(
                    "has the entry `{shown}`, whose path leaves the image with `..`; build the image without it"
                ));
            }
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_apart_from_the_root() {
        assert_eq!(parts(Path::new("./a//b/")).unwrap(), ["a", "b"]);
        assert_eq!(parts(Path::new("/a")).unwrap(), ["a"]);
        assert!(
            parts(Path::new("a/../../b"))
                .unwrap_err()
                .contains("`a/../../b`")
        );
    }

    #[test]
    fn compression_is_told_by_the_first_bytes() {
        let read = |bytes: &[u8]| {
            let mut out = String::new();
            decompress(bytes).unwrap().read_to_string(&mut out).unwrap();
            out
        };
        assert_eq!(read(&zstd::encode_all(&b"hello"[..], 3).unwrap()), "hello");
        assert_eq!(read(b"hello"), "hello");
        assert_eq!(read(b""), "");
    }
}
