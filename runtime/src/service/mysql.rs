//! MySQL and MariaDB as guests use them: a session for each handle, which goes
//! back to the component's shelf once the server has reset it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use catena_bindings::mysql::mysql::{Column, DbValue, Error, ParameterValue};
use mysql_async::prelude::Queryable as _;
use mysql_async::{BinaryProtocol, Conn, Opts, OptsBuilder, Params, QueryResult, SslOpts};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit, mpsc, oneshot};

use super::dial::{DialError, Dialer, MAX_ANSWER, Streamed, chain, too_large, too_late};
use super::shelf::Shelf;

mod column;

/// How long resetting a session may take.
const CLEANING: Duration = Duration::from_secs(5);

/// Rows that wait for the guest to read them.
const AHEAD: usize = 16;

type Row = Vec<DbValue>;
type Result<T, E = Error> = std::result::Result<T, E>;

/// The MySQL connections of a component.
pub(crate) struct Mysql {
    dialer: Arc<Dialer>,
    shelf: Shelf<Idle>,
}

struct Idle {
    connection: Conn,
    _place: OwnedSemaphorePermit,
}

/// One handle of a guest. Its queries wait for each other.
pub(crate) struct Session {
    home: Arc<Mysql>,
    address: String,
    /// There until the session is dropped.
    wire: Mutex<Option<Idle>>,
    /// Whether nobody else may use the connection after this.
    spoiled: AtomicBool,
    runtime: Handle,
}

impl From<DialError> for Error {
    fn from(error: DialError) -> Self {
        Self::ConnectionFailed(error.to_string())
    }
}

impl Mysql {
    pub(crate) fn new(dialer: Arc<Dialer>) -> Self {
        Self {
            dialer,
            shelf: Shelf::default(),
        }
    }

    /// A session with the server at a URL.
    pub(crate) async fn open(self: &Arc<Self>, address: String) -> Result<Session> {
        let (opts, tls) = options(&address)?;
        let (host, port) = (opts.ip_or_hostname().to_owned(), opts.tcp_port());
        self.dialer.allow("mysql", &host, port)?;
        let wire = match self.shelved(&address).await {
            Some(wire) => wire,
            None => {
                let place = self.dialer.place().await?;
                let connecting = self.connect(opts, tls, &host, port);
                Idle {
                    connection: self.dialer.connecting(connecting).await?,
                    _place: place,
                }
            }
        };
        Ok(Session {
            home: Arc::clone(self),
            address,
            wire: Mutex::new(Some(wire)),
            spoiled: AtomicBool::new(false),
            runtime: Handle::current(),
        })
    }

    /// A connection that another handle had, if the server still answers on it.
    async fn shelved(&self, address: &str) -> Option<Idle> {
        let mut wire = self.shelf.take(address, |_| true)?;
        let ping = async {
            let answer = wire.connection.ping().await;
            answer.map_err(failure)
        };
        self.dialer.connecting(ping).await.ok().map(|()| wire)
    }

    async fn connect(&self, opts: Opts, tls: bool, host: &str, port: u16) -> Result<Conn> {
        let found = self.dialer.resolve(host, port).await?;
        let found: Vec<IpAddr> = found.iter().map(std::net::SocketAddr::ip).collect();
        let tls = if tls { Some(self.tls()?) } else { None };
        // The socket of a local server would be a way around what is allowed.
        let opts = OptsBuilder::from_opts(opts)
            .resolved_ips(Some(found))
            .prefer_socket(false)
            .socket(None::<String>)
            .max_allowed_packet(Some(MAX_ANSWER))
            .ssl_opts(tls);
        let connection = Conn::new(opts).await;
        connection.map_err(|error| Error::ConnectionFailed(chain(&error)))
    }

    fn tls(&self) -> Result<SslOpts> {
        let authorities = self.dialer.trust().authorities();
        let authorities =
            authorities.map_err(|error| Error::ConnectionFailed(format!("{error:#}")))?;
        let authorities = authorities.iter().map(|one| one.to_vec().into());
        Ok(SslOpts::default()
            .with_disable_built_in_roots(true)
            .with_root_certs(authorities.collect()))
    }
}

/// What a URL asks for, and whether by TLS.
fn options(address: &str) -> Result<(Opts, bool)> {
    let bad = |error: String| Error::ConnectionFailed(format!("the address: {error}"));
    let mut url = url::Url::parse(address).map_err(|error| bad(error.to_string()))?;
    let mut tls = false;
    let mut rest = Vec::new();
    for (name, value) in url.query_pairs() {
        match name.to_lowercase().as_str() {
            "ssl-mode" | "sslmode" => tls = !value.eq_ignore_ascii_case("disabled"),
            _ => rest.push((name.into_owned(), value.into_owned())),
        }
    }
    url.set_query(None);
    if !rest.is_empty() {
        url.query_pairs_mut().extend_pairs(rest);
    }
    let opts = Opts::from_url(url.as_str()).map_err(|error| bad(error.to_string()))?;
    let tls = tls || opts.ssl_opts().is_some();
    Ok((opts, tls))
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(mut wire) = self.wire.get_mut().take() else {
            return;
        };
        if *self.spoiled.get_mut() {
            return;
        }
        let home = Arc::clone(&self.home);
        let address = std::mem::take(&mut self.address);
        self.runtime.spawn(async move {
            let reset = tokio::time::timeout(CLEANING, wire.connection.reset()).await;
            if matches!(reset, Ok(Ok(true))) {
                home.shelf.put(&address, wire);
            }
        });
    }
}

type Answer<'a> = QueryResult<'a, 'static, BinaryProtocol>;

impl Session {
    /// Does what asks the server, no longer than it may take. What does not end
    /// leaves the session as nobody knows.
    async fn asking<T>(&self, asking: impl AsyncFnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        let within = self.home.dialer.answer();
        let late = || Error::QueryFailed(too_late(within));
        let deadline = tokio::time::Instant::now() + within;
        let wire = tokio::time::timeout_at(deadline, self.wire.lock()).await;
        let mut wire = wire.map_err(|_| late())?;
        let connection = self.connection(&mut wire)?;
        self.spoiled.store(true, Ordering::SeqCst);
        let answer = tokio::time::timeout_at(deadline, asking(connection)).await;
        let answer = answer.map_err(|_| late())?;
        self.spoiled.store(false, Ordering::SeqCst);
        answer
    }

    /// The connection, unless a query was given up before its end.
    fn connection<'a>(&self, wire: &'a mut MutexGuard<'_, Option<Idle>>) -> Result<&'a mut Conn> {
        let gone = || Error::Other("the connection is closed".to_owned());
        if self.spoiled.load(Ordering::SeqCst) {
            return Err(gone());
        }
        let wire = wire.as_mut().ok_or_else(gone)?;
        Ok(&mut wire.connection)
    }

    /// All rows of a query.
    pub(crate) async fn query(
        &self,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Result<(Vec<Column>, Vec<Row>)> {
        self.asking(async |connection| {
            let mut answer = start(connection, statement, parameters).await?;
            let columns = column::all(answer.columns_ref());
            let mut rows = Vec::new();
            let mut size = 0;
            while let Some(row) = answer.next().await.map_err(failure)? {
                let row = column::values(row);
                size += column::size(&row);
                if size > MAX_ANSWER {
                    return Err(Error::QueryFailed(too_large()));
                }
                rows.push(row);
            }
            Ok((columns, rows))
        })
        .await
    }

    /// Whatever a statement does.
    pub(crate) async fn execute(
        &self,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Result<()> {
        self.asking(async |connection| {
            let answer = start(connection, statement, parameters).await?;
            answer.drop_result().await.map_err(failure)
        })
        .await
    }

    /// The rows of a query, one by one.
    pub(crate) async fn stream(
        self: Arc<Self>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Result<(Vec<Column>, Streamed<Row, Error>)> {
        let (to, rows) = mpsc::channel(AHEAD);
        let (tell, end) = oneshot::channel();
        let (begin, begun) = oneshot::channel();
        let runtime = self.runtime.clone();
        runtime.spawn(async move {
            let ended = tokio::select! {
                ended = self.forward(statement, parameters, begin, &to) => ended,
                () = to.closed() => None,
            };
            drop(self);
            drop(to);
            if let Some(ended) = ended {
                drop(tell.send(ended));
            }
        });
        let given_up = || Error::Other("the query was given up".to_owned());
        let columns = begun.await.map_err(|_| given_up())??;
        Ok((columns, Streamed { rows, end }))
    }

    /// None where the guest does not want the rest, or nothing began.
    async fn forward(
        &self,
        statement: String,
        parameters: Vec<ParameterValue>,
        begin: oneshot::Sender<Result<Vec<Column>>>,
        to: &mpsc::Sender<Row>,
    ) -> Option<Result<()>> {
        let within = self.home.dialer.answer();
        let late = || Error::QueryFailed(too_late(within));
        let mut wire = self.wire.lock().await;
        let connection = match self.connection(&mut wire) {
            Ok(connection) => connection,
            Err(error) => {
                drop(begin.send(Err(error)));
                return None;
            }
        };
        self.spoiled.store(true, Ordering::SeqCst);
        let starting = start(connection, statement, parameters);
        let started = tokio::time::timeout(within, starting).await;
        let mut answer = match started.unwrap_or_else(|_| Err(late())) {
            Ok(answer) => answer,
            Err(error) => {
                if matches!(error, Error::QueryFailed(_)) {
                    self.spoiled.store(false, Ordering::SeqCst);
                }
                drop(begin.send(Err(error)));
                return None;
            }
        };
        begin.send(Ok(column::all(answer.columns_ref()))).ok()?;
        loop {
            match tokio::time::timeout(within, answer.next()).await {
                Ok(Ok(Some(row))) => to.send(column::values(row)).await.ok()?,
                Ok(Ok(None)) => {
                    self.spoiled.store(false, Ordering::SeqCst);
                    return Some(Ok(()));
                }
                Ok(Err(error)) => return Some(Err(failure(error))),
                Err(_) => return Some(Err(late())),
            }
        }
    }
}

async fn start(
    connection: &mut Conn,
    statement: String,
    parameters: Vec<ParameterValue>,
) -> Result<Answer<'_>> {
    let parameters = parameters.into_iter().map(column::parameter);
    let parameters = match parameters.collect::<Vec<_>>() {
        none if none.is_empty() => Params::Empty,
        some => Params::Positional(some),
    };
    let answer = connection.exec_iter(statement, parameters).await;
    answer.map_err(failure)
}

fn failure(error: mysql_async::Error) -> Error {
    Error::QueryFailed(chain(&error))
}
