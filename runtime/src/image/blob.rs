//! Content by digest: where it comes from, and the one place that verifies it.
//!
//! A [`Blobs`] only finds bytes; [`Verifying`] is the reader that everything
//! else reads them through. Nothing in `image` uses content that has not gone
//! through it to the end.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use super::error::LoadError;
use super::manifest::Part;

/// A place that holds content by digest: a content store, a layout, an archive.
///
/// Calls block. What comes out is verified by the reader of it, never here.
pub trait Blobs: Send + Sync {
    /// Opens the content of this digest. `NotFound` when it is not there.
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>>;

    /// Whether the content is there; by default, whether it can be opened.
    fn contains(&self, digest: &Digest) -> io::Result<bool> {
        match self.open(digest) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// How much an image may weigh, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A manifest or an index.
    pub manifest: u64,
    /// A configuration or a lockfile.
    pub config: u64,
    /// One wasm file.
    pub wasm: u64,
    /// One asset.
    pub data: u64,
    /// All layers together, unpacked.
    pub unpacked: u64,
    /// How many files and folders all layers have together.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Limits {
            manifest: 4 * MIB,
            config: 16 * MIB,
            wasm: 512 * MIB,
            data: 512 * MIB,
            unpacked: 8192 * MIB,
            entries: 1_000_000,
        }
    }
}

/// What is known of some content before it is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    /// Its digest, if anything names one.
    pub(crate) digest: Option<Digest>,
    /// Its exact size, if anything names one.
    pub(crate) size: Option<u64>,
    /// The most that is read of it.
    pub(crate) limit: u64,
}

/// What verification found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error(
        "is truncated: {found} of its {declared} bytes are there; build or fetch the image again"
    )]
    Short { found: u64, declared: u64 },
    #[error("is longer than the {declared} bytes it declares; build or fetch the image again")]
    Long { declared: u64 },
    #[error("is larger than {limit} bytes, the most that catena takes here")]
    Limit { limit: u64 },
    #[error("is corrupt: its content has the digest {found}; build or fetch the image again")]
    Digest { found: Digest },
}

/// Reads content and verifies digest, size and limit; the end of the stream is
/// reported only when all three hold.
pub(crate) struct Verifying<R> {
    inner: R,
    expected: Expected,
    hash: Option<Sha256>,
    found: u64,
}

impl<R: Read> Verifying<R> {
    pub(crate) fn new(inner: R, expected: Expected) -> Self {
        Verifying {
            inner,
            expected,
            hash: Some(Sha256::new()),
            found: 0,
        }
    }

    /// Reads what is left, so that the whole content is verified.
    pub(crate) fn drain(&mut self) -> io::Result<u64> {
        io::copy(self, &mut io::sink())
    }

    fn check_end(&mut self) -> io::Result<()> {
        let Some(hash) = self.hash.take() else {
            return Ok(());
        };
        if let Some(declared) = self.expected.size.filter(|size| *size != self.found) {
            return Err(io::Error::other(Fault::Short {
                found: self.found,
                declared,
            }));
        }
        let found = Digest::from_hash(hash);
        match self.expected.digest {
            Some(digest) if digest != found => Err(io::Error::other(Fault::Digest { found })),
            _ => Ok(()),
        }
    }
}

impl<R: Read> Read for Verifying<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.inner.read(buffer)?;
        if read == 0 {
            self.check_end()?;
            return Ok(0);
        }
        self.found += read as u64;
        if let Some(declared) = self.expected.size.filter(|size| self.found > *size) {
            return Err(io::Error::other(Fault::Long { declared }));
        }
        if self.found > self.expected.limit {
            return Err(io::Error::other(Fault::Limit {
                limit: self.expected.limit,
            }));
        }
        if let Some(hash) = &mut self.hash {
            hash.update(&buffer[..read]);
        }
        Ok(read)
    }
}

/// Opens a part of an image for reading, verified.
pub(crate) fn open<'b>(
    blobs: &'b dyn Blobs,
    part: &Part,
    limit: u64,
) -> Result<Verifying<Box<dyn Read + Send + 'b>>, LoadError> {
    if part.size > limit {
        return Err(LoadError::corrupt(
            part.to_string(),
            format!(
                "declares {} bytes; catena takes at most {limit} here",
                part.size
            ),
        ));
    }
    let reader = blobs
        .open(&part.digest)
        .map_err(|error| LoadError::reading(part.to_string(), error))?;
    let expected = Expected {
        digest: Some(part.digest),
        size: Some(part.size),
        limit,
    };
    Ok(Verifying::new(reader, expected))
}

/// Reads a part of an image whole, verified.
pub(crate) fn read(blobs: &dyn Blobs, part: &Part, limit: u64) -> Result<Vec<u8>, LoadError> {
    read_to_end(open(blobs, part, limit)?, &part.to_string())
}

/// Reads `what` to its verified end.
pub(crate) fn read_to_end<R: Read>(
    mut reader: Verifying<R>,
    what: &str,
) -> Result<Vec<u8>, LoadError> {
    let mut bytes = Vec::new();
    reader
        .read_to_end(&mut bytes)
        .map_err(|error| LoadError::reading(what, error))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(bytes: &[u8], digest: Digest, size: u64, limit: u64) -> Result<Vec<u8>, String> {
        let expected = Expected {
            digest: Some(digest),
            size: Some(size),
            limit,
        };
        read_to_end(Verifying::new(bytes, expected), "layer x").map_err(|error| error.to_string())
    }

    #[test]
    fn sound_content_is_read_whole() {
        assert_eq!(
            verify(b"hello", Digest::of(b"hello"), 5, 5).unwrap(),
            b"hello"
        );
    }

    #[test]
    fn each_fault_is_named() {
        let digest = Digest::of(b"hello");
        let short = verify(b"hell", digest, 5, 99).unwrap_err();
        assert!(
            short.contains("layer x: is truncated: 4 of its 5 bytes"),
            "{short}"
        );
        let long = verify(b"hello world", digest, 5, 99).unwrap_err();
        assert!(long.contains("longer than the 5 bytes"), "{long}");
        let corrupt = verify(b"jello", digest, 5, 99).unwrap_err();
        assert!(
            corrupt.contains("is corrupt") && corrupt.contains(&Digest::of(b"jello").to_string()),
            "{corrupt}"
        );
        let large = verify(b"hello", digest, 5, 4).unwrap_err();
        assert!(large.contains("larger than 4 bytes"), "{large}");
    }
}
