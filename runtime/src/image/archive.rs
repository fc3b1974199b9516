//! An image in one tar file: an OCI archive, or what `docker save` writes.
//!
//! The tar is indexed once and then read by offset. A gzipped one is first
//! unpacked into a file without a name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek as _};
use std::path::{Component, Path};

use oci_spec::image::Descriptor;

use super::blob::{Blobs, Limits};
use super::digest::Digest;
use super::docker;
use super::error::LoadError;
use super::layout;
use super::spool::{Slice, Spool};
use super::unpack;

/// An image in one tar file.
#[derive(Debug)]
pub struct TarArchive {
    entries: Entries,
    root: Descriptor,
    /// Blobs that an archive of docker's names by path, or that it implies.
    others: BTreeMap<Digest, Held>,
}

/// Where the archive holds a blob that is not at `blobs/sha256/`.
#[derive(Debug)]
pub(super) enum Held {
    /// In this entry, which may be compressed; the digest is of what is inside.
    Entry(String),
    /// Nowhere: made up from the archive's own index.
    Bytes(Vec<u8>),
}

/// The files of a tar by name.
#[derive(Debug)]
pub(super) struct Entries {
    file: File,
    places: BTreeMap<String, (u64, u64)>,
}

impl TarArchive {
    /// Indexes the tar and chooses its image.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let place = path.display().to_string();
        let file = File::open(path).map_err(|source| LoadError::Io {
            act: format!("opening {place}"),
            source,
        })?;
        let file = match is_gzip(&file) {
            true => inflate(file, &place)?,
            false => file,
        };
        let entries = Entries::index(file).map_err(|error| LoadError::reading(&*place, error))?;
        let place_of = |name: &str| format!("{name} in {place}");
        if let Some(index) = entries.open("index.json") {
            let root = layout::read_index(index, &place_of("index.json"))?;
            return Ok(TarArchive {
                entries,
                root,
                others: BTreeMap::new(),
            });
        }
        if entries.open("manifest.json").is_some() {
            let (root, others) = docker::read(&entries, &place)?;
            return Ok(TarArchive {
                entries,
                root,
                others,
            });
        }
        Err(LoadError::corrupt(
            place,
            "is not an image archive: it has neither index.json nor manifest.json",
        ))
    }

    /// The image that the archive holds.
    pub fn root(&self) -> &Descriptor {
        &self.root
    }
}

impl Blobs for TarArchive {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        match self.others.get(digest) {
            Some(Held::Bytes(bytes)) => Ok(Box::new(Cursor::new(bytes))),
            Some(Held::Entry(name)) => unpack::decompress(self.entries.find(name)?),
            None => Ok(Box::new(
                self.entries
                    .find(&format!("blobs/sha256/{}", digest.hex()))?,
            )),
        }
    }
}

impl Entries {
    fn index(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut places = BTreeMap::new();
        (&file).rewind()?;
        let mut archive = tar::Archive::new(&file);
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            let name = entry.path()?;
            // Links stand for layers that the archive holds elsewhere; what is
            // not a plain file is not content.
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let (offset, size) = (entry.raw_file_position(), entry.size());
            if offset.checked_add(size).is_none_or(|end| end > length) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the archive is truncated inside `{}`", name.display()),
                ));
            }
            places.insert(plain(&name), (offset, size));
            if places.len() as u64 > Limits::default().entries {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the archive has too many entries",
                ));
            }
        }
        Ok(Entries { file, places })
    }

    pub(super) fn open(&self, name: &str) -> Option<Slice<'_>> {
        self.places
            .get(name)
            .map(|(offset, size)| Slice::new(&self.file, *offset, *size))
    }

    pub(super) fn find(&self, name: &str) -> io::Result<Slice<'_>> {
        self.open(name)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// The name of an entry without `./` and the like.
fn plain(path: &Path) -> String {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(part) => Some(part.to_string_lossy()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    parts.collect::<Vec<_>>().join("/")
}

fn is_gzip(file: &File) -> bool {
    let mut magic = [0u8; 2];
    Slice::new(file, 0, 2).read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b]
}

fn inflate(file: File, place: &str) -> Result<File, LoadError> {
    let spooling = |error| LoadError::reading(place, error);
    let mut spool = Spool::new(Limits::default().unpacked).map_err(spooling)?;
    let reader = unpack::decompress(file).map_err(spooling)?;
    spool.append(reader).map_err(spooling)?;
    spool.into_file().map_err(spooling)
}
