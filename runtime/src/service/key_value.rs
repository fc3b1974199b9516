//! Key-value stores: labels of lockfiles, and what stands behind them.
//!
//! A label is what a component's `key_value_stores` has. Where
//! `/runtime-config.toml` says nothing of it, `default` is a SQLite file in the
//! state folder, laid out as Spin's, and any other label refuses the
//! application. Nothing is opened before a guest asks for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::{DEFAULT_LABEL, Labels, StateDir, unconfigured};
use crate::app::App;
use crate::config::{KeyValueStore, RuntimeConfig};
use crate::outbound::Trust;

mod memory;
mod redis;
mod sqlite;

/// The file of all stores of type `spin` that have no file of their own.
const FILE: &str = "sqlite_key_value.db";

/// The longest key, in bytes.
const MAX_KEY: usize = 8 << 10;

/// The largest value, in bytes.
const MAX_VALUE: usize = 16 << 20;

/// The largest value that a guest may compare and swap: a copy of it is held.
const MAX_SWAPPED: usize = 1 << 20;

/// The most keys that are listed at once.
const MAX_KEYS: usize = 100_000;

/// The most bytes of keys or values in one answer.
const MAX_ANSWER: usize = 32 << 20;

/// Keys that are fetched at once for a stream of them.
const PAGE: usize = 1000;

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// Too many handles are open.
    TableFull,
    /// No store has the label.
    NoSuchStore,
    /// The component may not use the store.
    AccessDenied,
    /// Anything else, as a sentence.
    Other(String),
}

/// All stores of a worker.
pub(crate) struct Stores(BTreeMap<String, Arc<Store>>);

/// One store.
pub(crate) enum Store {
    Sqlite(sqlite::Sqlite),
    Redis(Box<redis::Redis>),
    Memory(memory::Memory),
}

/// Some of a store's keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) keys: Vec<String>,
    /// Where the next page begins; none after the last.
    pub(crate) cursor: Option<String>,
}

/// The stores that one component may use.
pub(crate) struct Access {
    stores: Arc<Stores>,
    labels: Vec<String>,
}

/// One sentence for every component and store that nothing configures.
pub(super) fn check(app: &App, config: &RuntimeConfig) -> Vec<String> {
    let labels = Labels {
        section: "key_value_store",
        what: "key-value store",
        list: "key_value_stores",
    };
    let configured = |label: &str| config.key_value_stores.contains_key(label);
    unconfigured(app, &labels, |of| &of.key_value_stores, configured)
}

impl Stores {
    /// Makes the stores that are configured, and `default`; opens none.
    ///
    /// # Errors
    /// One sentence for every store whose configuration is of no use.
    pub(super) fn new(
        config: &RuntimeConfig,
        state: &StateDir,
        trust: &Arc<Trust>,
    ) -> Result<Self, Vec<String>> {
        let mut files = Files {
            state,
            open: BTreeMap::new(),
        };
        let mut stores = BTreeMap::new();
        let mut problems = Vec::new();
        let spin = KeyValueStore::Spin { path: None };
        let default = (!config.key_value_stores.contains_key(DEFAULT_LABEL))
            .then_some((DEFAULT_LABEL, &spin));
        let configured = config.key_value_stores.iter();
        let configured = configured.map(|(label, store)| (label.as_str(), store));
        for (label, store) in configured.chain(default) {
            let store = match store {
                KeyValueStore::Spin { path } => {
                    let file = files.get(path.as_ref());
                    Store::Sqlite(sqlite::Sqlite::new(file, label))
                }
                KeyValueStore::Redis { url } => match redis::Redis::new(label, url, trust) {
                    Ok(redis) => Store::Redis(Box::new(redis)),
                    Err(problem) => {
                        problems.push(format!("key_value_store.{label}: {problem}"));
                        continue;
                    }
                },
                KeyValueStore::Memory {} => Store::Memory(memory::Memory::default()),
            };
            stores.insert(label.to_owned(), Arc::new(store));
        }
        if problems.is_empty() {
            Ok(Self(stores))
        } else {
            Err(problems)
        }
    }
}

/// The SQLite files of stores; several stores may share one.
struct Files<'a> {
    state: &'a StateDir,
    open: BTreeMap<PathBuf, Arc<sqlite::File>>,
}

impl Files<'_> {
    fn get(&mut self, path: Option<&PathBuf>) -> Arc<sqlite::File> {
        let path = self.state.place(path, FILE);
        let file = self.open.entry(path.clone());
        Arc::clone(file.or_insert_with(|| Arc::new(sqlite::File::new(path))))
    }
}

impl Access {
    pub(super) fn new(stores: Arc<Stores>, labels: &[String]) -> Self {
        Self {
            stores,
            labels: labels.to_vec(),
        }
    }

    /// The store with this label, once it can be used.
    ///
    /// # Errors
    /// When the component may not use it, or it cannot be opened.
    pub(crate) async fn open(&self, label: &str) -> Result<Arc<Store>, Error> {
        let store = self.stores.0.get(label).ok_or(Error::NoSuchStore)?;
        if !self.labels.iter().any(|own| own == label) {
            tracing::warn!(
                "the key-value store {label:?} was denied: add it to the component's \
                 key_value_stores to allow it"
            );
            return Err(Error::AccessDenied);
        }
        match &**store {
            Store::Sqlite(store) => store.open().await?,
            Store::Redis(store) => store.open().await?,
            Store::Memory(_) => {}
        }
        Ok(Arc::clone(store))
    }
}

impl Store {
    /// The value of a key.
    pub(crate) async fn get(&self, key: String) -> Result<Option<Vec<u8>>, Error> {
        check_key(&key)?;
        let value = match self {
            Self::Sqlite(store) => store.get(key).await,
            Self::Redis(store) => store.get(&key).await,
            Self::Memory(store) => Ok(store.get(&key)),
        }?;
        match value {
            Some(value) if value.len() > MAX_VALUE => Err(too_large("the value", MAX_VALUE)),
            value => Ok(value),
        }
    }

    /// Gives a key a value.
    pub(crate) async fn set(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
        self.set_many(vec![(key, value)]).await
    }

    /// Removes a key, if there is one.
    pub(crate) async fn delete(&self, key: String) -> Result<(), Error> {
        self.delete_many(vec![key]).await
    }

    /// Whether a key has a value.
    pub(crate) async fn exists(&self, key: String) -> Result<bool, Error> {
        check_key(&key)?;
        match self {
            Self::Sqlite(store) => store.exists(key).await,
            Self::Redis(store) => store.exists(&key).await,
            Self::Memory(store) => Ok(store.get(&key).is_some()),
        }
    }

    /// All keys, if they are not too many.
    pub(crate) async fn keys(&self) -> Result<Vec<String>, Error> {
        let page = self.page(None, MAX_KEYS).await?;
        match page.cursor {
            None => Ok(page.keys),
            Some(_) => Err(Error::Other(format!(
                "the store has more keys than the {MAX_KEYS} that are listed at once"
            ))),
        }
    }

    /// The next keys for a stream of them.
    pub(crate) async fn next_keys(&self, cursor: Option<String>) -> Result<Page, Error> {
        self.page(cursor, PAGE).await
    }

    /// As many keys as are listed at once, from where the last page ended.
    pub(crate) async fn list(&self, cursor: Option<String>) -> Result<Page, Error> {
        self.page(cursor, MAX_KEYS).await
    }

    async fn page(&self, cursor: Option<String>, limit: usize) -> Result<Page, Error> {
        match self {
            Self::Sqlite(store) => store.page(cursor, limit).await,
            Self::Redis(store) => store.page(cursor, limit).await,
            Self::Memory(store) => Ok(store.page(cursor, limit)),
        }
    }

    /// The values of keys, in their order.
    pub(crate) async fn get_many(
        &self,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, Error> {
        keys.iter().try_for_each(|key| check_key(key))?;
        match self {
            Self::Sqlite(store) => store.get_many(keys).await,
            Self::Redis(store) => store.get_many(keys).await,
            Self::Memory(store) => store.get_many(keys),
        }
    }

    /// Gives keys values, all or none.
    pub(crate) async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        for (key, value) in &pairs {
            check_key(key)?;
            if value.len() > MAX_VALUE {
                return Err(too_large("the value", MAX_VALUE));
            }
        }
        match self {
            Self::Sqlite(store) => store.set_many(pairs).await,
            Self::Redis(store) => store.set_many(pairs).await,
            Self::Memory(store) => store.set_many(pairs),
        }
    }

    /// Removes keys, all or none.
    pub(crate) async fn delete_many(&self, keys: Vec<String>) -> Result<(), Error> {
        keys.iter().try_for_each(|key| check_key(key))?;
        match self {
            Self::Sqlite(store) => store.delete_many(keys).await,
            Self::Redis(store) => store.delete_many(keys).await,
            Self::Memory(store) => {
                store.delete_many(&keys);
                Ok(())
            }
        }
    }

    /// Adds to a number, which is 0 where there is none, and gives the sum.
    pub(crate) async fn increment(&self, key: String, delta: i64) -> Result<i64, Error> {
        check_key(&key)?;
        match self {
            Self::Sqlite(store) => store.increment(key, delta).await,
            Self::Redis(store) => store.increment(&key, delta).await,
            Self::Memory(store) => store.increment(key, delta),
        }
    }

    /// The value of a key, to be swapped later.
    pub(crate) async fn get_to_swap(&self, key: String) -> Result<Option<Vec<u8>>, Error> {
        match self.get(key).await? {
            Some(value) if value.len() > MAX_SWAPPED => {
                Err(too_large("the value to compare with", MAX_SWAPPED))
            }
            value => Ok(value),
        }
    }

    /// Gives a key a value if it still has the one that was expected; says
    /// whether it had.
    pub(crate) async fn swap(
        &self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, Error> {
        check_key(&key)?;
        if value.len() > MAX_VALUE {
            return Err(too_large("the value", MAX_VALUE));
        }
        match self {
            Self::Sqlite(store) => store.swap(key, expected, value).await,
            Self::Redis(store) => store.swap(&key, expected, value).await,
            Self::Memory(store) => store.swap(key, expected.as_ref(), value),
        }
    }
}

fn check_key(key: &str) -> Result<(), Error> {
    if key.len() > MAX_KEY {
        return Err(too_large("the key", MAX_KEY));
    }
    Ok(())
}

fn too_large(what: &str, limit: usize) -> Error {
    Error::Other(format!("{what} is larger than {limit} bytes"))
}

/// A number as Spin's own stores keep it, plus `delta`.
fn add(value: Option<&[u8]>, delta: i64) -> Result<i64, Error> {
    let number = match value {
        None => 0,
        Some(value) => {
            let bytes = value.try_into().map_err(|_| {
                Error::Other("the value is no number: it does not have 8 bytes".to_owned())
            })?;
            i64::from_le_bytes(bytes)
        }
    };
    let sum = number.checked_add(delta);
    sum.ok_or_else(|| Error::Other("the sum is too large for 64 bits".to_owned()))
}

/// Counts the bytes of an answer.
#[derive(Default)]
struct Answer(usize);

impl Answer {
    fn add(&mut self, bytes: usize) -> Result<(), Error> {
        self.0 += bytes;
        if self.0 > MAX_ANSWER {
            return Err(too_large("the answer", MAX_ANSWER));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_little_endian_and_do_not_wrap() {
        assert_eq!(add(None, 5), Ok(5));
        assert_eq!(add(Some(&7_i64.to_le_bytes()), -9), Ok(-2));
        assert!(add(Some(b"7"), 1).is_err());
        assert!(add(Some(&i64::MAX.to_le_bytes()), 1).is_err());
    }
}
