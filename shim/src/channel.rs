//! A socket pair that carries whole messages and open files between the shim, its helper and the
//! worker. Used by `helper`, `worker` and those that start them; knows nothing of what is said.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::unix::AsyncFd;

/// The most files that one message carries; the kernel's own limit is 253.
pub(crate) const FILES_PER_MESSAGE: usize = 200;
/// The most bytes in one message. Larger things travel as files.
const MESSAGE_SIZE: usize = 64 * 1024;

/// One end of a connected `SOCK_SEQPACKET` pair, with blocking calls.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
}

impl Channel {
    /// Two ends, both closed on exec.
    pub(crate) fn pair() -> io::Result<(Channel, Channel)> {
        let (a, b) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        Ok((Channel { socket: a }, Channel { socket: b }))
    }

    /// Sends one message and copies of `files`.
    pub(crate) fn send(
        &self,
        message: &impl Serialize,
        files: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let body = serde_json::to_vec(message)?;
        if body.len() > MESSAGE_SIZE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "message too long",
            ));
        }
        let raw: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &[][..] } else { &rights[..] };
        let flags = MsgFlags::MSG_NOSIGNAL;
        sendmsg::<()>(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&body)],
            control,
            flags,
            None,
        )?;
        Ok(())
    }

    /// The next message and its files, or `None` when the other end has gone.
    pub(crate) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut body = vec![0; MESSAGE_SIZE];
        let mut control = cmsg_space!([RawFd; FILES_PER_MESSAGE]);
        let mut parts = [IoSliceMut::new(&mut body)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received = recvmsg::<()>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            flags,
        );
        let received = match received {
            Err(nix::Error::ECONNRESET) => return Ok(None),
            other => other?,
        };
        let mut files = Vec::new();
        for message in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = message {
                files.extend(fds.into_iter().map(own));
            }
        }
        let length = received.bytes;
        if length == 0 {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&body[..length])?, files)))
    }
}

impl From<OwnedFd> for Channel {
    fn from(socket: OwnedFd) -> Self {
        Channel { socket }
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.socket
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The shim's end: it waits without blocking a thread.
#[derive(Debug)]
pub(crate) struct AsyncChannel {
    inner: AsyncFd<Channel>,
}

impl AsyncChannel {
    /// Makes `channel` non-blocking and registers it with the current runtime.
    pub(crate) fn new(channel: Channel) -> io::Result<Self> {
        nix::fcntl::fcntl(
            &channel,
            nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
        )?;
        #[expect(
            unsafe_code,
            reason = "the runtime must be able to trust the descriptor"
        )]
        // SAFETY: a `Channel` owns one descriptor, always the same, until it is dropped.
        let inner = unsafe { AsyncFd::register(channel)? };
        Ok(AsyncChannel { inner })
    }

    /// Sends one message; the socket's buffer holds all that is ever said, so this does not wait.
    pub(crate) fn send(
        &self,
        message: &impl Serialize,
        files: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        self.inner.get_ref().send(message, files)
    }

    /// The next message, or `None` when the other end has gone.
    pub(crate) async fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<T>> {
        let received = self.receive_with_files().await?;
        Ok(received.map(|(message, _)| message))
    }

    /// The same, with the files that came with it.
    pub(crate) async fn receive_with_files<T: DeserializeOwned>(
        &self,
    ) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        loop {
            let mut ready = self.inner.readable().await?;
            if let Ok(result) = ready.try_io(|inner| inner.get_ref().receive::<T>()) {
                return result;
            }
        }
    }
}

#[expect(
    unsafe_code,
    reason = "descriptors arrive as numbers in a control message"
)]
pub(crate) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just installed this descriptor for us, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Seek as _, Write as _};

    #[test]
    fn messages_keep_their_borders_and_carry_files() {
        let (a, b) = Channel::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"text").unwrap();
        a.send(&"one", &[file.as_fd()]).unwrap();
        a.send(&"two", &[]).unwrap();
        drop(a);

        let (message, files) = b.receive::<String>().unwrap().unwrap();
        assert_eq!(message, "one");
        let mut copy = std::fs::File::from(files.into_iter().next().unwrap());
        copy.rewind().unwrap();
        let mut text = String::new();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        assert_eq!(b.receive::<String>().unwrap().unwrap().0, "two");
        assert!(b.receive::<String>().unwrap().is_none());
    }

    #[tokio::test]
    async fn the_async_end_sees_the_other_end_go() {
        let (a, b) = Channel::pair().unwrap();
        let a = AsyncChannel::new(a).unwrap();
        b.send(&7, &[]).unwrap();
        drop(b);
        assert_eq!(a.receive::<i32>().await.unwrap(), Some(7));
        assert_eq!(a.receive::<i32>().await.unwrap(), None);
    }
}
