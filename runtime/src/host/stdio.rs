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
        Box::new(self.clone())
    }
}

impl Pollable for Output {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async {
            let _ = self.queue.reserve().await;
        })
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        match self.queue.try_send(bytes) {
            Ok(()) => Ok(()),
            // Another guest may have taken the place that `check_write` saw:
            // losing output is worse than a short wait for the thread.
            Err(mpsc::error::TrySendError::Full(bytes)) => {
                tokio::task::block_in_place(|| self.queue.blocking_send(bytes))
                    .map_err(|_| StreamError::Closed)
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(StreamError::Closed),
        }
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        if self.queue.is_closed() {
            Err(StreamError::Closed)
        } else if self.queue.capacity() == 0 {
            Ok(0)
        } else {
            Ok(CHUNK)
        }
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
