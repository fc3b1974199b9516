//! A response whose guest is still at work: reading the body drives the guest.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use wasmtime_wasi_http::Error;

use crate::body::{AtWork, Body};
use crate::call::CallError;
use crate::life::{Driver, Life};

/// What becomes of a guest once its response is complete.
pub(super) struct After {
    /// Whether the request is one whose response has a body at all.
    pub(super) has_body: bool,
    /// Who waits for it.
    pub(super) tracker: TaskTracker,
    /// How long it may go on.
    pub(super) timeout: Option<Duration>,
}

/// Lets `response` stream while its guest goes on. The reader of the body drives
/// the guest, or the guest's caller does where there is one.
pub(super) fn streaming(
    mut response: Response<Body>,
    driver: Driver<CallError>,
    life: Arc<Life>,
    caller: Option<Arc<Life>>,
    after: After,
) -> Response<Body> {
    let bodiless = !after.has_body
        || matches!(
            response.status(),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let promised = response
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let remaining = if bodiless { Some(0) } else { promised };
    let drive = match caller {
        None => {
            response.extensions_mut().insert(AtWork);
            Drive::ByReader(Some(driver), after)
        }
        Some(caller) => {
            let (complete, completed) = oneshot::channel();
            caller.send_out(Box::pin(escort(driver, completed, after)));
            Drive::ByCaller(Some(complete))
        }
    };
    response.map(|body| {
        Streaming {
            body,
            remaining,
            life,
            drive,
        }
        .boxed_unsync()
    })
}

/// Drives a chained guest beside its caller: to its end, until nobody reads its
/// response any more, or on its own once its response is complete.
async fn escort(mut driver: Driver<CallError>, completed: oneshot::Receiver<()>, after: After) {
    tokio::select! {
        result = &mut driver => log(result),
        completed = completed => {
            if completed.is_ok() {
                finish(driver, &after);
            }
        }
    }
}

/// Lets a guest go on whose response is complete, for a while.
fn finish(driver: Driver<CallError>, after: &After) {
    if !driver.is_working() {
        return;
    }
    let timeout = after.timeout;
    after.tracker.spawn(async move {
        match timeout {
            None => log(driver.await),
            Some(limit) => match tokio::time::timeout(limit, driver).await {
                Ok(result) => log(result),
                Err(_) => tracing::warn!(
                    "a guest still worked {} s after its response (CATENA_RESPONSE_TIMEOUT) \
                     and was cancelled",
                    limit.as_secs_f64()
                ),
            },
        }
    });
}

fn log(result: Result<(), CallError>) {
    if let Err(error) = result {
        tracing::warn!("{error}");
    }
}

enum Drive {
    ByReader(Option<Driver<CallError>>, After),
    /// Told when the response is complete; dropped when nobody reads it.
    ByCaller(Option<oneshot::Sender<()>>),
}

struct Streaming {
    body: Body,
    /// Bytes that the head promised and that have not come yet.
    remaining: Option<u64>,
    life: Arc<Life>,
    drive: Drive,
}

impl Streaming {
    /// The response is complete, whatever the guest does from here on.
    fn complete(&mut self) {
        match &mut self.drive {
            Drive::ByReader(driver, after) => {
                if let Some(driver) = driver.take() {
                    finish(driver, after);
                }
            }
            Drive::ByCaller(complete) => {
                if let Some(complete) = complete.take() {
                    // When the guest is done already nobody needs to know.
                    let _ = complete.send(());
                }
            }
        }
    }

    fn is_last(&mut self, frame: &Frame<Bytes>) -> bool {
        match (&mut self.remaining, frame.data_ref()) {
            (Some(remaining), Some(data)) => {
                *remaining = remaining.saturating_sub(data.len() as u64);
                *remaining == 0
            }
            (_, None) => true,
            (None, Some(_)) => false,
        }
    }
}

impl http_body::Body for Streaming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Drive::ByReader(slot, _) = &mut this.drive
            && let Some(driver) = slot
            && let Poll::Ready(result) = Pin::new(driver).poll(cx)
        {
            log(result);
            *slot = None;
        }
        match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if this.is_last(&frame) {
                    this.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None if this.life.died() => Poll::Ready(Some(Err(Error::ConnectionTerminated))),
            None => {
                this.complete();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && !self.life.died()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Streaming {
    /// Whoever reads to the last byte may not ask for more. Before that a reader
    /// who leaves cancels the guest.
    fn drop(&mut self) {
        if self.remaining == Some(0) || self.is_end_stream() {
            self.complete();
        }
    }
}
