//! PostgreSQL as guests use it: a session for each handle, which goes back to
//! the component's shelf once it is as good as new.
#![allow(
    clippy::result_large_err,
    reason = "the interface's error holds all that PostgreSQL says of one"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use catena_bindings::postgres::v4::postgres::{
    Column, DbError, DbValue, Error, ParameterValue, QueryError, RowSet,
};
use futures_util::TryStreamExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, Connection, NoTls, RowStream, SimpleQueryMessage, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::dial::{Bounded, DialError, Dialer, MAX_ANSWER, Streamed, chain, too_large, too_late};
use super::shelf::Shelf;
use crate::outbound::{parse_authorities, tls_client};

mod column;
mod mode;
mod parameter;
mod range;

/// The port where an address names none.
const PORT: u16 = 5432;

/// How long cleaning up after a guest may take.
const CLEANING: Duration = Duration::from_secs(5);

/// Ends and undoes whatever a guest did to its session, as `DISCARD ALL` does, but
/// for the statements that the client itself prepared. It answers with the
/// number of those that the guest prepared, which only a new session is without.
const CLEAN: &str = "ROLLBACK; CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; \
     UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES; \
     SELECT count(*) AS prepared FROM pg_catalog.pg_prepared_statements WHERE from_sql";

/// Rows that wait for the guest to read them.
const AHEAD: usize = 16;

type Row = Vec<DbValue>;

/// Why a connection ended.
type Fault = Arc<OnceLock<String>>;

/// The PostgreSQL connections of a component.
pub(crate) struct Postgres {
    dialer: Arc<Dialer>,
    shelf: Shelf<Idle>,
}

struct Idle {
    client: Client,
    /// What reads and writes.
    _driver: JoinSet<()>,
    fault: Fault,
    _place: OwnedSemaphorePermit,
}

/// One handle of a guest.
pub(crate) struct Session {
    home: Arc<Postgres>,
    key: String,
    /// There until the session is dropped.
    wire: Option<Idle>,
    /// Whether nobody else may use the connection after this.
    spoiled: AtomicBool,
    runtime: Handle,
}

/// A connection that is being described.
pub(crate) struct Builder {
    pub(crate) address: String,
    pub(crate) authority: Option<String>,
}

impl From<DialError> for Error {
    fn from(error: DialError) -> Self {
        Self::ConnectionFailed(error.to_string())
    }
}

impl Postgres {
    pub(crate) fn new(dialer: Arc<Dialer>) -> Self {
        Self {
            dialer,
            shelf: Shelf::default(),
        }
    }

    /// A session with the first server of an address that accepts one. `authority`
    /// (PEM) is trusted instead of the usual ones.
    pub(crate) async fn open(
        self: &Arc<Self>,
        address: String,
        authority: Option<&str>,
    ) -> Result<Session, Error> {
        let config: Config = mode::known(&address)
            .parse()
            .map_err(|error: tokio_postgres::Error| Error::ConnectionFailed(chain(&error)))?;
        let places = places(&config)?;
        for (host, port) in &places {
            self.dialer.allow("postgres", host, *port)?;
        }
        let key = match authority {
            Some(authority) => format!("{address}\n{authority}"),
            None => address,
        };
        let wire = match self.shelf.take(&key, |idle| !idle.client.is_closed()) {
            Some(wire) => wire,
            None => self.connect(&config, &places, authority).await?,
        };
        Ok(Session {
            home: Arc::clone(self),
            key,
            wire: Some(wire),
            spoiled: AtomicBool::new(false),
            runtime: Handle::current(),
        })
    }

    async fn connect(
        &self,
        config: &Config,
        places: &[(String, u16)],
        authority: Option<&str>,
    ) -> Result<Idle, Error> {
        let failed = |error: anyhow::Error| Error::ConnectionFailed(format!("{error:#}"));
        let tls = match (config.get_ssl_mode(), authority) {
            (SslMode::Disable, _) => None,
            (_, Some(pem)) => Some(
                parse_authorities(pem.as_bytes())
                    .and_then(|authorities| tls_client(&authorities))
                    .map_err(failed)?,
            ),
            (_, None) => Some(self.dialer.trust().client().map_err(failed)?),
        };
        let mut tls = tls.map(MakeRustlsConnect::new);
        let place = self.dialer.place().await?;
        let mut last = Error::ConnectionFailed("the address names no host".to_owned());
        for (host, port) in places {
            let connecting = self.session(config, host, *port, tls.as_mut());
            match self.dialer.connecting(connecting).await {
                Ok((client, driver, fault)) => {
                    return Ok(Idle {
                        client,
                        _driver: driver,
                        fault,
                        _place: place,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn session(
        &self,
        config: &Config,
        host: &str,
        port: u16,
        tls: Option<&mut MakeRustlsConnect>,
    ) -> Result<(Client, JoinSet<()>, Fault), Error> {
        let failed = |error: tokio_postgres::Error| Error::ConnectionFailed(chain(&error));
        let stream = self.dialer.tcp(host, port).await?;
        let mut driver = JoinSet::new();
        let fault = Fault::default();
        let client = if let Some(tls) = tls {
            let made = <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<
                Bounded<TcpStream>,
            >>::make_tls_connect(tls, host);
            let tls = made.map_err(|error| Error::ConnectionFailed(format!("{error:?}")))?;
            let (client, connection) = config.connect_raw(stream, tls).await.map_err(failed)?;
            driver.spawn(drive(connection, Arc::clone(&fault)));
            client
        } else {
            let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(failed)?;
            driver.spawn(drive(connection, Arc::clone(&fault)));
            client
        };
        let wanted = match config.get_target_session_attrs() {
            TargetSessionAttrs::ReadWrite => Some("off"),
            TargetSessionAttrs::ReadOnly => Some("on"),
            _ => None,
        };
        if let Some(wanted) = wanted {
            let answer = client.simple_query("SHOW transaction_read_only").await;
            if first(&answer.map_err(failed)?) != Some(wanted) {
                return Err(Error::ConnectionFailed(format!(
                    "{host}:{port} is not of the kind that target_session_attrs asks for"
                )));
            }
        }
        Ok((client, driver, fault))
    }
}

/// Reads and writes until the connection ends. Why it did is told before anybody
/// can see that it has.
async fn drive<S, T>(mut connection: Connection<S, T>, fault: Fault)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    if let Err(error) = (&mut connection).await {
        _ = fault.set(chain(&error));
    }
    drop(connection);
}

/// The first column of the first row.
fn first(messages: &[SimpleQueryMessage]) -> Option<&str> {
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    })
}

/// Where an address leads: names and ports.
fn places(config: &Config) -> Result<Vec<(String, u16)>, Error> {
    let refused = |text: &str| Err(Error::ConnectionFailed(text.to_owned()));
    if !config.get_hostaddrs().is_empty() {
        return refused("hostaddr is not supported: name the host only");
    }
    let ports = config.get_ports();
    let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(PORT);
    let mut places = Vec::new();
    for (index, host) in config.get_hosts().iter().enumerate() {
        match host {
            Host::Tcp(name) => places.push((name.clone(), port(index))),
            Host::Unix(_) => return refused("a Unix socket cannot be connected to"),
        }
    }
    Ok(places)
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(wire) = self.wire.take() else { return };
        if *self.spoiled.get_mut() || wire.client.is_closed() {
            return;
        }
        let home = Arc::clone(&self.home);
        let key = std::mem::take(&mut self.key);
        self.runtime.spawn(async move {
            let cleaned = wire.client.simple_query(CLEAN);
            let cleaned = tokio::time::timeout(CLEANING, cleaned).await;
            if matches!(&cleaned, Ok(Ok(messages)) if prepared(messages) == Some("0")) {
                home.shelf.put(&key, wire);
            }
        });
    }
}

fn prepared(messages: &[SimpleQueryMessage]) -> Option<&str> {
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.try_get("prepared").ok().flatten(),
        _ => None,
    })
}

impl Session {
    /// Does what asks the server, no longer than it may take. What does not end
    /// leaves the session as nobody knows.
    async fn asking<T>(&self, asking: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let before = self.spoiled.swap(true, Ordering::SeqCst);
        let within = self.home.dialer.answer();
        let answer = tokio::time::timeout(within, asking).await;
        if answer.is_ok() && !before {
            self.spoiled.store(false, Ordering::SeqCst);
        }
        answer.unwrap_or_else(|_| Err(text(too_late(within))))
    }

    fn client(&self) -> Result<&Client, Error> {
        let gone = || Error::Other("the connection is closed".to_owned());
        self.wire.as_ref().map(|wire| &wire.client).ok_or_else(gone)
    }

    /// What is told of an error: where the connection has ended, why.
    fn failure(&self, error: tokio_postgres::Error) -> Error {
        let fault = self.wire.as_ref().and_then(|wire| wire.fault.get());
        match fault.filter(|_| error.is_closed()) {
            Some(fault) => text(fault.clone()),
            None => failure(error),
        }
    }

    async fn start(
        &self,
        statement: &str,
        parameters: Vec<ParameterValue>,
    ) -> Result<(Statement, RowStream), Error> {
        let parameters = parameter::all(parameters)?;
        let client = self.client()?;
        let prepared = client
            .prepare(statement)
            .await
            .map_err(|error| self.failure(error))?;
        let rows = client.query_raw(&prepared, parameters);
        let rows = rows.await.map_err(|error| self.failure(error))?;
        Ok((prepared, rows))
    }

    /// All rows of a query.
    pub(crate) async fn query(
        &self,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Result<RowSet, Error> {
        self.asking(async {
            let (prepared, rows) = self.start(&statement, parameters).await?;
            let columns = column::all(&prepared);
            let mut rows = std::pin::pin!(rows);
            let mut all = Vec::new();
            let mut size = 0;
            while let Some(row) = rows.try_next().await.map_err(|error| self.failure(error))? {
                let row = column::values(&row)?;
                size += column::size(&row);
                if size > MAX_ANSWER {
                    return Err(text(too_large()));
                }
                all.push(row);
            }
            Ok(RowSet { columns, rows: all })
        })
        .await
    }

    /// The rows of a query, one by one.
    pub(crate) async fn stream(
        self: Arc<Self>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Result<(Vec<Column>, Streamed<Row, Error>), Error> {
        let (prepared, rows) = self.asking(self.start(&statement, parameters)).await?;
        let columns = column::all(&prepared);
        let (to, received) = mpsc::channel(AHEAD);
        let (tell, end) = oneshot::channel();
        let runtime = self.runtime.clone();
        runtime.spawn(async move {
            let before = self.spoiled.swap(true, Ordering::SeqCst);
            let ended = tokio::select! {
                ended = self.forward(rows, &to) => ended,
                () = to.closed() => None,
            };
            if ended.is_some() && !before {
                self.spoiled.store(false, Ordering::SeqCst);
            }
            drop(self);
            drop(to);
            if let Some(ended) = ended {
                drop(tell.send(ended));
            }
        });
        Ok((
            columns,
            Streamed {
                rows: received,
                end,
            },
        ))
    }

    /// None where the guest does not want the rest.
    async fn forward(&self, rows: RowStream, to: &mpsc::Sender<Row>) -> Option<Result<(), Error>> {
        let within = self.home.dialer.answer();
        let mut rows = std::pin::pin!(rows);
        loop {
            let row = match tokio::time::timeout(within, rows.try_next()).await {
                Ok(Ok(Some(row))) => column::values(&row),
                Ok(Ok(None)) => return Some(Ok(())),
                Ok(Err(error)) => Err(self.failure(error)),
                Err(_) => Err(text(too_late(within))),
            };
            match row {
                Ok(row) => to.send(row).await.ok()?,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The number of rows that a statement changed.
    pub(crate) async fn execute(
        &self,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Result<u64, Error> {
        self.asking(async {
            let parameters = parameter::all(parameters)?;
            let client = self.client()?;
            let prepared = client
                .prepare(&statement)
                .await
                .map_err(|error| self.failure(error))?;
            let changed = client.execute_raw(&prepared, parameters);
            changed.await.map_err(|error| self.failure(error))
        })
        .await
    }
}

fn text(text: String) -> Error {
    Error::QueryFailed(QueryError::Text(text))
}

fn failure(error: tokio_postgres::Error) -> Error {
    let as_text = chain(&error);
    let Some(found) = error.as_db_error() else {
        return text(as_text);
    };
    let position = found.position().map(|position| format!("{position:?}"));
    let line = found.line().map(|line| line.to_string());
    let extras = [
        ("hint", found.hint()),
        ("position", position.as_deref()),
        ("where", found.where_()),
        ("schema", found.schema()),
        ("table", found.table()),
        ("column", found.column()),
        ("datatype", found.datatype()),
        ("constraint", found.constraint()),
        ("file", found.file()),
        ("line", line.as_deref()),
        ("routine", found.routine()),
    ];
    let extras = extras
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    Error::QueryFailed(QueryError::DbError(DbError {
        as_text,
        severity: found.severity().to_owned(),
        code: found.code().code().to_owned(),
        message: found.message().to_owned(),
        detail: found.detail().map(str::to_owned),
        extras: extras.collect(),
    }))
}

/// How many certificates there are in a text of PEM.
pub(crate) fn authorities(pem: &str) -> Result<usize, String> {
    let found = parse_authorities(pem.as_bytes());
    found
        .map(|all| all.len())
        .map_err(|error| error.to_string())
}
