//! What wakes a guest, and how it is asked: the seam between everything that
//! brings events (listeners, triggers, other guests) and the dispatcher.
//!
//! A chained call and a request from a socket meet here and are the same from
//! here on: bodies are streams of frames in both directions, and dropping the
//! future or the response body cancels the guest. Nothing here does I/O.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode};

use crate::body::Body;
use crate::life::Life;

/// A future in a box, as [`Call::call`] returns it.
pub(crate) type CallFuture = Pin<Box<dyn Future<Output = Result<Reply, CallError>> + Send>>;

/// Delivers an event to the guest that it names.
pub(crate) trait Call: Send + Sync + 'static {
    /// Wakes a guest with `event` and gives what it answers.
    ///
    /// # Errors
    /// [`CallError`] when the guest gave no answer.
    fn call(self: Arc<Self>, event: Event) -> CallFuture;
}

/// The position of a component in [`crate::app::App::components`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ComponentIndex(pub(crate) usize);

/// What wakes a guest.
pub(crate) enum Event {
    /// A request, from a client or from another guest.
    Http(Box<HttpEvent>),
    /// A message of a broker or a queue.
    Message(ComponentIndex, Message),
    /// The clock has struck.
    Tick(ComponentIndex, Tick),
    /// The one run of a WASI command.
    Command(ComponentIndex, CommandLine),
}

/// A message on its way to a guest.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// Of a Redis channel.
    Redis {
        /// What was published.
        payload: Vec<u8>,
    },
    /// Of an MQTT topic.
    Mqtt {
        /// What was published.
        payload: Vec<u8>,
        /// Where it was published.
        topic: String,
    },
    /// Of an Amazon SQS queue.
    Sqs(Box<SqsMessage>),
}

/// A message of an Amazon SQS queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct SqsMessage {
    /// The queue's own id of it.
    pub(crate) id: Option<String>,
    /// System and message attributes, in the order in which they came.
    pub(crate) attributes: Vec<SqsAttribute>,
    /// The text.
    pub(crate) body: Option<String>,
}

/// An attribute of a message.
#[derive(Clone, Debug)]
pub(crate) struct SqsAttribute {
    /// Its name.
    pub(crate) name: String,
    /// Its type, as the sender named it; system attributes have none.
    pub(crate) data_type: Option<String>,
    /// Its value.
    pub(crate) value: SqsValue,
}

/// The value of an attribute.
#[derive(Clone, Debug)]
pub(crate) enum SqsValue {
    /// Text, numbers as well.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

/// What a guest that the clock wakes is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    /// The time for which it was to be woken, in seconds since 1970, UTC.
    pub(crate) timestamp: u64,
}

/// What a command is given beside what its component declares.
#[derive(Clone, Debug, Default)]
pub struct CommandLine {
    /// Its arguments, its own name first; the component's id alone where empty.
    pub args: Vec<String>,
    /// Variables; they go before the component's own of the same names.
    pub env: Vec<(String, String)>,
}

/// A request on its way to a guest.
pub(crate) struct HttpEvent {
    /// Who answers.
    pub(crate) to: To,
    /// The request; its URI is absolute.
    pub(crate) request: Request<Body>,
    /// Who sent it.
    pub(crate) origin: Origin,
}

/// Who sent a request.
pub(crate) enum Origin {
    /// A client, at this address as `spin-client-addr` gives it.
    Client(HeaderValue),
    /// A guest of the same application.
    Guest {
        /// How many guests wait for this one, at least 1.
        depth: u32,
        /// The guest that called; what it called runs beside it.
        caller: Arc<Life>,
    },
}

impl Origin {
    /// How many guests wait for the answer: 0 for a client's request.
    pub(crate) fn depth(&self) -> u32 {
        match self {
            Self::Client(_) => 0,
            Self::Guest { depth, .. } => *depth,
        }
    }
}

/// Who answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// The component that the application's routes give for the path.
    Route,
    /// This component, whether or not it has a route.
    Component(ComponentIndex),
}

/// What a guest answered.
pub(crate) enum Reply {
    /// The response to [`Event::Http`].
    Http(Response<Body>),
    /// The guest took an [`Event::Message`] or [`Event::Tick`].
    Done,
    /// The exit code of [`Event::Command`].
    Exit(i32),
}

/// Why a guest gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The guest trapped, or returned without an answer.
    #[error("component {component:?} failed: {reason}")]
    Guest {
        /// The component's id.
        component: String,
        /// What the guest did, with its backtrace where there is one.
        reason: String,
    },
    /// The guest did not answer in time.
    #[error("component {component:?} gave no response within {seconds} s")]
    Timeout {
        /// The component's id.
        component: String,
        /// The limit, in seconds.
        seconds: f64,
    },
    /// No instance could be had; the guest never ran.
    #[error("component {component:?} could not be started: {reason}")]
    Unavailable {
        /// The component's id.
        component: String,
        /// Which limit was reached.
        reason: String,
    },
    /// A chain of calls grew deeper than its limit, most often a loop.
    #[error("the chain of calls to component {component:?} is deeper than {limit}: is it a loop?")]
    TooDeep {
        /// The component at which the chain was cut.
        component: String,
        /// The greatest depth allowed.
        limit: u32,
    },
    /// The component does not answer this kind of event.
    #[error("component {component:?} does not export what a {event} needs")]
    WrongKind {
        /// The component's id.
        component: String,
        /// The event's name.
        event: &'static str,
    },
}

impl CallError {
    /// The status by which a caller over HTTP learns of this error.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Guest { .. } | Self::WrongKind { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooDeep { .. } => StatusCode::LOOP_DETECTED,
        }
    }

    /// The one way an error becomes a response, for a client and for a chained
    /// caller alike. The reason goes to the log, never to the client.
    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(crate::body::empty());
        *response.status_mut() = self.status();
        response
    }
}
