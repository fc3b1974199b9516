//! The guests' stdout and stderr: the process's own, through one thread each.
//!
//! A guest that writes faster than its reader reads waits, as it would with a
//! pipe, but no thread that serves requests is ever blocked. What one guest
//! writes at once arrives at once, so that lines of guests do not mix.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};

/// Writes that may wait for the thread before guests wait.
const QUEUE: usize = 256;

/// The most that is written at once, in bytes.
const CHUNK: usize = 64 << 10;

/// One of the process's output streams, as guests see it.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    queue: mpsc::Sender<Bytes>,
}

impl Output {
    /// Starts the thread that writes to `target`. It ends when the last clone
    /// is gone and everything is written.
    pub(crate) fn start(
        name: &str,
        mut target: impl Write + Send + 'static,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, mut writes) = mpsc::channel::<Bytes>(QUEUE);
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            while let Some(bytes) = writes.blocking_recv() {
                // When the reader is gone the output has nowhere to go; the
                // guests go on, as programs do whose log is closed.
                let _ = target.write_all(&bytes).and_then(|()| target.flush());
            }
        })?;
        Ok((Self { queue }, thread))
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Writer(PollSender::new(self.queue.clone())))
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Stream {
            queue: self.queue.clone(),
            place: None,
        })
    }
}

/// One handle of a guest's, with the place in the queue that it was promised.
struct Stream {
    queue: mpsc::Sender<Bytes>,
    place: Option<mpsc::OwnedPermit<Bytes>>,
}

impl Pollable for Stream {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async {
            if self.place.is_none() {
                // A closed queue is for the next `check_write` to tell.
                self.place = self.queue.clone().reserve_owned().await.ok();
            }
        })
    }
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        let budget = wasmtime::format_err!("a write beyond what check-write allowed");
        match self.place.take() {
            Some(place) if bytes.len() <= CHUNK => {
                place.send(bytes);
                Ok(())
            }
            _ => Err(StreamError::Trap(budget)),
        }
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        if self.place.is_none() {
            self.place = match self.queue.clone().try_reserve_owned() {
                Ok(place) => Some(place),
                Err(mpsc::error::TrySendError::Full(_)) => return Ok(0),
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(StreamError::Closed),
            };
        }
        Ok(CHUNK)
    }
}

/// The same for `wasi:cli` 0.3.
struct Writer(PollSender<Bytes>);

impl AsyncWrite for Writer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let closed = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        match self.0.poll_reserve(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(_)) => Poll::Ready(Err(closed())),
            Poll::Ready(Ok(())) => {
                let bytes = &bytes[..bytes.len().min(CHUNK)];
                let sent = self.0.send_item(Bytes::copy_from_slice(bytes));
                Poll::Ready(sent.map(|()| bytes.len()).map_err(|_| closed()))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
