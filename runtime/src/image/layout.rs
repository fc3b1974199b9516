//! An OCI image layout in a folder: `oci-layout`, `index.json`, `blobs/sha256/`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex};

use super::blob::{Blobs, Limits};
use super::digest::Digest;
use super::error::LoadError;
use super::platform;

/// An OCI image layout in a folder.
#[derive(Debug)]
pub struct Layout {
    dir: PathBuf,
    root: Descriptor,
}

impl Layout {
    /// Opens the layout in this folder and chooses its image.
    pub fn open(dir: &Path) -> Result<Self, LoadError> {
        let index = dir.join("index.json");
        let place = index.display().to_string();
        let file = File::open(&index).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => LoadError::corrupt(
                dir.display().to_string(),
                "is not an OCI image layout: it has no index.json",
            ),
            _ => LoadError::Io {
                act: format!("opening {place}"),
                source: error,
            },
        })?;
        let root = read_index(file, &place)?;
        Ok(Layout {
            dir: dir.to_owned(),
            root,
        })
    }

    /// The image that the layout holds.
    pub fn root(&self) -> &Descriptor {
        &self.root
    }
}

impl Blobs for Layout {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        let file = File::open(self.dir.join("blobs/sha256").join(digest.hex()))?;
        Ok(Box::new(file))
    }
}

/// Reads a layout's `index.json` and chooses its image.
pub(super) fn read_index(reader: impl Read, place: &str) -> Result<Descriptor, LoadError> {
    let limit = Limits::default().manifest;
    let mut bytes = Vec::new();
    reader
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| LoadError::reading(place, error))?;
    if bytes.len() as u64 > limit {
        return Err(LoadError::corrupt(
            place,
            format!("is larger than {limit} bytes"),
        ));
    }
    let index: ImageIndex = serde_json::from_slice(&bytes).map_err(|error| {
        LoadError::corrupt(place, format!("is not a sound image index: {error}"))
    })?;
    platform::choose(index.manifests(), place).cloned()
}
