//! Connections to databases and brokers: to permitted addresses only, within a
//! time, few enough, and with answers of bounded size.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::outbound::{Network, Timeouts, Trust};

/// The most connections that all instances of a component have at a time, those
/// that wait for their next use among them.
const MAX_CONNECTIONS: usize = 128;

/// The most bytes that a server may send in answer to one request.
pub(crate) const MAX_ANSWER: usize = 64 << 20;

/// Makes the connections of one component.
pub(crate) struct Dialer {
    network: Network,
    trust: Arc<Trust>,
    timeouts: Timeouts,
    places: Arc<Semaphore>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The component may not connect there.
    #[error("address {0} is not permitted")]
    Denied(String),
    /// The component has too many connections already.
    #[error("too many connections are open")]
    TooMany,
    /// The network, or the server, said no.
    #[error("{0}")]
    Failed(String),
}

/// A connection, with or without TLS.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for S {}

impl Dialer {
    pub(crate) fn new(network: Network, trust: Arc<Trust>, timeouts: Timeouts) -> Self {
        Self {
            network,
            trust,
            timeouts,
            places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        }
    }

    /// Whose certificates are trusted.
    pub(crate) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// How long a server may take to answer.
    pub(crate) fn answer(&self) -> Duration {
        self.timeouts.first_byte
    }

    /// Whether the component may connect to a host.
    pub(crate) fn allow(&self, scheme: &str, host: &str, port: u16) -> Result<(), DialError> {
        let denied = |_| DialError::Denied(format!("{scheme}://{host}:{port}"));
        self.network.check(scheme, host, port).map_err(denied)
    }

    /// A place for one more connection. Waits as long as connecting may take.
    pub(crate) async fn place(&self) -> Result<OwnedSemaphorePermit, DialError> {
        let place = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout(self.timeouts.connect, place).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(DialError::TooMany),
        }
    }

    /// Does what makes a connection, no longer than it may take.
    pub(crate) async fn connecting<T, E: From<DialError>>(
        &self,
        connecting: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match tokio::time::timeout(self.timeouts.connect, connecting).await {
            Ok(done) => done,
            Err(_) => Err(E::from(DialError::Failed(format!(
                "connecting took longer than {} s",
                self.timeouts.connect.as_secs()
            )))),
        }
    }

    /// The addresses of a host that was allowed.
    pub(crate) async fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, DialError> {
        let found = self.network.resolve(host, port).await;
        found.map_err(|error| DialError::Failed(format!("{host}:{port}: {error}")))
    }

    /// Connects to the first address of an allowed host that answers.
    pub(crate) async fn tcp(&self, host: &str, port: u16) -> Result<Bounded<TcpStream>, DialError> {
        let mut problem = "the name has no address".to_owned();
        for address in self.resolve(host, port).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Without it, what is small only waits longer.
                    _ = stream.set_nodelay(true);
                    return Ok(Bounded::new(stream));
                }
                Err(error) => problem = error.to_string(),
            }
        }
        Err(DialError::Failed(format!("{host}:{port}: {problem}")))
    }

    /// Connects to an allowed host, with TLS where asked for.
    pub(crate) async fn wire(
        &self,
        host: &str,
        port: u16,
        tls: bool,
    ) -> Result<Box<dyn Wire>, DialError> {
        let stream = self.tcp(host, port).await?;
        if !tls {
            return Ok(Box::new(stream));
        }
        let secured = self.trust.secure(host, stream).await;
        let failed = |problem| DialError::Failed(format!("TLS with {host}:{port}: {problem}"));
        Ok(Box::new(secured.map_err(failed)?))
    }
}

/// A connection on which no answer is larger than [`MAX_ANSWER`]; every request
/// begins the count anew.
pub(crate) struct Bounded<S> {
    stream: S,
    left: usize,
}

impl<S> Bounded<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            left: MAX_ANSWER,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let more = buffer.filled().len() - before;
        match this.left.checked_sub(more) {
            Some(left) => this.left = left,
            None => return Poll::Ready(Err(io::Error::other(too_large()))),
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.left = MAX_ANSWER;
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// What is said of an answer beyond the bound.
pub(crate) fn too_large() -> String {
    format!("the answer is larger than {} MiB", MAX_ANSWER >> 20)
}

/// What is said of an answer that does not come.
pub(crate) fn too_late(within: Duration) -> String {
    format!("no answer within {} s", within.as_secs())
}

/// An error and what caused it, as one text.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// A result that comes row by row. It is given up when `rows` is dropped.
pub(crate) struct Streamed<R, E> {
    pub(crate) rows: mpsc::Receiver<R>,
    /// How it ended.
    pub(crate) end: oneshot::Receiver<Result<(), E>>,
}
