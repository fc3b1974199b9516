//! Stores in a SQLite file, in the table that Spin has there: what it wrote is
//! read here, and the other way round.
//!
//! A file has one connection for all its stores, which is used by one call at a
//! time and never on a thread that guests run on. A call whose guest is gone
//! runs to its end there.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use tokio::sync::Mutex;

use super::{Answer, Error, MAX_ANSWER, MAX_VALUE, Page, add};
use crate::service::open_file;

/// How long a call waits for another process that has the file.
const BUSY: Duration = Duration::from_secs(5);

const TABLE: &str = "CREATE TABLE IF NOT EXISTS spin_key_value (
    store TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (store, key)
)";
const GET: &str = "SELECT value FROM spin_key_value WHERE store = ?1 AND key = ?2";
const SET: &str = "INSERT INTO spin_key_value (store, key, value) VALUES (?1, ?2, ?3)
    ON CONFLICT (store, key) DO UPDATE SET value = ?3";
const DELETE: &str = "DELETE FROM spin_key_value WHERE store = ?1 AND key = ?2";
const KEYS: &str = "SELECT key FROM spin_key_value WHERE store = ?1 AND key > ?2
    ORDER BY key LIMIT ?3";

/// The stores of one file.
pub(super) struct File {
    path: PathBuf,
    connection: Arc<Mutex<Option<Connection>>>,
    /// Whether it was logged that it cannot be opened.
    told: AtomicBool,
}

/// One store.
pub(crate) struct Sqlite {
    file: Arc<File>,
    name: Arc<str>,
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Other(error.to_string())
    }
}

impl File {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            connection: Arc::default(),
            told: AtomicBool::new(false),
        }
    }

    /// Does some work with the connection, once it is this call's turn.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let mut turn = Arc::clone(&self.connection).lock_owned().await;
        if turn.is_none() {
            let path = self.path.clone();
            let opened = tokio::task::spawn_blocking(move || {
                let connection = open_file(&path, BUSY)?;
                connection
                    .execute_batch(TABLE)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                Ok(connection)
            });
            let opened = opened.await.map_err(|_| stopping())?;
            *turn = Some(opened.map_err(|problem: String| self.cannot_open(problem))?);
        }
        let done = tokio::task::spawn_blocking(move || match turn.as_mut() {
            Some(connection) => work(connection),
            None => Err(stopping()),
        });
        done.await.map_err(|_| stopping())?
    }

    fn cannot_open(&self, problem: String) -> Error {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "a key-value store cannot be opened: {problem}; mount a volume that can be \
                 written to where its file is, or configure another store in \
                 /runtime-config.toml"
            );
        }
        Error::Other(format!("the store cannot be opened: {problem}"))
    }
}

fn stopping() -> Error {
    Error::Other("the server is stopping".to_owned())
}

impl Sqlite {
    pub(super) fn new(file: Arc<File>, name: &str) -> Self {
        Self {
            file,
            name: name.into(),
        }
    }

    pub(super) async fn open(&self) -> Result<(), Error> {
        self.file.with(|_| Ok(())).await
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &str) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let name = Arc::clone(&self.name);
        let work = move |connection: &mut Connection| work(connection, &name);
        self.file.with(work).await
    }

    /// Does some work in a transaction, which counts only if it succeeds.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>, &str) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let name = Arc::clone(&self.name);
        let work = move |connection: &mut Connection| {
            let behaviour = TransactionBehavior::Immediate;
            let transaction = connection.transaction_with_behavior(behaviour)?;
            let done = work(&transaction, &name)?;
            transaction.commit()?;
            Ok(done)
        };
        self.file.with(work).await
    }

    pub(super) async fn get(&self, key: String) -> Result<Option<Vec<u8>>, Error> {
        self.read(move |connection, name| get(connection, name, &key))
            .await
    }

    pub(super) async fn exists(&self, key: String) -> Result<bool, Error> {
        let exists = move |connection: &Connection, name: &str| {
            Ok(connection.prepare(GET)?.exists([name, &key])?)
        };
        self.read(exists).await
    }

    pub(super) async fn page(&self, cursor: Option<String>, limit: usize) -> Result<Page, Error> {
        let page = move |connection: &Connection, name: &str| {
            let mut statement = connection.prepare(KEYS)?;
            // One more, to know whether there are more.
            let rows = i64::try_from(limit + 1).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![name, cursor.unwrap_or_default(), rows])?;
            let mut page = Page::default();
            let mut bytes = 0;
            while let Some(row) = rows.next()? {
                let key: String = row.get(0)?;
                bytes += key.len();
                if page.keys.len() == limit || bytes > MAX_ANSWER {
                    page.cursor = page.keys.last().cloned();
                    break;
                }
                page.keys.push(key);
            }
            Ok(page)
        };
        self.read(page).await
    }

    pub(super) async fn get_many(
        &self,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, Error> {
        let get_many = move |connection: &Connection, name: &str| {
            let mut answer = Answer::default();
            let found = keys.into_iter().map(|key| {
                let value = get(connection, name, &key)?;
                answer.add(key.len() + value.as_ref().map_or(0, Vec::len))?;
                Ok((key, value))
            });
            found.collect()
        };
        self.read(get_many).await
    }

    pub(super) async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        let set_many = move |transaction: &Transaction<'_>, name: &str| {
            let mut statement = transaction.prepare(SET)?;
            for (key, value) in pairs {
                statement.execute(params![name, key, value])?;
            }
            Ok(())
        };
        self.write(set_many).await
    }

    pub(super) async fn delete_many(&self, keys: Vec<String>) -> Result<(), Error> {
        let delete_many = move |transaction: &Transaction<'_>, name: &str| {
            let mut statement = transaction.prepare(DELETE)?;
            for key in keys {
                statement.execute([name, &key])?;
            }
            Ok(())
        };
        self.write(delete_many).await
    }

    pub(super) async fn increment(&self, key: String, delta: i64) -> Result<i64, Error> {
        let increment = move |transaction: &Transaction<'_>, name: &str| {
            let sum = add(get(transaction, name, &key)?.as_deref(), delta)?;
            transaction.execute(SET, params![name, key, sum.to_le_bytes()])?;
            Ok(sum)
        };
        self.write(increment).await
    }

    pub(super) async fn swap(
        &self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, Error> {
        let swap = move |transaction: &Transaction<'_>, name: &str| {
            if get(transaction, name, &key)? != expected {
                return Ok(false);
            }
            transaction.execute(SET, params![name, key, value])?;
            Ok(true)
        };
        self.write(swap).await
    }
}

fn get(connection: &Connection, name: &str, key: &str) -> Result<Option<Vec<u8>>, Error> {
    let mut statement = connection.prepare(GET)?;
    let value = statement.query_row([name, key], |row| {
        // Others write to the file too: what is too large is not copied.
        let bytes = row.get_ref(0)?.as_bytes()?;
        Ok((bytes.len() <= MAX_VALUE).then(|| bytes.to_vec()))
    });
    match value.optional()? {
        None => Ok(None),
        Some(Some(value)) => Ok(Some(value)),
        Some(None) => Err(super::too_large("the value", MAX_VALUE)),
    }
}
