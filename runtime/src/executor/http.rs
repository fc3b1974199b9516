//! Runs a guest for one request, `wasi:http` 0.2 and 0.3.
//!
//! ```text
//!            poll                    poll
//! caller ----------> Driver (guest) ------> wasm
//!    ^                  | head: oneshot
//!    |                  v
//!    +---- response head, then frames from the body's channel
//! ```
//!
//! Whoever waits for a response drives the guest: first while it waits for the
//! head, then while it reads the body. So a request costs no task and no
//! wake-up, and is cancelled when nobody waits for it any more. A chained guest
//! is driven beside its caller, as one of its errands ([`crate::life`]).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response};
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio_util::task::TaskTracker;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p3;
use wasmtime_wasi_http::{Error, WasiHttpView};

use super::streaming::{After, streaming};
use super::{inbound, wagi};
use crate::body::Body;
use crate::call::{Call, CallError, Origin};
use crate::guest::{Guest, Handler, HttpExport, Reusable};
use crate::life::{Driver, Life, Work};

/// Where a guest at work puts its answer.
pub(super) type Answer = oneshot::Sender<Result<Response<Body>, String>>;

/// What a guest at work answers with.
type Head = oneshot::Receiver<Result<Response<Body>, String>>;

/// How the transmission of a request's body to the guest ended.
type BodySent = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// One request and what surrounds it.
pub(crate) struct HttpWork {
    pub(crate) request: Request<Body>,
    pub(crate) call: Arc<dyn Call>,
    pub(crate) origin: Origin,
    /// The arguments for a CGI program, of the route that led here; none for a
    /// chained call, which came by no route.
    pub(crate) argv: Option<Arc<str>>,
    /// How long the guest may take to the response's head; none is for ever.
    pub(crate) timeout: Option<Duration>,
    /// Who waits for work that goes on after the response.
    pub(crate) tracker: TaskTracker,
}

/// Answers a request.
///
/// # Errors
/// When the guest gave no response.
pub(crate) async fn respond(
    guest: &Arc<Guest>,
    work: HttpWork,
) -> Result<Response<Body>, CallError> {
    let tracker = work.tracker.clone();
    let timeout = work.timeout;
    let caller = match &work.origin {
        Origin::Client(_) => None,
        Origin::Guest { caller, .. } => Some(Arc::clone(caller)),
    };
    let has_body = work.request.method() != Method::HEAD;
    let (mut driver, mut head, life) = start(guest, work);
    let mut answer = |cx: &mut Context<'_>| {
        let result = Pin::new(&mut driver).poll(cx);
        // The head is only ever sent from within the poll above.
        match (head.try_recv(), result) {
            (Ok(Ok(response)), result) => Poll::Ready(Ok((response, result))),
            (Ok(Err(reason)), _) => Poll::Ready(Err(failed(guest, reason))),
            (Err(_), Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            (Err(_), Poll::Ready(Ok(()))) => Poll::Ready(Err(failed(guest, NO_RESPONSE))),
            // A guest that let go of its way to answer will never answer.
            (Err(TryRecvError::Closed), Poll::Pending) => {
                Poll::Ready(Err(failed(guest, NO_RESPONSE)))
            }
            (Err(TryRecvError::Empty), Poll::Pending) => Poll::Pending,
        }
    };
    // Most guests answer at the first poll, and need no timer.
    let first = std::future::poll_fn(|cx| Poll::Ready(answer(cx))).await;
    let (response, result) = match first {
        Poll::Ready(answer) => answer?,
        Poll::Pending => within(guest, timeout, std::future::poll_fn(answer)).await??,
    };
    match result {
        Poll::Ready(Ok(())) => Ok(crate::body::settled(response)),
        Poll::Ready(Err(error)) => {
            tracing::warn!("{error}");
            Ok(response.map(|body| crate::body::guarded(body, life)))
        }
        Poll::Pending => {
            let after = After {
                has_body,
                tracker,
                timeout,
            };
            Ok(streaming(response, driver, life, caller, after))
        }
    }
}

const NO_RESPONSE: &str = "it returned without a response";

pub(super) fn failed(guest: &Guest, reason: impl Into<String>) -> CallError {
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
fn start(guest: &Arc<Guest>, work: HttpWork) -> (Driver<CallError>, Head, Arc<Life>) {
    let (answer, head) = oneshot::channel();
    let life = Arc::new(Life::default());
    let guest = Arc::clone(guest);
    let own = Arc::clone(&life);
    let work: Work<CallError> = match &guest.exports.http {
        Some(HttpExport::Second(_)) => Box::pin(run_p2(guest, work, answer, own)),
        Some(HttpExport::Third(_)) => Box::pin(run_p3(guest, work, answer, own)),
        Some(HttpExport::Inbound(_)) => Box::pin(inbound::run(guest, work, answer, own)),
        None if guest.wagi.is_some() => Box::pin(wagi::run(guest, work, answer, own)),
        None => {
            let component = guest.id.clone();
            Box::pin(async move {
                Err(CallError::WrongKind {
                    component,
                    event: "request",
                })
            })
        }
    };
    (Driver::new(work, Arc::clone(&life)), head, life)
}

/// The instance that answers a request: an idle one where the guest has one,
/// else a fresh one.
async fn instance(
    guest: &Guest,
    call: Arc<dyn Call>,
    depth: u32,
    life: &Arc<Life>,
) -> Result<Reusable, CallError> {
    if let Some(mut idle) = guest.take_reusable() {
        idle.begin(call, depth, life);
        return Ok(idle);
    }
    let permit = guest.permit(depth).await?;
    let mut instance = guest.instance(permit, call, depth, Arc::clone(life), None)?;
    let store = &mut instance.store;
    let handler = match &guest.exports.http {
        Some(HttpExport::Second(pre)) => pre.instantiate_async(store).await.map(Handler::Second),
        Some(HttpExport::Third(pre)) => pre.instantiate_async(store).await.map(Handler::Third),
        Some(HttpExport::Inbound(_)) | None => {
            return Err(guest.unavailable("it does not export wasi:http"));
        }
    };
    let handler = handler.map_err(|error| guest.unavailable(format!("{error:#}")))?;
    Ok(Reusable::new(instance, handler))
}

async fn run_p2(
    guest: Arc<Guest>,
    work: HttpWork,
    answer: Answer,
    life: Arc<Life>,
) -> Result<(), CallError> {
    let _in_flight = guest.enter();
    let trap = |error: wasmtime::Error| failed(&guest, format!("{error:?}"));
    let mut reusable = instance(&guest, work.call, work.origin.depth(), &life).await?;
    // Declared after the instance: it must be dropped before it.
    let guard = life.guard();
    let Reusable {
        instance,
        handler: Handler::Second(proxy),
        ..
    } = &mut reusable
    else {
        return Ok(());
    };
    let store = &mut instance.store;
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
    life.finish();
    drop(guard);
    if guest.reuse && reusable.is_as_new(&life) {
        guest.put_reusable(reusable);
    }
    Ok(())
}

async fn run_p3(
    guest: Arc<Guest>,
    work: HttpWork,
    answer: Answer,
    life: Arc<Life>,
) -> Result<(), CallError> {
    let _in_flight = guest.enter();
    let trap = |error: wasmtime::Error| failed(&guest, format!("{error:?}"));
    let mut reusable = instance(&guest, work.call, work.origin.depth(), &life).await?;
    let guard = life.guard();
    let Reusable {
        instance,
        handler: Handler::Third(service),
        ..
    } = &mut reusable
    else {
        return Ok(());
    };
    let request = work.request;
    instance
        .store
        .run_concurrent(async |accessor| {
            let (request, sent) = accessor.with(|mut store| {
                let http = store.data_mut().http();
                let (request, sent) = p3::Request::from_http(http.hooks, request);
                let sent: BodySent = Box::pin(sent);
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
    life.finish();
    drop(guard);
    guest.put_reusable(reusable);
    Ok(())
}
