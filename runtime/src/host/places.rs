//! Bounds the handles that stand for something outside the instance: open
//! stores, connections.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most of them that one instance has at once.
const MAX_HANDLES: usize = 256;

/// The places for handles of one instance.
#[derive(Default)]
pub(crate) struct Places(Option<Arc<Semaphore>>);

impl Places {
    /// A place for one more, given back when it is dropped; none when all are
    /// taken.
    pub(crate) fn take(&mut self) -> Option<OwnedSemaphorePermit> {
        let places = || Arc::new(Semaphore::new(MAX_HANDLES));
        let places = self.0.get_or_insert_with(places);
        Arc::clone(places).try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back() {
        let mut handles = Places::default();
        let taken: Vec<_> = std::iter::from_fn(|| handles.take()).collect();
        assert_eq!(taken.len(), MAX_HANDLES);
        drop(taken);
        assert!(handles.take().is_some());
    }
}
