//! Writes the files that a component's instances see into a folder.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component as Part, Path};

use crate::app::Component;

use super::blob::Limits;
use super::error::LoadError;
use super::store::{Opened, Store};

/// Writes all files of the component below `dir`, which has to be empty and
/// written by nobody else meanwhile. After an error the folder holds a part of
/// them and is to be removed.
pub(super) fn materialize(
    store: &Store,
    component: &Component,
    dir: &Path,
    limits: &Limits,
) -> Result<(), LoadError> {
    let listing = |source| LoadError::Io {
        act: format!("listing {}", dir.display()),
        source,
    };
    if fs::read_dir(dir).map_err(listing)?.next().is_some() {
        return Err(LoadError::Io {
            act: format!("writing a component's files to {}", dir.display()),
            source: io::Error::new(io::ErrorKind::DirectoryNotEmpty, "the folder is not empty"),
        });
    }
    for file in &component.files {
        let within = |error: LoadError| {
            error.within(&format!(
                "component \"{}\": file \"{}\"",
                component.id, file.path
            ))
        };
        match store.folder(&file.content).map_err(within)? {
            None => {
                let opened = store.open(&file.content, limits.data).map_err(within)?;
                write(dir, Path::new(&file.path), opened).map_err(within)?;
            }
            Some(below) => {
                for path in below {
                    let opened = store
                        .open_below(&file.content, &path, limits.data)
                        .map_err(within)?;
                    write(dir, &Path::new(&file.path).join(&path), opened).map_err(within)?;
                }
            }
        }
    }
    Ok(())
}

/// Writes one file. The folder held nothing before, and nothing but folders and
/// plain files is made in it, so that no path below it leads elsewhere.
fn write(dir: &Path, path: &Path, mut content: Opened<'_>) -> Result<(), LoadError> {
    if path.as_os_str().is_empty()
        || !path
            .components()
            .all(|part| matches!(part, Part::Normal(_)))
    {
        return Err(LoadError::corrupt(
            format!("the guest path `{}`", path.display()),
            "is not a path to a file below the guest's root",
        ));
    }
    let target = dir.join(path);
    let writing = |source: io::Error| match source.kind() {
        io::ErrorKind::NotADirectory
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::IsADirectory => LoadError::corrupt(
            format!("the guest path `{}`", path.display()),
            "is a file for one entry of the component's files and a folder for another",
        ),
        _ => LoadError::Io {
            act: format!("writing {}", target.display()),
            source,
        },
    };
    if let Some(parent) = target.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)
            .map_err(writing)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&target)
        .map_err(writing)?;
    copy(&mut content, &mut file, &target)
}

/// Copies to the verified end; a failure to read is told apart from one to write.
fn copy(content: &mut Opened<'_>, to: &mut impl io::Write, target: &Path) -> Result<(), LoadError> {
    use io::Read as _;
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        let read = content
            .reader
            .read(&mut buffer)
            .map_err(|error| LoadError::reading(&*content.what, error))?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read])
            .map_err(|source| LoadError::Io {
                act: format!("writing {}", target.display()),
                source,
            })?;
    }
}
