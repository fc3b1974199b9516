//! Where the contents that a lockfile refers to are: blobs by digest, or files
//! of a root file system.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::app::Content;

use super::blob::{self, Blobs, Expected, Limits, Verifying};
use super::digest::Digest;
use super::error::LoadError;
use super::manifest::Part;
use super::media;
use super::root::{Found, Root};
use super::spool::{Slice, Spool};
use super::unpack::{decompress, parts};

/// Where an image's contents are.
pub(super) enum Store {
    /// In the layers of an image, by digest.
    Layers(Layers),
    /// In a root file system, by path.
    Root(Root),
}

/// The layers of an image, and what its archives hold.
pub(super) struct Layers {
    blobs: Arc<dyn Blobs>,
    parts: BTreeMap<Digest, Part>,
    archived: BTreeMap<Digest, (u64, u64)>,
    archive: Option<File>,
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
        io::copy(&mut self.reader, &mut hash).map_err(|error| LoadError::reading(&*self.what, error))?;
        Ok(Digest::from_hash(hash))
    }
}

impl Store {
    /// Opens some content. Nothing larger than `limit` is read of it.
    pub(super) fn open<'s>(&'s self, content: &'s Content, limit: u64) -> Result<Opened<'s>, LoadError> {
        let digest = digest_of(content)?;
        if let Some(bytes) = &content.inline {
            let expected = Expected { digest, size: Some(bytes.len() as u64), limit };
            let reader = Verifying::new(Box::new(Cursor::new(bytes)) as _, expected);
            return Ok(Opened { what: "its inline content".to_owned(), reader });
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
    pub(super) fn check(&self, content: &Content, limit: u64, may_be_folder: bool) -> Result<(), LoadError> {
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
        let Store::Root(root) = self else { return Ok(None) };
        if content.inline.is_some() {
            return Ok(None);
        }
        let path = path_of(content)?;
        let Found::Dir(names) = find(root, &path)? else { return Ok(None) };
        let mut files = Vec::new();
        let mut todo: Vec<PathBuf> = names.into_iter().rev().map(PathBuf::from).collect();
        while let Some(next) = todo.pop() {
            if files.len() + todo.len() > 100_000 || next.components().count() > 64 {
                return Err(LoadError::corrupt(shown(&path), "holds too many files or is too deep (is a link a circle?)"));
            }
            match find(root, &path.join(&next))? {
                Found::Dir(names) => todo.extend(names.into_iter().rev().map(|name| next.join(name))),
                _ => files.push(next),
            }
        }
        Ok(Some(files))
    }

    /// Opens a file below a folder that `content` names.
    pub(super) fn open_below<'s>(&'s self, content: &Content, below: &Path, limit: u64) -> Result<Opened<'s>, LoadError> {
        match self {
            Store::Root(root) => open_file(root, &path_of(content)?.join(below), None, limit),
            Store::Layers(_) => Err(LoadError::corrupt(shown(below), "is not in a layer of its own")),
        }
    }
}

impl Layers {
    pub(super) fn new<'p>(blobs: Arc<dyn Blobs>, parts: impl IntoIterator<Item = &'p Part>) -> Self {
        let parts = parts.into_iter().map(|part| (part.digest, part.clone())).collect();
        Layers { blobs, parts, archived: BTreeMap::new(), archive: None }
    }

    /// Takes the contents of these digests that have no layer of their own out
    /// of the image's archives.
    pub(super) fn take_from_archives(&mut self, wanted: &BTreeSet<Digest>, limits: &Limits) -> Result<(), LoadError> {
        let missing: BTreeSet<_> = wanted.iter().filter(|digest| !self.parts.contains_key(digest)).copied().collect();
        let archives: Vec<_> = self.parts.values().filter(|part| media::is_archive(&part.media_type)).cloned().collect();
        if missing.is_empty() || archives.is_empty() {
            return Ok(());
        }
        let temporary = |source| LoadError::Io { act: "writing a temporary file".to_owned(), source };
        let mut spool = Spool::new(limits.unpacked).map_err(temporary)?;
        for part in &archives {
            self.scan(part, &missing, &mut spool, limits)?;
        }
        self.archive = Some(spool.into_file().map_err(temporary)?);
        Ok(())
    }

    fn scan(&mut self, part: &Part, missing: &BTreeSet<Digest>, spool: &mut Spool, limits: &Limits) -> Result<(), LoadError> {
        let what = part.to_string();
        let reading = |error| LoadError::reading(&*what, error);
        let mut blob = blob::open(&*self.blobs, part, limits.unpacked)?;
        {
            let expected = Expected { digest: None, size: None, limit: limits.unpacked };
            let mut tar = Verifying::new(decompress(&mut blob).map_err(reading)?, expected);
            let mut archive = tar::Archive::new(&mut tar);
            for entry in archive.entries().map_err(reading)? {
                let mut entry = entry.map_err(reading)?;
                parts(&entry.path().map_err(reading)?).map_err(|reason| LoadError::corrupt(&*what, reason))?;
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

    fn open(&self, digest: Option<Digest>, limit: u64) -> Result<Opened<'_>, LoadError> {
        let Some(digest) = digest else {
            return Err(LoadError::corrupt(
                "its content",
                "has no digest, so that it is in no layer; push the application again with a tool that packs its files",
            ));
        };
        if let Some(part) = self.parts.get(&digest) {
            return Ok(Opened { what: part.to_string(), reader: blob::open(&*self.blobs, part, limit)? });
        }
        if let (Some(file), Some((offset, length))) = (&self.archive, self.archived.get(&digest)) {
            let expected = Expected { digest: Some(digest), size: Some(*length), limit };
            let reader = Verifying::new(Box::new(Slice::new(file, *offset, *length)) as _, expected);
            return Ok(Opened { what: format!("archived file {digest}"), reader });
        }
        Err(LoadError::corrupt(
            format!("content {digest}"),
            "is in no layer of the image; push the application again",
        ))
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
        Found::File(_, length) if length > limit => {
            Err(LoadError::corrupt(what, format!("has {length} bytes; catena takes at most {limit} here")))
        }
        Found::File(reader, length) => {
            let expected = Expected { digest, size: Some(length), limit };
            Ok(Opened { what, reader: Verifying::new(reader, expected) })
        }
        Found::Dir(_) => Err(LoadError::corrupt(what, "is a folder where a file is needed")),
        Found::Special => Err(LoadError::corrupt(what, "is a device or a pipe where a file is needed")),
    }
}

fn find<'r>(root: &'r Root, path: &Path) -> Result<Found<'r>, LoadError> {
    root.find(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => LoadError::corrupt(
            shown(path),
            format!("is not in {}; build the image with the file at that path", root.place()),
        ),
        io::ErrorKind::InvalidData => LoadError::corrupt(shown(path), error.to_string()),
        _ => LoadError::Io { act: format!("opening {} in {}", shown(path), root.place()), source: error },
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
    let source = content.source.as_deref().unwrap_or_default();
    let Some(path) = source.strip_prefix("file://").filter(|path| path.starts_with('/')) else {
        return Err(LoadError::corrupt(
            "its content",
            match source {
                "" => "has no `source`; in a root file system it has to be `file:///` and the path".to_owned(),
                other => format!("has the source `{other}`; in a root file system it has to be `file:///` and the path"),
            },
        ));
    };
    decode(path).ok_or_else(|| LoadError::corrupt(format!("the source `{source}`"), "is not a sound file URL"))
}

/// Undoes the percent-encoding of a URL's path.
fn decode(path: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
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
    (!bytes.contains(&0)).then(|| std::ffi::OsString::from_vec(bytes).into())
}

/// The `file://` URL of an absolute path.
pub(super) fn file_url(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut url = "file://".to_owned();
    if !path.has_root() {
        url.push('/');
    }
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => url.push(char::from(*byte)),
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    url
}

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    hash: sha2::Sha256,
}

impl<R> Hashing<R> {
    fn new(inner: R) -> Self {
        Hashing { inner, hash: sha2::Sha256::default() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_its_url() {
        for path in ["/components/a.wasm", "/a b%/é.wasm"] {
            let url = file_url(Path::new(path));
            let content = Content { source: Some(url), ..Content::default() };
            assert_eq!(path_of(&content).unwrap(), Path::new(path));
        }
        for source in ["", "http://x/y", "file://host/x", "file:///%zz", "file:///%00"] {
            let content = Content { source: Some(source.to_owned()), ..Content::default() };
            assert!(path_of(&content).is_err(), "{source}");
        }
    }
}
