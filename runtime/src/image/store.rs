//! Where the contents that a lockfile refers to are: blobs by digest, or files
//! of a root file system.

use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use crate::app::Content;

use super::blob::{self, Expected, Verifying};
use super::digest::Digest;
use super::error::LoadError;
use super::file_url;
use super::layers::Layers;
use super::root::{Found, Root};

/// Where an image's contents are.
pub(super) enum Store {
    /// In the layers of an image, by digest.
    Layers(Layers),
    /// In a root file system, by path.
    Root(Root),
}

/// Some content, opened.
pub(super) struct Opened<'s> {
    /// Its name in a sentence.
    pub(super) what: String,
    pub(super) reader: Verifying<Box<dyn Read + Send + 's>>,
}

impl Opened<'_> {
    pub(super) fn read(self) -> Result<Vec<u8>, LoadError> {
        blob::read_to_end(self.reader, &self.what)
    }

    /// Reads to the end for the digest alone.
    pub(super) fn digest(mut self) -> Result<Digest, LoadError> {
        use sha2::{Digest as _, Sha256};
        let mut hash = Sha256::new();
        io::copy(&mut self.reader, &mut hash)
            .map_err(|error| LoadError::reading(&*self.what, error))?;
        Ok(Digest::from_hash(hash))
    }
}

impl Store {
    /// Opens some content. Nothing larger than `limit` is read of it.
    pub(super) fn open<'s>(
        &'s self,
        content: &'s Content,
        limit: u64,
    ) -> Result<Opened<'s>, LoadError> {
        let digest = digest_of(content)?;
        if let Some(bytes) = &content.inline {
            let expected = Expected {
                digest,
                size: Some(bytes.len() as u64),
                limit,
            };
            let reader = Verifying::new(Box::new(Cursor::new(bytes)) as _, expected);
            return Ok(Opened {
                what: "its inline content".to_owned(),
                reader,
            });
        }
        match self {
            Store::Layers(layers) => layers.open(digest, limit),
            Store::Root(root) => {
                let path = path_of(content)?;
                open_file(root, &path, digest, limit)
            }
        }
    }

    /// Checks that the content is there and not too large, without reading it.
    pub(super) fn check(
        &self,
        content: &Content,
        limit: u64,
        may_be_folder: bool,
    ) -> Result<(), LoadError> {
        match self {
            Store::Root(root) if content.inline.is_none() && may_be_folder => {
                let path = path_of(content)?;
                match find(root, &path)? {
                    Found::Dir(_) => Ok(()),
                    _ => self.open(content, limit).map(|_| ()),
                }
            }
            _ => self.open(content, limit).map(|_| ()),
        }
    }

    /// The files below a folder of the root file system, as paths relative to
    /// it, when the content is such a folder.
    pub(super) fn folder(&self, content: &Content) -> Result<Option<Vec<PathBuf>>, LoadError> {
        let Store::Root(root) = self else {
            return Ok(None);
        };
        if content.inline.is_some() {
            return Ok(None);
        }
        let path = path_of(content)?;
        let Found::Dir(names) = find(root, &path)? else {
            return Ok(None);
        };
        let mut files = Vec::new();
        let mut todo: Vec<PathBuf> = names.into_iter().rev().map(PathBuf::from).collect();
        while let Some(next) = todo.pop() {
            if files.len() + todo.len() > 100_000 || next.components().count() > 64 {
                return Err(LoadError::corrupt(
                    shown(&path),
                    "holds too many files or is too deep (is a link a circle?)",
                ));
            }
            match find(root, &path.join(&next))? {
                Found::Dir(names) => {
                    todo.extend(names.into_iter().rev().map(|name| next.join(name)))
                }
                _ => files.push(next),
            }
        }
        Ok(Some(files))
    }

    /// Opens a file below a folder that `content` names.
    pub(super) fn open_below<'s>(
        &'s self,
        content: &Content,
        below: &Path,
        limit: u64,
    ) -> Result<Opened<'s>, LoadError> {
        match self {
            Store::Root(root) => open_file(root, &path_of(content)?.join(below), None, limit),
            Store::Layers(_) => Err(LoadError::corrupt(
                shown(below),
                "is not in a layer of its own",
            )),
        }
    }
}

/// Opens a file of a root file system.
pub(super) fn open_file<'r>(
    root: &'r Root,
    path: &Path,
    digest: Option<Digest>,
    limit: u64,
) -> Result<Opened<'r>, LoadError> {
    let what = shown(path);
    match find(root, path)? {
        Found::File(_, length) if length > limit => Err(LoadError::corrupt(
            what,
            format!("has {length} bytes; catena takes at most {limit} here"),
        )),
        Found::File(reader, length) => {
            let expected = Expected {
                digest,
                size: Some(length),
                limit,
            };
            Ok(Opened {
                what,
                reader: Verifying::new(reader, expected),
            })
        }
        Found::Dir(_) => Err(LoadError::corrupt(
            what,
            "is a folder where a file is needed",
        )),
        Found::Special => Err(LoadError::corrupt(
            what,
            "is a device or a pipe where a file is needed",
        )),
    }
}

fn find<'r>(root: &'r Root, path: &Path) -> Result<Found<'r>, LoadError> {
    root.find(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => LoadError::corrupt(
            shown(path),
            format!(
                "is not in {}; build the image with the file at that path",
                root.place()
            ),
        ),
        io::ErrorKind::InvalidData => LoadError::corrupt(shown(path), error.to_string()),
        _ => LoadError::Io {
            act: format!("opening {} in {}", shown(path), root.place()),
            source: error,
        },
    })
}

fn shown(path: &Path) -> String {
    format!("`{}`", path.display())
}

/// The digest that the lockfile gives, if it gives one.
pub(super) fn digest_of(content: &Content) -> Result<Option<Digest>, LoadError> {
    let digest = content.digest.as_deref().map(str::parse).transpose();
    digest.map_err(|error: super::DigestError| LoadError::corrupt("its content", error.to_string()))
}

/// The path of a `file://` source.
fn path_of(content: &Content) -> Result<PathBuf, LoadError> {
    const WANTED: &str = "in a root file system it has to be `file:///` and the path";
    let Some(source) = content.source.as_deref() else {
        return Err(LoadError::corrupt(
            "its content",
            format!("has no `source`; {WANTED}"),
        ));
    };
    file_url::to_path(source).ok_or_else(|| {
        LoadError::corrupt(
            "its content",
            format!("has the source `{source}`; {WANTED}"),
        )
    })
}
