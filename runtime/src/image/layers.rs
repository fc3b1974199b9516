//! The contents of an image's layers by digest, also of those that only an
//! archive layer holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use super::blob::{self, Blobs, Expected, Limits, Verifying};
use super::digest::Digest;
use super::error::LoadError;
use super::manifest::Part;
use super::media;
use super::spool::{Slice, Spool};
use super::store::Opened;
use super::unpack::{decompress, parts};

/// The layers of an image, and what its archives hold.
pub(super) struct Layers {
    blobs: Arc<dyn Blobs>,
    parts: BTreeMap<Digest, Part>,
    archived: BTreeMap<Digest, (u64, u64)>,
    archive: Option<File>,
}

impl Layers {
    pub(super) fn new<'p>(
        blobs: Arc<dyn Blobs>,
        parts: impl IntoIterator<Item = &'p Part>,
    ) -> Self {
        let parts = parts
            .into_iter()
            .map(|part| (part.digest, part.clone()))
            .collect();
        Layers {
            blobs,
            parts,
            archived: BTreeMap::new(),
            archive: None,
        }
    }

    /// Takes the contents of these digests that have no layer of their own out
    /// of the image's archives.
    pub(super) fn take_from_archives(
        &mut self,
        wanted: &BTreeSet<Digest>,
        limits: &Limits,
    ) -> Result<(), LoadError> {
        let missing: BTreeSet<_> = wanted
            .iter()
            .filter(|digest| !self.parts.contains_key(digest))
            .copied()
            .collect();
        let archives: Vec<_> = self
            .parts
            .values()
            .filter(|part| media::is_archive(&part.media_type))
            .cloned()
            .collect();
        if missing.is_empty() || archives.is_empty() {
            return Ok(());
        }
        let temporary = |source| LoadError::Io {
            act: "writing a temporary file".to_owned(),
            source,
        };
        let mut spool = Spool::new(limits.unpacked).map_err(temporary)?;
        for part in &archives {
            self.scan(part, &missing, &mut spool, limits)?;
        }
        self.archive = Some(spool.into_file().map_err(temporary)?);
        Ok(())
    }

    fn scan(
        &mut self,
        part: &Part,
        missing: &BTreeSet<Digest>,
        spool: &mut Spool,
        limits: &Limits,
    ) -> Result<(), LoadError> {
        let what = part.to_string();
        let reading = |error| LoadError::reading(&*what, error);
        let mut blob = blob::open(&*self.blobs, part, limits.unpacked)?;
        {
            let expected = Expected {
                digest: None,
                size: None,
                limit: limits.unpacked,
            };
            let mut tar = Verifying::new(decompress(&mut blob).map_err(reading)?, expected);
            let mut archive = tar::Archive::new(&mut tar);
            for entry in archive.entries().map_err(reading)? {
                let mut entry = entry.map_err(reading)?;
                parts(&entry.path().map_err(reading)?)
                    .map_err(|reason| LoadError::corrupt(&*what, reason))?;
                if !entry.header().entry_type().is_file() {
                    continue;
                }
                let mut hashing = Hashing::new(&mut entry);
                let (offset, length) = spool.append(&mut hashing).map_err(reading)?;
                let digest = hashing.finish();
                if missing.contains(&digest) && !self.archived.contains_key(&digest) {
                    self.archived.insert(digest, (offset, length));
                } else {
                    spool.truncate(offset).map_err(reading)?;
                }
            }
            tar.drain().map_err(reading)?;
        }
        blob.drain().map_err(reading)?;
        Ok(())
    }

    pub(super) fn open(&self, digest: Option<Digest>, limit: u64) -> Result<Opened<'_>, LoadError> {
        let Some(digest) = digest else {
            return Err(LoadError::corrupt(
                "its content",
                "has no digest, so that it is in no layer; push the application again with a tool that packs its files",
            ));
        };
        if let Some(part) = self.parts.get(&digest) {
            return Ok(Opened {
                what: part.to_string(),
                reader: blob::open(&*self.blobs, part, limit)?,
            });
        }
        if let (Some(file), Some((offset, length))) = (&self.archive, self.archived.get(&digest)) {
            let expected = Expected {
                digest: Some(digest),
                size: Some(*length),
                limit,
            };
            let reader =
                Verifying::new(Box::new(Slice::new(file, *offset, *length)) as _, expected);
            return Ok(Opened {
                what: format!("archived file {digest}"),
                reader,
            });
        }
        Err(LoadError::corrupt(
            format!("content {digest}"),
            "is in no layer of the image; push the application again",
        ))
    }
}

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    hash: sha2::Sha256,
}

impl<R> Hashing<R> {
    fn new(inner: R) -> Self {
        Hashing {
            inner,
            hash: sha2::Sha256::default(),
        }
    }

    fn finish(self) -> Digest {
        Digest::from_hash(self.hash)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use sha2::Digest as _;
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}
