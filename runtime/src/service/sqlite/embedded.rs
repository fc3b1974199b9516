//! Databases in files, by the SQLite that is built in.
//!
//! Statements run on threads that guests do not run on. One whose guest is gone,
//! or which takes too long, is interrupted. Guests are not trusted: a statement
//! reaches no file but its own database.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::ffi::ErrorCode;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{ToSql, params_from_iter};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Semaphore};

use super::{Error, MAX_RESULT, Rows, Size, Value};
use crate::service::open_file;

/// How long a statement may run.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a statement waits for others that have the database.
const BUSY: Duration = Duration::from_secs(5);

/// After so many steps a statement is asked whether it may go on.
const STEPS: i32 = 1000;

/// What guests may ask of SQLite beside SQL. Nothing here opens a file, holds
/// memory, or outlives the statement in a way that others would notice.
const PRAGMAS: [&str; 26] = [
    "application_id",
    "collation_list",
    "compile_options",
    "data_version",
    "database_list",
    "defer_foreign_keys",
    "encoding",
    "foreign_key_check",
    "foreign_key_list",
    "foreign_keys",
    "freelist_count",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "module_list",
    "optimize",
    "page_count",
    "page_size",
    "pragma_list",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];

/// SQLite's number for `ATTACH`, where the name of the file is an expression.
const ATTACH: i32 = rusqlite::ffi::SQLITE_ATTACH;

/// A database.
pub(super) struct File {
    path: PathBuf,
    running: Arc<Semaphore>,
    /// Does nothing but stay open, so that the database is not tidied up each
    /// time a guest closes its connection.
    anchor: StdMutex<Option<rusqlite::Connection>>,
    told: AtomicBool,
}

/// A connection of one guest.
pub(crate) struct Connection {
    file: Arc<File>,
    held: Arc<Mutex<Option<rusqlite::Connection>>>,
    control: Arc<Control>,
}

/// What a statement asks while it runs, and leaves behind.
#[derive(Default)]
struct Control {
    stop: AtomicBool,
    deadline: StdMutex<Option<Instant>>,
    last: StdMutex<(i64, u64)>,
}

/// Stops the statement of a guest that no longer waits for it.
struct Waiting<'a>(&'a Control);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

impl Control {
    fn begin(&self) {
        *lock(&self.deadline) = Some(Instant::now() + LIMIT);
        self.stop.store(false, Ordering::Relaxed);
    }

    fn is_late(&self) -> bool {
        lock(&self.deadline).is_some_and(|deadline| Instant::now() > deadline)
    }

    fn must_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.is_late()
    }
}

fn lock<T>(mutex: &StdMutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl File {
    pub(super) fn new(path: PathBuf, running: Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Self {
            path,
            running,
            anchor: StdMutex::new(None),
            told: AtomicBool::new(false),
        })
    }

    /// A new connection. Blocks.
    fn connect(&self, control: &Arc<Control>) -> Result<rusqlite::Connection, Error> {
        let connect = || {
            let mut anchor = lock(&self.anchor);
            if anchor.is_none() {
                *anchor = Some(open_file(&self.path, BUSY)?);
            }
            drop(anchor);
            let mut connection = open_file(&self.path, BUSY)?;
            restrict(&mut connection, control).map_err(|error| error.to_string())?;
            Ok(connection)
        };
        connect().map_err(|problem: String| {
            if !self.told.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    "a SQLite database cannot be opened: {problem}; mount a volume that can be \
                     written to where its file is, or configure another database in \
                     /runtime-config.toml"
                );
            }
            Error::Io(format!("the database cannot be opened: {problem}"))
        })
    }
}

/// Keeps a guest's statements to its own database, and to their time.
fn restrict(connection: &mut rusqlite::Connection, control: &Arc<Control>) -> rusqlite::Result<()> {
    let most = i32::try_from(MAX_RESULT).unwrap_or(i32::MAX);
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, most)?;
    connection.set_limit(Limit::SQLITE_LIMIT_WORKER_THREADS, 0)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    let asked = Arc::clone(control);
    connection.progress_handler(STEPS, Some(move || asked.must_stop()))?;
    connection.authorizer(Some(|asked: AuthContext<'_>| authorize(&asked.action)))
}

fn authorize(action: &AuthAction<'_>) -> Authorization {
    let allowed = match action {
        // Without a name it is what VACUUM works in.
        AuthAction::Attach { filename } => filename.is_empty(),
        AuthAction::Unknown { code, .. } => *code != ATTACH,
        AuthAction::Pragma {
            pragma_name,
            pragma_value,
        } => {
            let name = pragma_name.to_ascii_lowercase();
            PRAGMAS.contains(&name.as_str()) || (name == "journal_mode" && pragma_value.is_none())
        }
        _ => true,
    };
    if allowed {
        Authorization::Allow
    } else {
        Authorization::Deny
    }
}

impl Connection {
    pub(super) async fn open(file: Arc<File>) -> Result<Self, Error> {
        let connection = Self {
            file,
            held: Arc::default(),
            control: Arc::default(),
        };
        connection.with(|_, _| Ok(())).await?;
        Ok(connection)
    }

    /// Runs one statement.
    pub(super) async fn execute(&self, sql: String, values: Vec<Value>) -> Result<Rows, Error> {
        self.with(move |connection, control| {
            let rows = run(connection, &sql, &values).map_err(|error| match error {
                Error::Io(_) if control.is_late() => Error::Io(format!(
                    "the statement took longer than {} s",
                    LIMIT.as_secs()
                )),
                error => error,
            })?;
            *lock(&control.last) = (connection.last_insert_rowid(), connection.changes());
            Ok(rows)
        })
        .await
    }

    /// What the last statement left: the last row inserted, the rows changed.
    pub(super) fn last(&self) -> (i64, u64) {
        *lock(&self.control.last)
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&rusqlite::Connection, &Control) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let stopping = || Error::Io("the server is stopping".to_owned());
        let mut turn = Arc::clone(&self.held).lock_owned().await;
        let place = Arc::clone(&self.file.running).acquire_owned().await;
        let place = place.map_err(|_| stopping())?;
        self.control.begin();
        let waiting = Waiting(&self.control);
        let file = Arc::clone(&self.file);
        let control = Arc::clone(&self.control);
        let done = tokio::task::spawn_blocking(move || {
            let connection = match &mut *turn {
                Some(connection) => connection,
                none => none.insert(file.connect(&control)?),
            };
            let done = work(connection, &control);
            drop(place);
            done
        });
        let done = done.await.map_err(|_| stopping())?;
        drop(waiting);
        done
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.control.stop.store(true, Ordering::Relaxed);
        // Closing may write, and the statement that was stopped has to end first.
        if let Ok(runtime) = Handle::try_current() {
            let held = Arc::clone(&self.held);
            runtime.spawn_blocking(move || drop(held.blocking_lock().take()));
        }
    }
}

fn run(connection: &rusqlite::Connection, sql: &str, values: &[Value]) -> Result<Rows, Error> {
    let mut statement = connection.prepare(sql)?;
    let columns = statement.column_names();
    let columns: Vec<String> = columns.into_iter().map(ToOwned::to_owned).collect();
    let width = columns.len();
    let mut size = Size::default();
    let mut found = statement.query(params_from_iter(values))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let mut bytes = 0;
        let mut cells = Vec::with_capacity(width);
        for column in 0..width {
            cells.push(match row.get_ref(column)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(number) => Value::Integer(number),
                ValueRef::Real(number) => Value::Real(number),
                ValueRef::Text(text) => {
                    bytes += text.len();
                    Value::Text(String::from_utf8_lossy(text).into_owned())
                }
                ValueRef::Blob(blob) => {
                    bytes += blob.len();
                    Value::Blob(blob.to_vec())
                }
            });
        }
        size.add(width, bytes)?;
        rows.push(cells);
    }
    Ok(Rows { columns, rows })
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self {
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(blob) => ValueRef::Blob(blob),
            Self::Null => ValueRef::Null,
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            _ => Self::Io(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn open(folder: &tempfile::TempDir) -> Connection {
        let path = folder.path().join("a.db");
        let file = File::new(path, Arc::new(Semaphore::new(1)));
        Connection::open(file).await.unwrap()
    }

    async fn execute(connection: &Connection, sql: &str) -> Result<Rows, Error> {
        connection.execute(sql.to_owned(), Vec::new()).await
    }

    #[tokio::test]
    async fn no_statement_reaches_another_file_or_setting() {
        let folder = tempfile::tempdir().unwrap();
        let connection = open(&folder).await;
        let other = folder.path().join("b.db").display().to_string();
        for sql in [
            format!("ATTACH '{other}' AS b"),
            format!("ATTACH '{other}' || '' AS b"),
            "ATTACH ':memory:' AS b".to_owned(),
            format!("VACUUM INTO '{other}'"),
            format!("VACUUM INTO '{other}' || ''"),
            "PRAGMA temp_store_directory = '/tmp'".to_owned(),
            "PRAGMA journal_mode = delete".to_owned(),
            "PRAGMA writable_schema = 1".to_owned(),
            "PRAGMA cache_size = 1000000".to_owned(),
            "SELECT load_extension('x')".to_owned(),
            "SELECT zeroblob(1000000000)".to_owned(),
        ] {
            let refused = execute(&connection, &sql).await;
            assert!(refused.is_err(), "{sql}: {refused:?}");
        }
        assert!(!folder.path().join("b.db").exists());
        for sql in [
            "CREATE TABLE t (a)",
            "VACUUM",
            "PRAGMA table_info(t)",
            "PRAGMA journal_mode",
        ] {
            execute(&connection, sql).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_result_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let connection = open(&folder).await;
        let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
            SELECT i FROM n";
        let refused = execute(&connection, endless).await.unwrap_err();
        assert!(matches!(refused, Error::Io(text) if text.contains("LIMIT")));
    }

    #[tokio::test]
    async fn a_statement_ends_with_whoever_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let connection = open(&folder).await;
        let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
            SELECT count(*) FROM n";
        let cut = tokio::time::timeout(Duration::from_millis(50), execute(&connection, endless));
        assert!(cut.await.is_err());
        // It has its turn only when the other is gone.
        let next = tokio::time::timeout(LIMIT / 4, execute(&connection, "SELECT 1"));
        assert_eq!(next.await.unwrap().unwrap().rows, [[Value::Integer(1)]]);
    }
}
