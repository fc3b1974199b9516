//! Reads files of a container that does not exist yet: from what will be mounted into it, else
//! from its root file system. Create calls it, so that what is wrong in such a file is told there.
//!
//! What a path leads to is decided by the image and by who makes the container, so that the kernel
//! keeps every path inside of its mount (openat2, `RESOLVE_IN_ROOT`), and only plain files of a
//! bounded length are read.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use catena_runtime::config::RuntimeConfig;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::volumes::{Mount, Source};

/// Where Spin's users put the runtime configuration into a container.
pub(crate) const RUNTIME_CONFIG: &str = "/runtime-config.toml";

/// The longest file that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// Where the files are that a configuration names.
#[derive(Clone, Copy)]
pub(crate) enum Files<'a> {
    /// In a container to be.
    Container {
        mounts: &'a [Mount],
        rootfs: &'a Path,
    },
    /// Where this process finds them.
    Here,
}

impl Files<'_> {
    /// The text of the file at an absolute path; `NotFound` where there is none.
    pub(crate) fn read(&self, path: &Path) -> io::Result<String> {
        let file = match self {
            Files::Here => open(path)?,
            Files::Container { mounts, rootfs } => {
                // Of the mounts that cover the path the container has the last.
                let mut mounts = mounts.iter().rev();
                let found = mounts.find_map(|mount| {
                    let rest = path.strip_prefix(&mount.place).ok()?;
                    Some((&mount.source, rest))
                });
                match found {
                    None => open_in(rootfs, path.strip_prefix("/").unwrap_or(path))?,
                    Some((Source::Path(source), rest)) if rest == Path::new("") => open(source)?,
                    Some((Source::Path(source), rest)) => open_in(source, rest)?,
                    // Only the container itself sees what is there.
                    Some((Source::Mapped | Source::Own(_), _)) => {
                        return Err(io::ErrorKind::NotFound.into());
                    }
                }
            }
        };
        text(file)
    }
}

/// The runtime configuration at `path`; the default where there is no such file.
pub(crate) fn runtime_config(files: Files<'_>, path: &Path) -> Result<RuntimeConfig, Vec<String>> {
    let text = match files.read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(RuntimeConfig::default());
        }
        Err(error) => return Err(vec![format!("reading {}: {error}", path.display())]),
        Ok(text) => text,
    };
    let config = RuntimeConfig::parse(&text).map_err(|problems| {
        let problems = problems.into_iter();
        let placed = problems.map(|problem| format!("{}: {problem}", path.display()));
        placed.collect::<Vec<_>>()
    })?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    Ok(config.anchored(folder))
}

/// The runtime configuration at a path of this process, where one is given.
pub(crate) fn runtime_config_here(path: Option<&Path>) -> anyhow::Result<RuntimeConfig> {
    let Some(path) = path else {
        return Ok(RuntimeConfig::default());
    };
    let path = std::path::absolute(path)?;
    if !path.exists() {
        anyhow::bail!("there is no {}", path.display());
    }
    runtime_config(Files::Here, &path).map_err(|problems| anyhow::Error::msg(problems.join("; ")))
}

/// Pipes and devices neither block nor act: they are recognized after they are opened.
const FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY);

fn open(path: &Path) -> io::Result<File> {
    let flags = FLAGS.bits();
    File::options().read(true).custom_flags(flags).open(path)
}

/// Opens a path with `root` as `/`.
fn open_in(root: &Path, path: &Path) -> io::Result<File> {
    let root = File::options()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(root)?;
    let how = OpenHow::new()
        .flags(FLAGS)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let path = match path == Path::new("") {
        true => Path::new("."),
        false => path,
    };
    match openat2(root.as_fd(), path, how) {
        Ok(file) => Ok(File::from(file)),
        Err(nix::errno::Errno::ENOTDIR) => Err(io::ErrorKind::NotFound.into()),
        Err(error) => Err(error.into()),
    }
}

fn text(file: File) -> io::Result<String> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    if !file.metadata()?.is_file() {
        return Err(invalid("it is no plain file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(invalid(format!("it is longer than {LONGEST} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| invalid("it is no text".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn bind(source: &Path, place: &str) -> Mount {
        Mount {
            place: place.to_owned(),
            source: Source::Path(source.to_owned()),
            writable: false,
            deep: true,
        }
    }

    #[test]
    fn a_file_is_found_where_the_container_will_find_it() {
        let node = tempfile::tempdir().unwrap();
        let at = |name: &str| node.path().join(name);
        for folder in ["rootfs", "map", "map/..data"] {
            fs::create_dir(at(folder)).unwrap();
        }
        fs::write(at("rootfs/a"), "in the image").unwrap();
        fs::write(at("file"), "mounted").unwrap();
        fs::write(at("map/..data/b"), "in a map").unwrap();
        symlink("..data/b", at("map/b")).unwrap();
        symlink(at("file"), at("rootfs/out")).unwrap();
        let rootfs = at("rootfs");
        let read = |mounts: &[Mount], path: &str| {
            let files = Files::Container {
                mounts,
                rootfs: &rootfs,
            };
            files.read(Path::new(path)).map_err(|error| error.kind())
        };
        assert_eq!(read(&[], "/a").unwrap(), "in the image");
        assert_eq!(read(&[], "/out"), Err(io::ErrorKind::NotFound));
        assert_eq!(read(&[], "/a/b"), Err(io::ErrorKind::NotFound));
        assert_eq!(read(&[], "/"), Err(io::ErrorKind::InvalidData));
        let mounts = [bind(&at("file"), "/a"), bind(&at("map"), "/etc/map")];
        assert_eq!(read(&mounts, "/a").unwrap(), "mounted");
        assert_eq!(read(&mounts, "/etc/map/b").unwrap(), "in a map");
        let covered = [bind(&at("file"), "/a"), bind(&at("map"), "/a")];
        assert_eq!(read(&covered, "/a"), Err(io::ErrorKind::InvalidData));
    }

    #[test]
    fn a_long_file_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(LONGEST + 1).unwrap();
        let error = Files::Here.read(file.path()).unwrap_err();
        assert!(error.to_string().contains("longer"), "{error}");
    }
}
