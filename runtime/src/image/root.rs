//! The root file system of an image with ordinary layers: the folder where it
//! is unpacked, or the layers themselves.
//!
//! Whatever is in it, no path leads out of it: the kernel resolves every path
//! with the folder as `/` (openat2, `RESOLVE_IN_ROOT`).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::error::LoadError;
use super::tree::Tree;

/// The root file system of an image.
#[derive(Debug)]
pub(super) enum Root {
    /// Unpacked, as a container runtime mounts it.
    Dir { fd: OwnedFd, path: PathBuf },
    /// Straight from the layers.
    Layers(Tree),
}

/// What a path leads to.
pub(super) enum Found<'r> {
    /// A plain file and its length.
    File(Box<dyn Read + Send + 'r>, u64),
    /// A folder and the names in it.
    Dir(Vec<OsString>),
    /// A device, a pipe, a socket: nothing to read.
    Special,
}

impl Root {
    /// Opens the folder where a root file system is unpacked.
    pub(super) fn dir(path: &Path) -> Result<Self, LoadError> {
        let file = File::open(path).map_err(|source| LoadError::Io {
            act: format!("opening the root file system {}", path.display()),
            source,
        })?;
        Ok(Root::Dir {
            fd: file.into(),
            path: path.to_owned(),
        })
    }

    /// What is at this path. `NotFound` when nothing is, also when a link leads
    /// to what is not in the image.
    pub(super) fn find(&self, path: &Path) -> io::Result<Found<'_>> {
        match self {
            Root::Layers(tree) => tree.find(path),
            Root::Dir { fd, .. } => {
                let file = open_in(fd, path)?;
                let metadata = file.metadata()?;
                if metadata.is_file() {
                    return Ok(Found::File(Box::new(file), metadata.len()));
                }
                if !metadata.is_dir() {
                    return Ok(Found::Special);
                }
                let listed = fs::read_dir(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
                let mut names = listed
                    .map(|entry| entry.map(|entry| entry.file_name()))
                    .collect::<io::Result<Vec<_>>>()?;
                names.sort();
                Ok(Found::Dir(names))
            }
        }
    }

    /// Where this root is, for a sentence.
    pub(super) fn place(&self) -> String {
        match self {
            Root::Dir { path, .. } => format!("the root file system {}", path.display()),
            Root::Layers(_) => "the image's layers".to_owned(),
        }
    }
}

/// Opens a path with `root` as `/`. A pipe or a device does not block or act:
/// it is opened without waiting and recognized by the caller.
fn open_in(root: &OwnedFd, path: &Path) -> io::Result<File> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let relative = path.strip_prefix("/").unwrap_or(path);
    let relative = if relative.as_os_str().is_empty() {
        Path::new(".")
    } else {
        relative
    };
    match openat2(root.as_fd(), relative, how) {
        Ok(fd) => Ok(File::from(fd)),
        Err(nix::errno::Errno::ENOTDIR) => Err(io::ErrorKind::NotFound.into()),
        // Reported as what it is also by the tree of layers.
        Err(nix::errno::Errno::ELOOP) => Err(too_many_links()),
        // A socket, or a device that nothing stands behind.
        Err(nix::errno::Errno::ENXIO | nix::errno::Errno::ENODEV) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is a device or a socket",
        )),
        Err(error) => Err(error.into()),
    }
}

/// A path that goes through too many links, or through a circle of them.
pub(super) fn too_many_links() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "it goes through too many symbolic links, or through a circle of them",
    )
}
