//! A store in the worker's memory, which ends with it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Answer, Error, MAX_ANSWER, Page, add};

/// A key, and its value where it has one.
type Pair = (String, Option<Vec<u8>>);

/// The most bytes of keys and values of one store.
const MAX_BYTES: usize = 64 << 20;

#[derive(Default)]
pub(crate) struct Memory(Mutex<Values>);

#[derive(Default)]
struct Values {
    by_key: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

impl Values {
    fn remove(&mut self, key: &str) {
        if let Some(value) = self.by_key.remove(key) {
            self.bytes -= key.len() + value.len();
        }
    }

    /// Gives a key a value, if there is room for both.
    fn set(&mut self, key: String, value: Vec<u8>) -> Result<(), Error> {
        let old = self.by_key.get(&key);
        let old = old.map_or(0, |old| key.len() + old.len());
        let bytes = self.bytes - old + key.len() + value.len();
        if bytes > MAX_BYTES {
            return Err(Error::Other(format!(
                "the store is full: it is in memory, where it may take {MAX_BYTES} bytes"
            )));
        }
        self.bytes = bytes;
        self.by_key.insert(key, value);
        Ok(())
    }
}

impl Memory {
    fn values(&self) -> MutexGuard<'_, Values> {
        // Nothing that can panic runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.values().by_key.get(key).cloned()
    }

    pub(super) fn page(&self, cursor: Option<String>, limit: usize) -> Page {
        let values = self.values();
        let from = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Page::default();
        let mut bytes = 0;
        for key in values.by_key.range((from, Bound::Unbounded)) {
            bytes += key.0.len();
            if page.keys.len() == limit || bytes > MAX_ANSWER {
                page.cursor = page.keys.last().cloned();
                break;
            }
            page.keys.push(key.0.clone());
        }
        page
    }

    pub(super) fn get_many(&self, keys: Vec<String>) -> Result<Vec<Pair>, Error> {
        let values = self.values();
        let mut answer = Answer::default();
        let found = keys.into_iter().map(|key| {
            let value = values.by_key.get(&key);
            answer.add(key.len() + value.map_or(0, Vec::len))?;
            Ok((key, value.cloned()))
        });
        found.collect()
    }

    pub(super) fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        let mut values = self.values();
        let added: usize = pairs
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        let one = pairs.len() == 1;
        // Not to stop in the middle, several have to fit beside what is there.
        if !one && values.bytes + added > MAX_BYTES {
            return Err(Error::Other(format!(
                "the store is full: it is in memory, where it may take {MAX_BYTES} bytes"
            )));
        }
        pairs
            .into_iter()
            .try_for_each(|(key, value)| values.set(key, value))
    }

    pub(super) fn delete_many(&self, keys: &[String]) {
        let mut values = self.values();
        keys.iter().for_each(|key| values.remove(key));
    }

    pub(super) fn increment(&self, key: String, delta: i64) -> Result<i64, Error> {
        let mut values = self.values();
        let sum = add(values.by_key.get(&key).map(Vec::as_slice), delta)?;
        values.set(key, sum.to_le_bytes().to_vec())?;
        Ok(sum)
    }

    pub(super) fn swap(
        &self,
        key: String,
        expected: Option<&Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, Error> {
        let mut values = self.values();
        if values.by_key.get(&key) != expected {
            return Ok(false);
        }
        values.set(key, value)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(page: &Page) -> Vec<&str> {
        page.keys.iter().map(String::as_str).collect()
    }

    #[test]
    fn keys_come_in_pages() {
        let store = Memory::default();
        for key in ["a", "b", "c"] {
            store.set_many(vec![(key.to_owned(), Vec::new())]).unwrap();
        }
        let first = store.page(None, 2);
        assert_eq!(keys(&first), ["a", "b"]);
        let second = store.page(first.cursor, 2);
        assert_eq!(keys(&second), ["c"]);
        assert_eq!(second.cursor, None);
    }

    #[test]
    fn a_full_store_stays_as_it_is() {
        let store = Memory::default();
        let third = || vec![0; MAX_BYTES / 3];
        let pair = |key: &str| (key.to_owned(), third());
        store.set_many(vec![pair("a"), pair("b")]).unwrap();
        assert!(store.set_many(vec![pair("c"), pair("d")]).is_err());
        assert!(store.set_many(vec![pair("c")]).is_err());
        assert_eq!(keys(&store.page(None, 9)), ["a", "b"]);
        store.delete_many(&["a".to_owned()]);
        store.set_many(vec![pair("c")]).unwrap();
    }
}
