//! Files for a worker, seen through mounts of their own that are read-only and lead nowhere else:
//! a worker that was taken over can neither open them again to write (a cache shared by all pods)
//! nor climb from a folder of them into the host's file system. Volumes, too, which may be writable.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

/// The same file, through a read-only mount.
pub(crate) fn file(file: &File) -> io::Result<File> {
    let mount = detached(file, false, false)?;
    File::open(format!("/proc/self/fd/{}", mount.as_raw_fd()))
}

/// The same folder, as the root of a read-only mount: `..` stays in it.
pub(crate) fn folder(folder: &File) -> io::Result<OwnedFd> {
    detached(folder, false, false)
}

/// The same folder, as the root of a mount that may be written to, `deep` with what is mounted
/// below it now.
pub(crate) fn volume(folder: &File, writable: bool, deep: bool) -> io::Result<OwnedFd> {
    detached(folder, writable, deep)
}

#[expect(unsafe_code, reason = "the calls have no safe wrapper")]
fn detached(what: &impl AsFd, writable: bool, deep: bool) -> io::Result<OwnedFd> {
    let reach = libc::AT_EMPTY_PATH | if deep { libc::AT_RECURSIVE } else { 0 };
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | reach.cast_unsigned();
    let empty = c"".as_ptr();
    let source = what.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open and the path is a constant; the result is checked below.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, source, empty, flags) };
    let Ok(fd) = i32::try_from(fd) else {
        return Err(io::Error::other("open_tree"));
    };
    if fd < 0 {
        return Err(explain(io::Error::last_os_error()));
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let mount = unsafe { OwnedFd::from_raw_fd(fd) };
    let closed = if writable { 0 } else { libc::MOUNT_ATTR_RDONLY };
    let attributes = libc::mount_attr {
        attr_set: closed | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        // What is mounted on the node later stays outside.
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    // SAFETY: the structure lives through the call, and its size is given with it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            empty,
            reach,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(mount)
    } else {
        Err(explain(io::Error::last_os_error()))
    }
}

fn explain(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => io::Error::new(
            io::ErrorKind::Unsupported,
            "this kernel has no open_tree or mount_setattr; catena needs Linux 5.12 or later",
        ),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn what_is_handed_out_cannot_be_written_or_left() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("inner");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("file"), "text").unwrap();

        let sealed = file(&File::open(path.join("file")).unwrap()).unwrap();
        let again = format!("/proc/self/fd/{}", sealed.as_raw_fd());
        let error = File::options().write(true).open(again).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));

        let sealed = folder(&File::open(&path).unwrap()).unwrap();
        let inside = format!("/proc/self/fd/{}", sealed.as_raw_fd());
        let mut text = String::new();
        File::open(format!("{inside}/file"))
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "text");
        assert!(File::open(format!("{inside}/../inner")).is_err());

        let open = volume(&File::open(&path).unwrap(), true, true).unwrap();
        let inside = format!("/proc/self/fd/{}", open.as_raw_fd());
        std::fs::write(format!("{inside}/file"), "changed").unwrap();
        assert!(File::open(format!("{inside}/../inner")).is_err());
        let shut = volume(&File::open(&path).unwrap(), false, true).unwrap();
        let inside = format!("/proc/self/fd/{}", shut.as_raw_fd());
        let error = std::fs::write(format!("{inside}/file"), "again").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
    }
}
