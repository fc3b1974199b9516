//! The master end of a process's terminal: what the process prints is read from it, what a client
//! types is written to it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A terminal. tokio's pipes do not serve here: they take a short read for the sign that there is
/// no more to read, which a terminal's is not.
#[derive(Clone, Debug)]
pub(super) struct Terminal {
    master: Arc<AsyncFd<File>>,
}

impl Terminal {
    pub(super) fn new(master: OwnedFd) -> io::Result<Terminal> {
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        #[expect(
            unsafe_code,
            reason = "the runtime must be able to trust the descriptor"
        )]
        // SAFETY: a `File` owns one descriptor, always the same, until it is dropped.
        let master = unsafe { AsyncFd::register(File::from(master))? };
        Ok(Terminal {
            master: Arc::new(master),
        })
    }

    /// Sets the size in characters.
    pub(super) fn resize(&self, width: u32, height: u32) -> io::Result<()> {
        let cells = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        let size = libc::winsize {
            ws_row: cells(height),
            ws_col: cells(width),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let master = self.master.get_ref().as_raw_fd();
        #[expect(unsafe_code, reason = "the size is set by an ioctl")]
        // SAFETY: the descriptor is open, and the kernel only reads the size.
        let result = unsafe { libc::ioctl(master, libc::TIOCSWINSZ, &raw const size) };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut readable = ready!(self.master.poll_read_ready(context))?;
            let free = buffer.initialize_unfilled();
            let Ok(read) = readable.try_io(|master| master.get_ref().read(free)) else {
                continue;
            };
            return Poll::Ready(match read {
                Ok(length) => {
                    buffer.advance(length);
                    Ok(())
                }
                // Nobody has the other end open any more.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(()),
                Err(error) => Err(error),
            });
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut writable = ready!(self.master.poll_write_ready(context))?;
            if let Ok(written) = writable.try_io(|master| master.get_ref().write(bytes)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
