//! A client's connection, with an end to the wait for a client that reads nothing.
//!
//! The listener wraps every connection in it. It costs nothing while writes go
//! through: the clock is set when the kernel takes no more, and stopped when it
//! does. A client that reads slowly is not cut: what the kernel still holds
//! becomes less.

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// A connection whose writes have to make progress.
pub(super) struct Socket {
    tcp: TcpStream,
    timeout: Option<Duration>,
    /// Kept once it was needed, so that a client that is now and then slow costs
    /// one clock.
    clock: Option<Pin<Box<Sleep>>>,
    /// What the kernel held when the clock was set; `None` while writes go through.
    held: Option<i32>,
}

impl Socket {
    /// Wraps a connection. Without `timeout` a client may take for ever.
    pub(super) fn new(tcp: TcpStream, timeout: Option<Duration>) -> Self {
        Self {
            tcp,
            timeout,
            clock: None,
            held: None,
        }
    }

    /// Looks at the outcome of a write: ends the wait that has become too long.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.held = None;
            return written;
        }
        let Some(timeout) = self.timeout else {
            return written;
        };
        match self.expired(cx, timeout) {
            Ok(false) => Poll::Pending,
            Ok(true) => {
                // What the kernel holds will not be read: it goes with the connection.
                let _ = self.tcp.set_zero_linger();
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!(
                        "the client read nothing for {} s (CATENA_WRITE_TIMEOUT)",
                        timeout.as_secs_f64()
                    ),
                )))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Whether the client has read nothing for the whole of `timeout`.
    fn expired(&mut self, cx: &mut Context<'_>, timeout: Duration) -> io::Result<bool> {
        let Self {
            tcp, clock, held, ..
        } = self;
        let clock = clock.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if held.is_none() {
            *held = Some(unread(tcp)?);
            clock.as_mut().reset(Instant::now() + timeout);
        }
        while clock.as_mut().poll(cx).is_ready() {
            // Nothing was added meanwhile: what is less was read.
            let now = unread(tcp)?;
            if held.is_some_and(|before| now >= before) {
                return Ok(true);
            }
            *held = Some(now);
            clock.as_mut().reset(Instant::now() + timeout);
        }
        Ok(false)
    }
}

/// How many bytes the kernel holds that the client's side has not acknowledged.
fn unread(tcp: &TcpStream) -> io::Result<i32> {
    let mut bytes: libc::c_int = 0;
    #[expect(unsafe_code, reason = "TIOCOUTQ has no safe wrapper")]
    // SAFETY: the descriptor is open, and the kernel writes one int, which lives.
    let result = unsafe { libc::ioctl(tcp.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 {
        Ok(bytes)
    } else {
        Err(io::Error::last_os_error())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(cx, bytes);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
