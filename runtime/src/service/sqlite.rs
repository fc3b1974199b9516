//! SQLite databases: labels of lockfiles, and what stands behind them.
//!
//! A label is what a component's `databases` has. Where `/runtime-config.toml`
//! says nothing of it, `default` is a file in the state folder and any other
//! label refuses the application. Each handle that a guest opens is a connection
//! of its own, since transactions belong to connections. Nothing is opened
//! before a guest's first statement.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{DEFAULT_LABEL, Labels, StateDir, unconfigured};
use crate::app::App;
use crate::config::{RuntimeConfig, SqliteDatabase};
use crate::outbound::Client;

mod embedded;
mod libsql;

/// The file of `default`, as Spin calls it.
const FILE: &str = "sqlite_db.db";

/// The most bytes of one result.
const MAX_RESULT: usize = 32 << 20;

/// The most rows of one result.
const MAX_ROWS: usize = 1_000_000;

/// Statements that run at once, on threads that guests do not run on.
const MAX_RUNNING: usize = 32;

/// Why a database did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// No database has the label.
    NoSuchDatabase,
    /// The component may not use the database.
    AccessDenied,
    /// There is no room on the disk.
    Full,
    /// Anything else, as a sentence.
    Io(String),
}

/// What a database holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
    Null,
}

/// What a statement gave.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Value>>,
}

/// All databases of a worker.
pub(crate) struct Databases(BTreeMap<String, Database>);

enum Database {
    Embedded(Arc<embedded::File>),
    Libsql(Arc<libsql::Server>),
}

/// A connection to one database.
pub(crate) enum Connection {
    Embedded(embedded::Connection),
    Libsql(libsql::Connection),
}

/// The databases that one component may use.
pub(crate) struct Access {
    databases: Arc<Databases>,
    labels: Vec<String>,
}

/// One sentence for every component and database that nothing configures.
pub(super) fn check(app: &App, config: &RuntimeConfig) -> Vec<String> {
    let labels = Labels {
        section: "sqlite_database",
        what: "SQLite database",
        list: "sqlite_databases",
    };
    let configured = |label: &str| config.sqlite_databases.contains_key(label);
    unconfigured(app, &labels, |of| &of.databases, configured)
}

impl Databases {
    /// Makes the databases that are configured, and `default`; opens none.
    ///
    /// # Errors
    /// One sentence for every database whose configuration is of no use.
    pub(super) fn new(
        config: &RuntimeConfig,
        state: &StateDir,
        client: &Arc<Client>,
    ) -> Result<Self, Vec<String>> {
        let running = Arc::new(Semaphore::new(MAX_RUNNING));
        let mut databases = BTreeMap::new();
        let mut problems = Vec::new();
        let spin = SqliteDatabase::Spin { path: None };
        let configured = &config.sqlite_databases;
        let default = (!configured.contains_key(DEFAULT_LABEL)).then_some((DEFAULT_LABEL, &spin));
        let configured = configured.iter();
        let configured = configured.map(|(label, database)| (label.as_str(), database));
        for (label, database) in configured.chain(default) {
            let database = match database {
                SqliteDatabase::Spin { path } => {
                    let own = format!("{label}.db");
                    let name = if label == DEFAULT_LABEL { FILE } else { &own };
                    let path = state.place(path.as_ref(), name);
                    Database::Embedded(embedded::File::new(path, Arc::clone(&running)))
                }
                SqliteDatabase::Libsql { url, token } => {
                    match libsql::Server::new(url, token, Arc::clone(client)) {
                        Ok(server) => Database::Libsql(Arc::new(server)),
                        Err(problem) => {
                            problems.push(format!("sqlite_database.{label}: {problem}"));
                            continue;
                        }
                    }
                }
            };
            databases.insert(label.to_owned(), database);
        }
        if problems.is_empty() {
            Ok(Self(databases))
        } else {
            Err(problems)
        }
    }
}

impl Access {
    pub(super) fn new(databases: Arc<Databases>, labels: &[String]) -> Self {
        Self {
            databases,
            labels: labels.to_vec(),
        }
    }

    /// A connection to the database with this label, once it can be used.
    ///
    /// # Errors
    /// When the component may not use it, or it cannot be opened.
    pub(crate) async fn open(&self, label: &str) -> Result<Connection, Error> {
        let database = self.databases.0.get(label).ok_or(Error::NoSuchDatabase)?;
        if !self.labels.iter().any(|own| own == label) {
            tracing::warn!(
                "the SQLite database {label:?} was denied: add it to the component's \
                 sqlite_databases to allow it"
            );
            return Err(Error::AccessDenied);
        }
        match database {
            Database::Embedded(file) => {
                let connection = embedded::Connection::open(Arc::clone(file)).await?;
                Ok(Connection::Embedded(connection))
            }
            Database::Libsql(server) => {
                let connection = libsql::Connection::new(Arc::clone(server));
                Ok(Connection::Libsql(connection))
            }
        }
    }
}

impl Connection {
    /// Runs one statement.
    ///
    /// # Errors
    /// When the statement fails, takes too long, or gives too much.
    pub(crate) async fn execute(&self, sql: String, values: Vec<Value>) -> Result<Rows, Error> {
        match self {
            Self::Embedded(connection) => connection.execute(sql, values).await,
            Self::Libsql(connection) => connection.execute(sql, values).await,
        }
    }

    /// The id of the last row that this connection inserted, or 0.
    pub(crate) fn last_insert_rowid(&self) -> i64 {
        match self {
            Self::Embedded(connection) => connection.last().0,
            Self::Libsql(connection) => connection.last().0,
        }
    }

    /// How many rows its last statement that changed any has changed.
    pub(crate) fn changes(&self) -> u64 {
        match self {
            Self::Embedded(connection) => connection.last().1,
            Self::Libsql(connection) => connection.last().1,
        }
    }
}

/// Counts what a result takes.
#[derive(Default)]
struct Size {
    rows: usize,
    bytes: usize,
}

impl Size {
    /// Counts one row whose texts and blobs have so many bytes.
    fn add(&mut self, columns: usize, bytes: usize) -> Result<(), Error> {
        self.rows += 1;
        self.bytes += bytes + columns * size_of::<Value>();
        if self.rows > MAX_ROWS || self.bytes > MAX_RESULT {
            return Err(Error::Io(format!(
                "the result is larger than {MAX_ROWS} rows or {MAX_RESULT} bytes: ask for less \
                 with LIMIT"
            )));
        }
        Ok(())
    }
}
