//! The client for real hosts: a pool of connections, HTTP/1.1 and HTTP/2, TLS
//! by rustls. Guests have one; catena has another for what it asks itself.

use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, RequestOptions};

use super::BlockedNetworks;
use super::lookup::Lookup;
use super::{Trust, tls};
use crate::body::Body;
use crate::config::{ClientTls, OutboundHttp};

/// How long an outgoing request may take, where the guest does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// To a TCP connection.
    pub(crate) connect: Duration,
    /// To the response's head, connecting included.
    pub(crate) first_byte: Duration,
    /// Between two frames of the response's body.
    pub(crate) between_bytes: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(600),
            between_bytes: Duration::from_secs(600),
        }
    }
}

/// What a client is made of.
pub(crate) struct ClientInput {
    /// Whom it trusts.
    pub(crate) trust: Arc<Trust>,
    pub(crate) timeouts: Timeouts,
    /// What it never connects to.
    pub(crate) blocked: Arc<BlockedNetworks>,
    pub(crate) settings: OutboundHttp,
    /// Certificates for certain hosts.
    pub(crate) tls: Vec<ClientTls>,
}

/// A pool of connections to real hosts.
#[derive(Debug)]
pub(crate) struct Client {
    plain: Pool<Tcp>,
    /// Made when it is first needed.
    tls: OnceLock<Option<Pool<Tls>>>,
    /// Pools of their own, so that no connection is used by whom it is not for.
    special: Vec<(ClientTls, Pool<Tls>)>,
    trust: Arc<Trust>,
    timeouts: Timeouts,
    blocked: Arc<BlockedNetworks>,
    pooling: bool,
    /// One for each request that is still allowed.
    permits: Option<Arc<Semaphore>>,
}

type Pool<C> = hyper_util::client::legacy::Client<C, Body>;
type Tcp = HttpConnector<Lookup>;
type Tls = HttpsConnector<Tcp>;

impl Client {
    /// Makes a client; connects to nobody.
    ///
    /// # Errors
    /// One sentence for each section of certificates that cannot be used.
    pub(crate) fn new(input: ClientInput) -> Result<Self, Vec<String>> {
        let permits = input.settings.max_concurrent_requests;
        let mut client = Self {
            plain: pool(
                tcp(input.timeouts, &input.blocked),
                input.settings.connection_pooling,
            ),
            tls: OnceLock::new(),
            special: Vec::new(),
            trust: input.trust,
            timeouts: input.timeouts,
            blocked: input.blocked,
            pooling: input.settings.connection_pooling,
            permits: permits.map(|most| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)))),
        };
        let mut problems = Vec::new();
        for (index, section) in input.tls.into_iter().enumerate() {
            match tls::special(&section, &client.trust) {
                Ok(config) => {
                    let pool = client.secure(config);
                    client.special.push((section, pool));
                }
                Err(error) => problems.push(format!("client_tls[{index}]: {error:#}")),
            }
        }
        if problems.is_empty() {
            Ok(client)
        } else {
            Err(problems)
        }
    }

    /// The pool for TLS; none when it cannot be set up, which is logged once.
    fn tls(&self) -> Option<&Pool<Tls>> {
        let make = || match self.trust.client() {
            Ok(config) => Some(self.secure(config)),
            Err(error) => {
                tracing::error!("https requests cannot be made: {error:#}");
                None
            }
        };
        self.tls.get_or_init(make).as_ref()
    }

    fn secure(&self, config: ClientConfig) -> Pool<Tls> {
        let mut tcp = tcp(self.timeouts, &self.blocked);
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_all_versions()
            .wrap_connector(tcp);
        pool(connector, self.pooling)
    }

    /// The pool for a secure request of a component.
    fn tls_for(&self, component: Option<&str>, authority: &Authority) -> Option<&Pool<Tls>> {
        let own = component.and_then(|component| {
            let mut special = self.special.iter();
            special.find(|(section, _)| tls::is_for(section, component, authority))
        });
        match own {
            Some((_, pool)) => Some(pool),
            None => self.tls(),
        }
    }

    /// Sends a request to the host in its URI, for a component or for catena.
    ///
    /// # Errors
    /// What went wrong on the network, as `wasi:http` names it.
    pub(crate) async fn send(
        &self,
        component: Option<&str>,
        request: Request<Body>,
        options: Option<RequestOptions>,
    ) -> Result<Response<Body>, Error> {
        let options = options.unwrap_or_default();
        let first_byte = options
            .first_byte_timeout
            .unwrap_or(self.timeouts.first_byte);
        let between = options
            .between_bytes_timeout
            .unwrap_or(self.timeouts.between_bytes);
        let authority = request
            .uri()
            .authority()
            .ok_or(Error::HttpRequestUriInvalid)?
            .clone();
        // The client looks up names only.
        let literal = authority.host().trim_matches(['[', ']']).parse::<IpAddr>();
        if literal.is_ok_and(|address| self.blocked.contains(address)) {
            tracing::warn!("a request to {authority} was denied: its network is blocked");
            return Err(Error::DestinationIpProhibited);
        }
        let exchange = async {
            let permit = match &self.permits {
                Some(permits) => Arc::clone(permits).acquire_owned().await.ok(),
                None => None,
            };
            // The pool hides when a connection stands, so that the time to connect is
            // part of the time to the head, and only catena's own limit binds it.
            let response = if request.uri().scheme() == Some(&Scheme::HTTPS) {
                self.tls_for(component, &authority)
                    .ok_or(Error::ConfigurationError)?
                    .request(request)
                    .await
            } else {
                self.plain.request(request).await
            };
            let response = response.map_err(|error| from_client(&error))?;
            Ok::<_, Error>((response, permit))
        };
        let (response, permit) = tokio::time::timeout(first_byte, exchange)
            .await
            .map_err(|_| Error::ConnectionReadTimeout)??;
        Ok(response.map(|body| {
            Timed {
                body,
                between,
                deadline: None,
                waiting: false,
                _permit: permit,
            }
            .boxed_unsync()
        }))
    }
}

fn tcp(timeouts: Timeouts, blocked: &Arc<BlockedNetworks>) -> Tcp {
    let mut tcp = HttpConnector::new_with_resolver(Lookup {
        blocked: Arc::clone(blocked),
    });
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(timeouts.connect));
    tcp
}

fn pool<C: Connect + Clone>(connector: C, pooling: bool) -> Pool<C> {
    let mut builder = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(90));
    if !pooling {
        builder.pool_max_idle_per_host(0);
    }
    builder.build(connector)
}

/// The cause of a failed request, in `wasi:http`'s words.
fn from_client(error: &hyper_util::client::legacy::Error) -> Error {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            if let Some(tls) = tls_cause(io) {
                return match tls {
                    rustls::Error::InvalidCertificate(_) => Error::TlsCertificateError,
                    _ => Error::TlsProtocolError,
                };
            }
            match io.kind() {
                io::ErrorKind::ConnectionRefused => return Error::ConnectionRefused,
                io::ErrorKind::TimedOut => return Error::ConnectionTimeout,
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof => return Error::ConnectionTerminated,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    return Error::DestinationIpUnroutable;
                }
                _ => {}
            }
        }
        let text = cause.to_string();
        if text.starts_with("dns error") {
            let why = cause
                .source()
                .and_then(<dyn std::error::Error>::downcast_ref);
            if why.is_some_and(|why: &io::Error| why.kind() == io::ErrorKind::PermissionDenied) {
                tracing::warn!(
                    "a request was denied: {}",
                    why.map_or(text, ToString::to_string)
                );
                return Error::DestinationIpProhibited;
            }
            return Error::DnsError {
                rcode: Some(cause.source().map_or(text, ToString::to_string)),
                info_code: None,
            };
        }
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
            if hyper.is_incomplete_message() || hyper.is_canceled() {
                return Error::ConnectionTerminated;
            }
            // The guest's own body failed: it is the guest's error, not hyper's.
            if hyper.is_user() {
                return Error::InternalError(Some(format!("{hyper}")));
            }
        }
        source = cause.source();
    }
    if error.is_connect() {
        Error::DestinationUnavailable
    } else {
        Error::HttpProtocolError
    }
}

/// The TLS error in an I/O error, which may be wrapped more than once; `source`
/// would step over it.
fn tls_cause(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    match inner.downcast_ref::<io::Error>() {
        Some(inner) => tls_cause(inner),
        None => inner.downcast_ref(),
    }
}

/// A response body that must not pause for longer than `between`.
struct Timed {
    body: Incoming,
    between: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    /// Held until the response has ended.
    _permit: Option<OwnedSemaphorePermit>,
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.waiting = false;
                Poll::Ready(frame.map(|result| result.map_err(Error::from)))
            }
            Poll::Pending => {
                let between = this.between;
                let deadline = this
                    .deadline
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(between)));
                // The limit is on the host's silence, not on the guest's pauses.
                if !std::mem::replace(&mut this.waiting, true) {
                    deadline.as_mut().reset(Instant::now() + between);
                }
                match deadline.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(Error::ConnectionReadTimeout))),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
