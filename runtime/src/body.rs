//! Bodies: those that catena itself writes, and the guard around those of guests.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_LENGTH;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::life::Life;

/// A body in either direction: a stream of frames that may end in an error.
pub(crate) type Body = WasiBody;

/// Marks a response whose guest is still at work, so that a client that does not
/// read it holds an instance.
#[derive(Clone, Copy)]
pub(crate) struct AtWork;

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

/// `response`, whose guest has done all its work: when its body is there in one
/// piece it gets a length, so that it is sent without chunks.
pub(crate) fn settled(response: Response<Body>) -> Response<Body> {
    if response.headers().contains_key(CONTENT_LENGTH) {
        return response;
    }
    response.map(|mut body| {
        let mut cx = Context::from_waker(Waker::noop());
        let mut next = || Pin::new(&mut body).poll_frame(&mut cx);
        match next() {
            Poll::Ready(None) => empty(),
            Poll::Ready(Some(first)) => match (first.map(Frame::into_data), next()) {
                (Ok(Ok(data)), Poll::Ready(None)) => full(data),
                (first, second) => {
                    let mut ready = VecDeque::from([unparsed(first)]);
                    if let Poll::Ready(Some(second)) = second {
                        ready.push_back(second);
                    }
                    Preceded { ready, body }.boxed_unsync()
                }
            },
            Poll::Pending => body,
        }
    })
}

type Next = Result<Frame<Bytes>, Error>;

fn unparsed(frame: Result<Result<Bytes, Frame<Bytes>>, Error>) -> Next {
    frame.map(|frame| frame.map_or_else(|trailers| trailers, Frame::data))
}

/// A body of which some frames were taken before.
struct Preceded {
    ready: VecDeque<Next>,
    body: Body,
}

impl http_body::Body for Preceded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Next>> {
        match self.ready.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.body.is_end_stream()
    }
}

/// `body`, which a guest writes, so that it ends in an error and not as if it
/// were complete when that guest died.
pub(crate) fn guarded(body: Body, writer: Arc<Life>) -> Body {
    Guarded { body, writer }.boxed_unsync()
}

struct Guarded {
    body: Body,
    writer: Arc<Life>,
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Next>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match frame {
            Poll::Ready(None) if self.writer.died() => {
                Poll::Ready(Some(Err(Error::ConnectionTerminated)))
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
