//! The streams of an HTTP/2 connection whose client opens no window.
//!
//! Such a client keeps the connection going, so that [`Socket`](super::socket)
//! sees nothing of it, and hyper asks for no more of the body. The task of the
//! connection looks at the bodies that guests still write, and takes away those
//! that nobody has asked for: the guest is cancelled, the connection goes on.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::Notify;
use wasmtime_wasi_http::Error;

use crate::body::{AtWork, Body};

/// How often within the limit bodies are looked at.
const LOOKS: u32 = 4;

/// The bodies of one connection that guests still write.
pub(super) struct Streams {
    timeout: Duration,
    open: Mutex<Open>,
    /// Told when there is one where there was none.
    some: Notify,
}

#[derive(Default)]
struct Open {
    next: u64,
    streams: HashMap<u64, Arc<Mutex<Stream>>>,
}

struct Stream {
    /// `None` once it was taken away.
    body: Option<Body>,
    /// Since when the client's side has not asked for more; `None` while it waits
    /// for the guest.
    unasked: Option<Instant>,
}

impl Streams {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            open: Mutex::default(),
            some: Notify::new(),
        }
    }

    /// `response`, watched where a guest is still at work on it.
    pub(super) fn watched(self: &Arc<Self>, response: Response<Body>) -> Response<Body> {
        if response.extensions().get::<AtWork>().is_none() {
            return response;
        }
        response.map(|body| {
            let stream = Arc::new(Mutex::new(Stream {
                body: Some(body),
                unasked: Some(Instant::now()),
            }));
            let mut open = locked(&self.open);
            let number = open.next;
            open.next += 1;
            open.streams.insert(number, Arc::clone(&stream));
            if open.streams.len() == 1 {
                self.some.notify_one();
            }
            Watched {
                stream,
                number,
                streams: Arc::clone(self),
            }
            .boxed_unsync()
        })
    }

    /// Looks at the bodies, for as long as the connection lives.
    pub(super) async fn watch(&self) -> Infallible {
        loop {
            if locked(&self.open).streams.is_empty() {
                self.some.notified().await;
            }
            tokio::time::sleep(self.timeout / LOOKS).await;
            let held = self.take_held();
            if !held.is_empty() {
                tracing::debug!(
                    "{} responses that the client did not read for {} s (CATENA_WRITE_TIMEOUT) \
                     are given up",
                    held.len(),
                    self.timeout.as_secs_f64()
                );
            }
        }
    }

    fn take_held(&self) -> Vec<Body> {
        let open = locked(&self.open);
        let streams = open.streams.values();
        streams
            .filter_map(|stream| {
                let mut stream = match stream.try_lock() {
                    Ok(stream) => stream,
                    Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                    // It is being read.
                    Err(TryLockError::WouldBlock) => return None,
                };
                stream
                    .unasked
                    .filter(|since| since.elapsed() >= self.timeout)?;
                stream.body.take()
            })
            .collect()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Watched {
    stream: Arc<Mutex<Stream>>,
    number: u64,
    streams: Arc<Streams>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut stream = locked(&self.stream);
        stream.unasked = None;
        let Some(body) = &mut stream.body else {
            return Poll::Ready(Some(Err(Error::ConnectionTerminated)));
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        stream.unasked = Some(Instant::now());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let stream = locked(&self.stream);
        stream
            .body
            .as_ref()
            .is_some_and(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let stream = locked(&self.stream);
        let body = stream.body.as_ref();
        body.map_or_else(SizeHint::default, |body| body.size_hint())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Only the map's own; the guest goes with the last of the two.
        locked(&self.streams.open).streams.remove(&self.number);
    }
}
