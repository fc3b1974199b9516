//! The bodies that catena itself writes, and the guard around those of guests.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};

use crate::call::Body;
use crate::host::Outcome;

/// A body without any frame.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body of one frame.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// `body`, which a guest writes, so that it ends in an error and not as if it
/// were complete when that guest died.
pub(crate) fn guarded(body: Body, writer: Arc<Outcome>) -> Body {
    Guarded { body, writer }.boxed_unsync()
}

struct Guarded {
    body: Body,
    writer: Arc<Outcome>,
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match frame {
            Poll::Ready(None) if self.writer.died() => {
                Poll::Ready(Some(Err(wasmtime_wasi_http::Error::ConnectionTerminated)))
            }
            frame => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && !self.writer.died()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
