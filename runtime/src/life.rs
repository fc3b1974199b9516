//! What an instance at work shares with those who wait for it: how it ended,
//! what it has sent out for, and when it wants to be polled.
//!
//! A guest must never be polled from within the store of another guest. So what
//! a guest waits for outside of its store, such as the answer of a guest that
//! it called, becomes an *errand* of its life: whoever drives the guest polls
//! the errands too, beside the guest and in the same task. A chain of calls
//! costs no task and no wake-up of another thread, and all of it is cancelled
//! when its driver is dropped.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use futures_util::task::AtomicWaker;
use tokio::task::unconstrained;

/// What a guest waits for outside of its store.
pub(crate) type Errand = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A guest at work.
pub(crate) type Work<E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send>>;

/// How often a driver polls a guest that wakes itself before it lets others run.
/// tokio's own budget does not apply meanwhile: it would make what is ready look
/// as if it were not.
const MAX_TURNS: u32 = 64;

/// How long it does so.
const MAX_TIME: Duration = Duration::from_millis(1);

/// One instance's work on one event.
#[derive(Default)]
pub(crate) struct Life {
    outcome: AtomicU8,
    errands: Mutex<Vec<Errand>>,
    has_errands: AtomicBool,
    /// Errands that are not done.
    out: AtomicUsize,
    woken: AtomicBool,
    polling: AtomicBool,
    driver: AtomicWaker,
}

const WORKING: u8 = 0;
const FINISHED: u8 = 1;
const DIED: u8 = 2;

impl Life {
    /// The guest returned; what it wrote is complete.
    pub(crate) fn finish(&self) {
        self.outcome.store(FINISHED, Ordering::Release);
    }

    /// A guard that records the guest's death unless it finished before. Must be
    /// dropped before the instance's store, whose streams just end with it.
    pub(crate) fn guard(self: &Arc<Self>) -> Guard {
        Guard(Arc::clone(self))
    }

    /// Whether the guest trapped or was cancelled.
    pub(crate) fn died(&self) -> bool {
        self.outcome.load(Ordering::Acquire) == DIED
    }

    /// Has `errand` done beside the guest.
    pub(crate) fn send_out(&self, errand: Errand) {
        self.out.fetch_add(1, Ordering::Relaxed);
        self.errands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(errand);
        self.has_errands.store(true, Ordering::Release);
        self.wake_driver();
    }

    /// Whether something that the guest sent out for is not done.
    pub(crate) fn is_awaited(&self) -> bool {
        self.out.load(Ordering::Relaxed) > 0
    }

    fn take_errands(&self) -> Vec<Errand> {
        std::mem::take(&mut *self.errands.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn poll_errands(&self, running: &mut FuturesUnordered<Errand>, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(())) = running.poll_next_unpin(cx) {
            self.out.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn wake_driver(&self) {
        self.woken.store(true, Ordering::SeqCst);
        if !self.polling.load(Ordering::SeqCst) {
            self.driver.wake();
        }
    }
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let outcome = self.outcome.load(Ordering::Acquire);
        f.debug_struct("Life").field("outcome", &outcome).finish()
    }
}

/// A wake-up while the driver polls makes it poll once more, and does not go
/// through the scheduler, which would hand the task to another thread.
impl Wake for Life {
    fn wake(self: Arc<Self>) {
        self.wake_driver();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_driver();
    }
}

/// See [`Life::guard`].
pub(crate) struct Guard(Arc<Life>);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self
            .0
            .outcome
            .compare_exchange(WORKING, DIED, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// Drives a guest and its errands; ends when both have nothing more to do, or
/// at once when the guest failed.
pub(crate) struct Driver<E> {
    work: Option<Work<E>>,
    running: Option<FuturesUnordered<Errand>>,
    life: Arc<Life>,
    waker: Waker,
}

impl<E> Driver<E> {
    /// A driver of the guest behind `work`, which belongs to `life`.
    pub(crate) fn new(work: Work<E>, life: Arc<Life>) -> Self {
        Self {
            work: Some(work),
            running: None,
            waker: Waker::from(Arc::clone(&life)),
            life,
        }
    }

    /// Whether the guest itself still works, errands aside.
    pub(crate) fn is_working(&self) -> bool {
        self.work.is_some()
    }

    /// One turn; `Pending` while there is something left.
    fn turn(&mut self) -> Poll<Result<(), E>> {
        let mut cx = Context::from_waker(&self.waker);
        if let Some(work) = &mut self.work
            && let Poll::Ready(result) = work.as_mut().poll(&mut cx)
        {
            self.work = None;
            if let Err(error) = result {
                return Poll::Ready(Err(error));
            }
        }
        // An errand may send out for more, beside the guest that sent it out.
        while self.life.has_errands.swap(false, Ordering::AcqRel) {
            let errands = self.life.take_errands();
            let running = self.running.get_or_insert_default();
            running.extend(errands);
            self.life.poll_errands(running, &mut cx);
        }
        if let Some(running) = &mut self.running {
            self.life.poll_errands(running, &mut cx);
            if running.is_empty() && !self.life.has_errands.load(Ordering::Acquire) {
                self.running = None;
            }
        }
        if self.work.is_none() && self.running.is_none() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }
}

impl<E> Drop for Driver<E> {
    /// Errands know the life that sent them out, so that it must let go of those
    /// that were never begun.
    fn drop(&mut self) {
        drop(self.life.take_errands());
    }
}

impl<E> Future for Driver<E> {
    type Output = Result<(), E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let life = Arc::clone(&this.life);
        life.driver.register(cx.waker());
        life.polling.store(true, Ordering::SeqCst);
        let mut started = None;
        let mut turns = 0;
        let result = loop {
            // A swap, so that this turn sees all that the waker wrote before.
            life.woken.swap(false, Ordering::SeqCst);
            let result =
                ready!(pin!(unconstrained(poll_fn(|_| Poll::Ready(this.turn())))).poll(cx));
            turns += 1;
            if result.is_ready() || !life.woken.load(Ordering::SeqCst) || turns == MAX_TURNS {
                break result;
            }
            // A guest that is interrupted by the epoch wakes itself: it has had
            // its time, and others must run.
            let started = *started.get_or_insert_with(Instant::now);
            if started.elapsed() > MAX_TIME {
                break result;
            }
        };
        life.polling.store(false, Ordering::SeqCst);
        if result.is_pending() && life.woken.load(Ordering::SeqCst) {
            cx.waker().wake_by_ref();
        }
        result
    }
}
