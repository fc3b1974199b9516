//! Where a new process's terminal is received: libcontainer makes the terminal inside the
//! container, and hands its master end over on a socket that it finds by path.

use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::channel::own;

/// A socket in a folder of ours; it goes when this is dropped.
pub(super) struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Console {
    /// Listens in `folder`.
    pub(super) fn listen(folder: &Path) -> anyhow::Result<Console> {
        let name = format!("tty-{}.sock", std::process::id());
        let path = folder.join(&name);
        // The path itself may be too long for a socket's address.
        let folder = fs::File::open(folder)?;
        let short = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
        let listener = UnixListener::bind(short).context("making the terminal's socket")?;
        Ok(Console { listener, path })
    }

    /// Where libcontainer finds it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The master end of the terminal, once the process exists.
    pub(super) fn receive(&self) -> anyhow::Result<OwnedFd> {
        // Who connected has sent and gone by now; without them this must not wait.
        self.listener.set_nonblocking(true)?;
        let (stream, _) = self.listener.accept().context("the terminal never came")?;
        let mut name = [0; 256];
        let mut control = cmsg_space!([RawFd; 1]);
        let mut parts = [IoSliceMut::new(&mut name)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
        let received = message.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmRights(files) => files.first().copied(),
            _ => None,
        });
        received
            .map(own)
            .context("the terminal came without its descriptor")
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!("removing the terminal's socket: {error}");
            }
            _ => {}
        }
    }
}
