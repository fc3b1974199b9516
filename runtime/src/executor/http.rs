//! Runs a guest for one request, `wasi:http` 0.2 and 0.3.
//!
//! ```text
//!            poll                  poll
//! caller ----------> Work (guest) ------> wasm
//!    ^                  | head: oneshot
//!    |                  v
//!    +---- response head, then frames from the body's channel
//! ```
//!
//! A client's request is answered *in place*: the connection's own task drives
//! the guest, first while it waits for the head and then while it reads the
//! body, so that a request costs no task and no wake-up. A chained request is
//! driven by a task of its own, since a guest must never be polled from within
//! another guest's store. In both cases the guest is cancelled when whoever
//! waits for it goes away before the response is complete.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p3;
use wasmtime_wasi_http::{Error, WasiHttpView};

use crate::body::Body;
use crate::body::Outcome;
use crate::call::{Call, CallError};
use crate::guest::{Exports, Guest, Reusable};

/// What a guest at work answers with.
type Head = oneshot::Receiver<Result<Response<Body>, String>>;

/// A guest at work. Ends when the guest has nothing more to do.
type Work = Pin<Box<dyn Future<Output = Result<(), CallError>> + Send>>;

/// How the transmission of a request's body to the guest ended.
type Sent = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// One request and what surrounds it.
pub(crate) struct HttpWork {
    pub(crate) request: Request<Body>,
    pub(crate) call: Arc<dyn Call>,
    pub(crate) depth: u32,
    /// How long the guest may take to the response's head; none is for ever.
    pub(crate) timeout: Option<Duration>,
    /// Who waits for work that goes on after the response.
    pub(crate) tracker: TaskTracker,
}

/// Answers a request and drives the guest from the caller's own task.
///
/// # Errors
/// When the guest gave no response.
pub(crate) async fn in_place(
    guest: &Arc<Guest>,
    work: HttpWork,
) -> Result<Response<Body>, CallError> {
    let tracker = work.tracker.clone();
    let timeout = work.timeout;
    let (mut work, mut head, outcome) = start(guest, work);
    let mut done = false;
    let mut answer = |cx: &mut Context<'_>| {
        let result = if done {
            Poll::Pending
        } else {
            work.as_mut().poll(cx)
        };
        if result.is_ready() {
            done = true;
        }
        match (Pin::new(&mut head).poll(cx), result) {
            (Poll::Ready(Ok(Ok(response))), result) => Poll::Ready(Ok((response, result))),
            (Poll::Ready(Ok(Err(reason))), _) => Poll::Ready(Err(failed(guest, reason))),
            (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            (_, Poll::Ready(Ok(()))) => Poll::Ready(Err(failed(guest, NO_RESPONSE))),
            // The sender is dropped a moment before the guest's end is known.
            (_, Poll::Pending) => Poll::Pending,
        }
    };
    // Most guests answer at the first poll, and need no timer.
    let first = std::future::poll_fn(|cx| Poll::Ready(answer(cx))).await;
    let (response, result) = match first {
        Poll::Ready(answer) => answer?,
        Poll::Pending => within(guest, timeout, std::future::poll_fn(answer)).await??,
    };
    // A 0.3 guest ends a few turns of its event loop after its head. Most often
    // nothing but that is missing, and the whole response goes out at once.
    let result = match result {
        Poll::Pending => {
            std::future::poll_fn(|cx| {
                let turn = |result: Poll<_>, _| match result {
                    Poll::Pending => work.as_mut().poll(cx),
                    ready => ready,
                };
                Poll::Ready((0..TURNS).fold(Poll::Pending, turn))
            })
            .await
        }
        ready => ready,
    };
    match result {
        Poll::Ready(Ok(())) => return Ok(crate::body::settled(response)),
        Poll::Ready(Err(error)) => {
            tracing::warn!("{error}");
            return Ok(response.map(|body| crate::body::guarded(body, outcome)));
        }
        Poll::Pending => {}
    }
    Ok(with_body(response, |body, remaining| InPlace {
        body,
        remaining,
        ended: false,
        work: Some(work),
        outcome,
        tracker,
    }))
}

/// Answers a request and drives the guest in a task of its own.
///
/// # Errors
/// When the guest gave no response.
pub(crate) async fn spawned(
    guest: &Arc<Guest>,
    work: HttpWork,
) -> Result<Response<Body>, CallError> {
    let tracker = work.tracker.clone();
    let timeout = work.timeout;
    let (work, head, outcome) = start(guest, work);
    let (failure, failed_with) = oneshot::channel();
    let task = tracker.spawn(async move {
        if let Err(error) = work.await {
            // After the head nobody waits for the error, so that it is logged.
            if let Err(error) = failure.send(error) {
                tracing::warn!("{error}");
            }
        }
    });
    let mut abort = AbortOnDrop(Some(task.abort_handle()));
    let answer = async {
        match head.await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(reason)) => Err(failed(guest, reason)),
            Err(_) => Err(failed_with
                .await
                .unwrap_or_else(|_| failed(guest, NO_RESPONSE))),
        }
    };
    let response = within(guest, timeout, answer).await??;
    let abort = AbortOnDrop(abort.0.take());
    Ok(with_body(response, |body, remaining| Spawned {
        body,
        remaining,
        outcome,
        abort,
    }))
}

/// Turns that a guest gets to end, once its head is there.
const TURNS: usize = 2;

const NO_RESPONSE: &str = "it returned without a response";

fn failed(guest: &Guest, reason: impl Into<String>) -> CallError {
    CallError::Guest {
        component: guest.id.clone(),
        reason: reason.into(),
    }
}

async fn within<T>(
    guest: &Guest,
    timeout: Option<Duration>,
    answer: impl Future<Output = T>,
) -> Result<T, CallError> {
    match timeout {
        None => Ok(answer.await),
        Some(limit) => tokio::time::timeout(limit, answer)
            .await
            .map_err(|_| CallError::Timeout {
                component: guest.id.clone(),
                seconds: limit.as_secs_f64(),
            }),
    }
}

/// Sets a guest to work on a request.
fn start(guest: &Arc<Guest>, work: HttpWork) -> (Work, Head, Arc<Outcome>) {
    let (answer, head) = oneshot::channel();
    let outcome = Arc::new(Outcome::default());
    let guest = Arc::clone(guest);
    let out = Arc::clone(&outcome);
    let work: Work = match &guest.exports {
        Exports::Http2(_) => Box::pin(run_p2(guest, work, answer, out)),
        Exports::Http3(_) => Box::pin(run_p3(guest, work, answer, out)),
        Exports::Command2(_) | Exports::Command3(_) => {
            let component = guest.id.clone();
            Box::pin(async move {
                Err(CallError::WrongKind {
                    component,
                    event: "request",
                })
            })
        }
    };
    (work, head, outcome)
}

async fn run_p2(
    guest: Arc<Guest>,
    work: HttpWork,
    answer: oneshot::Sender<Result<Response<Body>, String>>,
    outcome: Arc<Outcome>,
) -> Result<(), CallError> {
    let Exports::Http2(pre) = &guest.exports else {
        return Ok(());
    };
    let _in_flight = guest.enter();
    let permit = guest.permit(work.depth).await?;
    let mut instance = guest.instance(permit, work.call, work.depth, Arc::clone(&outcome), &[])?;
    let store = &mut instance.store;
    // Declared after the instance: it must be dropped before it.
    let _guard = outcome.guard();
    let trap = |error: wasmtime::Error| failed(&guest, format!("{error:?}"));
    let proxy = pre
        .instantiate_async(&mut *store)
        .await
        .map_err(|error| guest.unavailable(format!("{error:#}")))?;
    let request = store
        .data_mut()
        .http()
        .new_incoming_request(Scheme::Http, work.request)
        .map_err(trap)?;
    let out = store
        .data_mut()
        .http()
        .new_response_outparam_from_callback(move |response| {
            // Whoever waited for the head may be gone.
            let _ = answer.send(response.map_err(|code| format!("it answered with {code:?}")));
        })
        .map_err(trap)?;
    proxy
        .wasi_http_incoming_handler()
        .call_handle(&mut *store, request, out)
        .await
        .map_err(trap)?;
    outcome.finish();
    Ok(())
}

async fn run_p3(
    guest: Arc<Guest>,
    work: HttpWork,
    answer: oneshot::Sender<Result<Response<Body>, String>>,
    outcome: Arc<Outcome>,
) -> Result<(), CallError> {
    let _in_flight = guest.enter();
    let trap = |error: wasmtime::Error| failed(&guest, format!("{error:?}"));
    let mut reusable = match guest.take_reusable() {
        Some(mut reusable) => {
            let hooks = &mut reusable.instance.store.data_mut().hooks;
            hooks.depth = work.depth;
            hooks.call = work.call;
            hooks.outcome = Arc::clone(&outcome);
            reusable
        }
        None => {
            let Exports::Http3(pre) = &guest.exports else {
                return Ok(());
            };
            let permit = guest.permit(work.depth).await?;
            let mut instance =
                guest.instance(permit, work.call, work.depth, Arc::clone(&outcome), &[])?;
            let service = pre
                .instantiate_async(&mut instance.store)
                .await
                .map_err(|error| guest.unavailable(format!("{error:#}")))?;
            Reusable::new(instance, service)
        }
    };
    let guard = outcome.guard();
    let Reusable {
        instance, service, ..
    } = &mut reusable;
    let request = work.request;
    instance
        .store
        .run_concurrent(async |accessor| {
            let (request, sent) = accessor.with(|mut store| {
                let http = store.data_mut().http();
                let (request, sent) = p3::Request::from_http(http.hooks, request);
                let sent: Sent = Box::pin(sent);
                wasmtime::error::Ok((http.table.push(request)?, sent))
            })?;
            match service
                .wasi_http_handler()
                .call_handle(accessor, request)
                .await?
            {
                Ok(response) => {
                    let response = accessor.with(|mut store| {
                        let response = store.data_mut().http().table.delete(response)?;
                        response.into_http(&mut store, sent)
                    })?;
                    let _ = answer.send(Ok(response));
                }
                Err(code) => {
                    let _ = answer.send(Err(format!("it answered with {code:?}")));
                }
            }
            // The guest may still be writing the body.
            std::future::poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
            wasmtime::error::Ok(())
        })
        .await
        .flatten()
        .map_err(trap)?;
    outcome.finish();
    drop(guard);
    guest.put_reusable(reusable);
    Ok(())
}

/// Puts a body around the guest's own, told how many bytes the head promises.
fn with_body<B>(
    response: Response<Body>,
    make: impl FnOnce(Body, Option<u64>) -> B,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes, Error = Error> + Send + 'static,
{
    let promised = response
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    response.map(|body| make(body, promised).boxed_unsync())
}

/// Whether a frame completes a body of `remaining` bytes.
fn completes(remaining: &mut Option<u64>, frame: &Frame<Bytes>) -> bool {
    match (remaining, frame.data_ref()) {
        (Some(remaining), Some(data)) => {
            *remaining = remaining.saturating_sub(data.len() as u64);
            *remaining == 0
        }
        (_, None) => true,
        (None, Some(_)) => false,
    }
}

/// The body of a guest that its reader drives.
struct InPlace {
    body: Body,
    remaining: Option<u64>,
    /// The body is complete, whatever the guest does from here on.
    ended: bool,
    work: Option<Work>,
    outcome: Arc<Outcome>,
    tracker: TaskTracker,
}

impl http_body::Body for InPlace {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Some(work) = &mut this.work
            && let Poll::Ready(result) = work.as_mut().poll(cx)
        {
            if let Err(error) = result {
                tracing::warn!("{error}");
            }
            this.work = None;
        }
        match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                this.ended |= completes(&mut this.remaining, &frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None if this.outcome.died() => Poll::Ready(Some(Err(Error::ConnectionTerminated))),
            None => {
                this.ended = true;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && !self.outcome.died()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for InPlace {
    /// A guest may go on after its response is complete; one whose reader left
    /// before that is cancelled with the work.
    fn drop(&mut self) {
        let ended = self.ended || self.is_end_stream_now();
        if let Some(work) = self.work.take()
            && ended
        {
            self.tracker.spawn(async move {
                if let Err(error) = work.await {
                    tracing::warn!("{error}");
                }
            });
        }
    }
}

impl InPlace {
    fn is_end_stream_now(&self) -> bool {
        http_body::Body::is_end_stream(self)
    }
}

/// The body of a guest that a task drives.
struct Spawned {
    body: Body,
    remaining: Option<u64>,
    outcome: Arc<Outcome>,
    abort: AbortOnDrop,
}

impl http_body::Body for Spawned {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if completes(&mut this.remaining, &frame) {
                    this.abort.disarm();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None if this.outcome.died() => Poll::Ready(Some(Err(Error::ConnectionTerminated))),
            None => {
                this.abort.disarm();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && !self.outcome.died()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Cancels a task when dropped, unless disarmed.
struct AbortOnDrop(Option<AbortHandle>);

impl AbortOnDrop {
    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(handle) = self.0.take() {
            handle.abort();
        }
    }
}
