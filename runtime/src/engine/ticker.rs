//! The clock that interrupts guests: a thread that advances the engine's epoch
//! while guests are at work, and sleeps without a deadline while none is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};

use super::{Engine, TICK};

/// Advances the epoch of one engine. Dropping the last handle ends the thread.
#[derive(Clone)]
pub struct Ticker {
    state: Arc<State>,
    thread: Thread,
}

#[derive(Default)]
struct State {
    in_flight: AtomicUsize,
    parked: AtomicBool,
}

/// Says that a guest is at work for as long as it lives.
pub struct InFlight {
    state: Arc<State>,
}

impl Ticker {
    /// Starts the clock of `engine`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(engine: &Engine) -> std::io::Result<Self> {
        let state = Arc::new(State::default());
        let engine = engine.wasmtime().weak();
        let thread = {
            let state = Arc::downgrade(&state);
            thread::Builder::new().name("epoch".into()).spawn(move || {
                while let (Some(state), Some(engine)) = (state.upgrade(), engine.upgrade()) {
                    engine.increment_epoch();
                    drop(engine);
                    let idle = state.in_flight.load(Ordering::SeqCst) == 0;
                    if idle {
                        state.parked.store(true, Ordering::SeqCst);
                        // A guest that started before the store above did not
                        // see it, so look again before sleeping.
                        let still_idle = state.in_flight.load(Ordering::SeqCst) == 0;
                        let parked = Arc::downgrade(&state);
                        drop(state);
                        if still_idle {
                            thread::park();
                        }
                        if let Some(state) = parked.upgrade() {
                            state.parked.store(false, Ordering::SeqCst);
                        }
                    } else {
                        drop(state);
                    }
                    thread::sleep(TICK);
                }
            })?
        };
        Ok(Self {
            state,
            thread: thread.thread().clone(),
        })
    }

    /// Counts a guest at work, and wakes the clock if it sleeps.
    pub fn enter(&self) -> InFlight {
        self.state.in_flight.fetch_add(1, Ordering::SeqCst);
        if self.state.parked.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        InFlight {
            state: Arc::clone(&self.state),
        }
    }

    /// How many guests are at work now.
    pub fn in_flight(&self) -> usize {
        self.state.in_flight.load(Ordering::SeqCst)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.state.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.thread.unpark();
    }
}
