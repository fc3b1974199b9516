//! The listener: connections in, requests to the dispatcher, responses out.
//!
//! HTTP/1.1 and HTTP/2 without TLS (by prior knowledge) on one port. Here a
//! request loses all by which a client could pass for a part of the application
//! (names under `spin.internal`); the `spin-*` headers are dealt with where the
//! route is known.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dispatch::Dispatcher;

mod admit;
mod held;
mod socket;

use admit::Connection;
use held::Streams;
use socket::Socket;

/// How the listener treats its clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Connections at once; who comes then waits in the kernel's queue.
    pub(crate) max_connections: u32,
    /// To the end of a request's head, and between two requests.
    pub(crate) header_timeout: Duration,
    /// How long a client may read nothing of a response.
    pub(crate) write_timeout: Option<Duration>,
    /// The largest head, in bytes.
    pub(crate) max_header_bytes: usize,
    /// The largest body, in bytes.
    pub(crate) max_body_bytes: Option<usize>,
}

/// A bound port, not yet serving.
pub(crate) struct Listener {
    tcp: TcpListener,
    settings: Settings,
}

/// Streams that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 250;

/// How often a silent HTTP/2 connection is asked whether it still lives.
const H2_PING: Duration = Duration::from_secs(30);

impl Listener {
    /// Binds the port.
    ///
    /// # Errors
    /// When the address is in use or not ours.
    pub(crate) async fn bind(addr: SocketAddr, settings: Settings) -> io::Result<Self> {
        let tcp = TcpListener::bind(addr).await?;
        Ok(Self { tcp, settings })
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until `shutdown`, then lets the connections finish what is in
    /// flight, for at most `drain`. Gives the moment at which the drain ends.
    pub(crate) async fn run(
        self,
        dispatcher: Arc<Dispatcher>,
        shutdown: impl Future<Output = ()>,
        drain: Duration,
    ) -> Instant {
        let closing = CancellationToken::new();
        let graceful = GracefulShutdown::new();
        let connections = TaskTracker::new();
        let room = Arc::new(Semaphore::new(self.settings.max_connections as usize));
        let mut full = false;
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let (accepted, permit) = tokio::select! {
                accepted = self.accept(&room, &mut full) => accepted,
                () = &mut shutdown => break,
            };
            match accepted {
                Ok((stream, client)) => {
                    connections.spawn(serve(
                        stream,
                        client,
                        Arc::clone(&dispatcher),
                        self.settings,
                        graceful.watcher(),
                        closing.clone(),
                        permit,
                    ));
                }
                // The client went away before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Most often too many open files: some have to close first.
                    tracing::error!("accepting a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(self.tcp);
        connections.close();
        let end = Instant::now() + drain;
        // Connections that have not said anything yet have nothing to finish.
        closing.cancel();
        if tokio::time::timeout_at(end, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!(
                "{} connections did not finish within {} s and are closed",
                connections.len(),
                drain.as_secs_f64(),
            );
        }
        end
    }

    /// The next connection, once there is room for it. `full` is whether there
    /// was none the last time.
    async fn accept(
        &self,
        room: &Arc<Semaphore>,
        full: &mut bool,
    ) -> (
        io::Result<(TcpStream, SocketAddr)>,
        Option<OwnedSemaphorePermit>,
    ) {
        let permit = match Arc::clone(room).try_acquire_owned() {
            Ok(permit) => {
                *full = false;
                Some(permit)
            }
            Err(_) => {
                // Told once, and not for each connection of a crowd.
                if !std::mem::replace(full, true) {
                    tracing::warn!(
                        "{} connections are open (CATENA_MAX_CONNECTIONS): the next waits until \
                         one of them ends",
                        self.settings.max_connections
                    );
                }
                // It fails only when the semaphore is closed, which this one never is.
                Arc::clone(room).acquire_owned().await.ok()
            }
        };
        (self.tcp.accept().await, permit)
    }
}

/// Serves one connection to its end, which makes room for another.
async fn serve(
    stream: TcpStream,
    client: SocketAddr,
    dispatcher: Arc<Dispatcher>,
    settings: Settings,
    watcher: Watcher,
    closing: CancellationToken,
    _room: Option<OwnedSemaphorePermit>,
) {
    // Small responses must not wait for the acknowledgement of earlier ones.
    let _ = stream.set_nodelay(true);
    let version = tokio::select! {
        version = tokio::time::timeout(settings.header_timeout, version(&stream)) => version,
        () = closing.cancelled() => return,
    };
    let Ok(Ok(version)) = version else {
        return;
    };
    let local = stream.local_addr().unwrap_or(client);
    let connection = Arc::new(Connection::new(client, local, settings.max_body_bytes));
    let limit = settings.write_timeout;
    let streams = match version {
        Version::One => None,
        Version::Two => limit.map(|limit| Arc::new(Streams::new(limit))),
    };
    let watched = streams.clone();
    let service = service_fn(move |request| {
        let dispatcher = Arc::clone(&dispatcher);
        let connection = Arc::clone(&connection);
        let watched = watched.clone();
        async move {
            let response = connection.respond(&dispatcher, request).await;
            Ok::<_, Infallible>(match watched {
                Some(streams) => streams.watched(response),
                None => response,
            })
        }
    });
    let stream = TokioIo::new(Socket::new(stream, settings.write_timeout));
    let result = match version {
        Version::One => {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(settings.header_timeout)
                .max_buf_size(settings.max_header_bytes)
                .serve_connection(stream, service);
            watcher.watch(connection).await
        }
        Version::Two => {
            let max_header = u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX);
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_header_list_size(max_header)
                .max_concurrent_streams(MAX_STREAMS)
                // A head that never ends leaves no room for an answer to a ping.
                .keep_alive_interval(H2_PING.min(settings.header_timeout))
                .keep_alive_timeout(settings.header_timeout)
                .serve_connection(stream, service);
            let served = watcher.watch(connection);
            match &streams {
                None => served.await,
                Some(streams) => tokio::select! {
                    biased;
                    served = served => served,
                    never = streams.watch() => match never {},
                },
            }
        }
    };
    if let Err(error) = result {
        // A client's doing, most often: it left, or sent what is not HTTP.
        tracing::debug!(%client, "connection: {error}");
    }
}

enum Version {
    One,
    Two,
}

/// Looks at the first bytes of a connection without taking them: HTTP/2 begins
/// with a preface (RFC 9113, section 3.4), and no request of HTTP/1 begins so.
/// All of it is awaited here, where there is a limit in time.
async fn version(stream: &TcpStream) -> io::Result<Version> {
    const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const MAX_PAUSE: Duration = Duration::from_millis(100);
    let mut start = [0; PREFACE.len()];
    let mut pause = Duration::from_millis(1);
    loop {
        let count = stream.peek(&mut start).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if start[..count] != PREFACE[..count] {
            return Ok(Version::One);
        }
        if count == PREFACE.len() {
            return Ok(Version::Two);
        }
        // The rest of the preface is on its way; peek would return at once. Who
        // sends it slowly is looked at less and less often.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}
