//! From an event to the guest that it wakes: the one implementation of
//! [`Call`], for what listeners and triggers bring and for what guests send to
//! each other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, StatusCode};
use tokio_util::task::TaskTracker;

use crate::body::Body;
use crate::call::{
    Call, CallError, CallFuture, ComponentIndex, Event, HttpEvent, Origin, Reply, To,
};
use crate::executor::http::HttpWork;
use crate::executor::{command, http as executor, message, tick};
use crate::guest::Guest;
use crate::route::{self, Found, Routes};

/// Knows all guests of a worker and which of them an event wakes.
pub(crate) struct Dispatcher {
    /// By [`ComponentIndex`].
    pub(crate) guests: Vec<Arc<Guest>>,
    pub(crate) routes: Routes,
    /// Name and version of the application, as JSON.
    pub(crate) info: Bytes,
    /// How long a guest may take to the head of its response.
    pub(crate) response_timeout: Option<Duration>,
    /// Every task that belongs to a request.
    pub(crate) tracker: TaskTracker,
}

impl Call for Dispatcher {
    fn call(self: Arc<Self>, event: Event) -> CallFuture {
        Box::pin(async move {
            match event {
                Event::Http(event) => self
                    .deliver(*event)
                    .await
                    .inspect_err(|error| tracing::warn!("{error}"))
                    .map(Reply::Http),
                Event::Message(ComponentIndex(index), message) => {
                    let call = Arc::clone(&self) as Arc<dyn Call>;
                    message::take(&self.guests[index], call, message, self.response_timeout)
                        .await
                        .inspect_err(|error| tracing::warn!("{error}"))
                        .map(|()| Reply::Done)
                }
                Event::Tick(ComponentIndex(index), tick) => {
                    let call = Arc::clone(&self) as Arc<dyn Call>;
                    tick::take(&self.guests[index], call, tick, self.response_timeout)
                        .await
                        .inspect_err(|error| tracing::warn!("{error}"))
                        .map(|()| Reply::Done)
                }
                Event::Command(ComponentIndex(index), line) => {
                    let call = Arc::clone(&self) as Arc<dyn Call>;
                    command::run(&self.guests[index], call, line)
                        .await
                        .map(Reply::Exit)
                }
            }
        })
    }
}

impl Dispatcher {
    /// Answers a client's request. The guest runs in the caller's own task, and
    /// is driven by reading the response's body.
    pub(crate) async fn respond(self: &Arc<Self>, event: HttpEvent) -> Response<Body> {
        match self.deliver(event).await {
            Ok(response) => response,
            Err(error) => {
                tracing::warn!("{error}");
                error.into_response()
            }
        }
    }

    async fn deliver(self: &Arc<Self>, event: HttpEvent) -> Result<Response<Body>, CallError> {
        let (mut parts, body) = event.request.into_parts();
        let client = match &event.origin {
            Origin::Client(address) => Some(address.clone()),
            Origin::Guest { .. } => None,
        };
        let (component, argv) = match event.to {
            To::Component(component) => {
                self.routes.chained(&mut parts);
                (component, None)
            }
            To::Route => match self.routes.route(&mut parts, client) {
                Found::Component(component, argv) => (component, argv),
                Found::Static(response) => return Ok(route::static_response(response)),
                Found::Nothing => {
                    let mut response = Response::new(crate::body::empty());
                    *response.status_mut() = StatusCode::NOT_FOUND;
                    return Ok(response);
                }
            },
        };
        debug_assert!(
            parts.headers.contains_key(HOST),
            "requests arrive with a host"
        );
        let work = HttpWork {
            request: Request::from_parts(parts, body),
            call: Arc::clone(self) as Arc<dyn Call>,
            origin: event.origin,
            argv,
            timeout: self.response_timeout,
            tracker: self.tracker.clone(),
        };
        executor::respond(&self.guests[component.0], work).await
    }
}
