//! Idle instances of a guest, which answer one request after another.
//!
//! Those of `wasi:http` 0.3, whose interface allows it; those of 0.2 where
//! `CATENA_REUSE_INSTANCES` means their component, and then only if a request
//! left nothing behind in them: [`Reusable::is_as_new`].

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p3::bindings::Service;

use super::{Guest, Instance};
use crate::call::Call;
use crate::life::Life;

/// How long an idle instance waits on the shelf for its next request.
const SHELF_LIFE: Duration = Duration::from_secs(10);

/// An instance before, in and between requests.
pub(crate) struct Reusable {
    pub(crate) instance: Instance,
    pub(crate) handler: Handler,
    /// How many handles it had before its first request.
    handles: usize,
    uses: u32,
    since: Instant,
}

/// How it is asked.
pub(crate) enum Handler {
    /// By `wasi:http/incoming-handler` 0.2.
    Second(Proxy),
    /// By `wasi:http/handler` 0.3.
    Third(Service),
}

impl Reusable {
    pub(crate) fn new(mut instance: Instance, handler: Handler) -> Self {
        Self {
            handles: instance.store.data_mut().handles(),
            instance,
            handler,
            uses: 0,
            since: Instant::now(),
        }
    }

    /// Sets it to work on its next request.
    pub(crate) fn begin(&mut self, call: Arc<dyn Call>, depth: u32, life: &Arc<Life>) {
        let hooks = &mut self.instance.store.data_mut().hooks;
        hooks.depth = depth;
        hooks.call = call;
        hooks.life = Arc::clone(life);
    }

    /// Whether nothing is left of the request that it has answered: no handle
    /// that it did not have before, nothing that `life` still waits for. One that
    /// was refused memory is not as new either.
    pub(crate) fn is_as_new(&mut self, life: &Life) -> bool {
        let state = self.instance.store.data_mut();
        !life.is_awaited() && !state.was_refused_memory() && state.handles() <= self.handles
    }
}

impl Guest {
    /// An instance from the shelf, the one used last.
    pub(crate) fn take_reusable(&self) -> Option<Reusable> {
        self.shelf().pop()
    }

    /// Puts an instance back unless it has served often enough, or its place is
    /// wanted for another.
    pub(crate) fn put_reusable(&self, mut reusable: Reusable) {
        reusable.uses += 1;
        let wanted = self.commons.waiting.load(Ordering::SeqCst) > 0;
        if reusable.uses < self.commons.max_uses && !wanted {
            reusable.instance.store.data_mut().hooks.life = Arc::clone(&self.idle);
            reusable.since = Instant::now();
            self.shelf().push(reusable);
            let commons = &self.commons;
            if !commons.watched.load(Ordering::SeqCst)
                && !commons.watched.swap(true, Ordering::SeqCst)
            {
                commons.shelved.notify_one();
            }
            // Who began to wait meanwhile found the shelf without it.
            if self.commons.waiting.load(Ordering::SeqCst) > 0 {
                self.clear_shelf();
            }
        }
    }

    /// Lets go of all idle instances, to make room for others.
    pub(crate) fn clear_shelf(&self) {
        let idle = std::mem::take(&mut *self.shelf());
        drop(idle);
    }

    /// Lets go of instances that nobody has used for a while.
    pub(crate) fn trim_shelf(&self) {
        let expired: Vec<Reusable> = {
            let mut shelf = self.shelf();
            let keep = shelf.partition_point(|one| one.since.elapsed() > SHELF_LIFE);
            shelf.drain(..keep).collect()
        };
        drop(expired);
    }

    /// Whether no instance is idle.
    pub(crate) fn has_empty_shelf(&self) -> bool {
        self.shelf().is_empty()
    }

    fn shelf(&self) -> MutexGuard<'_, Vec<Reusable>> {
        // Nothing that can panic runs under this lock.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
