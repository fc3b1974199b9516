//! The client for real hosts: one pool of connections per worker, HTTP/1.1 and
//! HTTP/2, TLS by rustls.

use std::error::Error as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, RequestOptions};

use crate::body::Body;

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

/// A pool of connections to real hosts.
#[derive(Debug)]
pub(crate) struct Client {
    plain: Pool<HttpConnector>,
    /// Made when it is first needed: reading the certificate authorities would
    /// delay the start of every application.
    tls: OnceLock<Option<Pool<HttpsConnector<HttpConnector>>>>,
    roots: Option<File>,
    timeouts: Timeouts,
}

type Pool<C> = hyper_util::client::legacy::Client<C, Body>;

impl Client {
    /// A client that trusts the certificate authorities in `roots` (PEM), or
    /// the system's where there are none.
    pub(crate) fn new(roots: Option<File>, timeouts: Timeouts) -> Self {
        Self {
            plain: pool(tcp(timeouts)),
            tls: OnceLock::new(),
            roots,
            timeouts,
        }
    }

    /// The pool for TLS; none when it cannot be set up, which is logged once.
    fn tls(&self) -> Option<&Pool<HttpsConnector<HttpConnector>>> {
        let make = || match self.make_tls() {
            Ok(pool) => Some(pool),
            Err(error) => {
                tracing::error!("https requests cannot be made: {error:#}");
                None
            }
        };
        self.tls.get_or_init(make).as_ref()
    }

    fn make_tls(&self) -> anyhow::Result<Pool<HttpsConnector<HttpConnector>>> {
        let provider = rustls::crypto::ring::default_provider();
        let tls = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(root_store(self.roots.as_ref())?)
            .with_no_client_auth();
        let mut tcp = tcp(self.timeouts);
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_all_versions()
            .wrap_connector(tcp);
        Ok(pool(connector))
    }

    /// Sends a request to the host in its URI.
    ///
    /// # Errors
    /// What went wrong on the network, as `wasi:http` names it.
    pub(crate) async fn send(
        &self,
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
        // The pool hides when a connection stands, so that the time to connect is
        // part of the time to the head, and only catena's own limit binds it.
        let response = if request.uri().scheme() == Some(&Scheme::HTTPS) {
            self.tls()
                .ok_or(Error::ConfigurationError)?
                .request(request)
        } else {
            self.plain.request(request)
        };
        let response = tokio::time::timeout(first_byte, response)
            .await
            .map_err(|_| Error::ConnectionReadTimeout)?
            .map_err(|error| from_client(&error))?;
        Ok(response.map(|body| {
            Timed {
                body,
                between,
                deadline: None,
                waiting: false,
            }
            .boxed_unsync()
        }))
    }
}

fn tcp(timeouts: Timeouts) -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(timeouts.connect));
    tcp
}

fn pool<C: Connect + Clone>(connector: C) -> Pool<C> {
    hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(90))
        .build(connector)
}

fn root_store(roots: Option<&File>) -> anyhow::Result<RootCertStore> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut store = RootCertStore::empty();
    match roots {
        Some(mut file) => {
            let mut pem = Vec::new();
            file.read_to_end(&mut pem)
                .context("reading the file of certificate authorities")?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| {
                    anyhow::anyhow!("the file of certificate authorities: {error}")
                })?;
                // One authority that rustls cannot read does not spoil the rest.
                store.add_parsable_certificates([certificate]);
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
        }
    }
    Ok(store)
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
