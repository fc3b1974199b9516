//! Connections between two uses, by the address that a guest gives: one pool for
//! each component and protocol.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a connection waits for its next use.
const LIFE: Duration = Duration::from_secs(60);

/// The most that wait at a time.
const MAX_IDLE: usize = 32;

/// What waits, the last used last.
pub(crate) struct Shelf<T> {
    idle: Mutex<HashMap<String, Vec<(Instant, T)>>>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self {
            idle: Mutex::default(),
        }
    }
}

impl<T> Shelf<T> {
    /// The one used last at this address that is still alive.
    pub(crate) fn take(&self, address: &str, alive: impl Fn(&mut T) -> bool) -> Option<T> {
        let mut idle = self.idle();
        let found = idle.get_mut(address)?;
        while let Some((since, mut one)) = found.pop() {
            if since.elapsed() < LIFE && alive(&mut one) {
                return Some(one);
            }
        }
        None
    }

    /// Keeps one for its next use, unless too many wait already.
    pub(crate) fn put(&self, address: &str, one: T) {
        let mut idle = self.idle();
        for waiting in idle.values_mut() {
            waiting.retain(|(since, _)| since.elapsed() < LIFE);
        }
        idle.retain(|_, waiting| !waiting.is_empty());
        if idle.values().map(Vec::len).sum::<usize>() < MAX_IDLE {
            let waiting = idle.entry(address.to_owned()).or_default();
            waiting.push((Instant::now(), one));
        }
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<String, Vec<(Instant, T)>>> {
        // Nothing that can panic runs under this lock.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dead_or_too_much_is_not_kept() {
        let shelf = Shelf::default();
        for number in 0..MAX_IDLE + 3 {
            shelf.put("a", number);
        }
        assert_eq!(shelf.take("b", |_| true), None);
        assert_eq!(shelf.take("a", |one| *one < 10), Some(9));
        assert_eq!(shelf.take("a", |_| false), None);
        assert_eq!(shelf.take("a", |_| true), None);
    }
}
