//! Events of one source that are at work or wait for their turn.

use std::collections::VecDeque;
use std::pin::{Pin, pin};

use tokio::task::JoinSet;

/// How many events of a source are at work at once.
pub(super) const AT_ONCE: usize = 32;

/// How many wait beside them.
const WAITING: usize = 1000;

/// One event's work.
type Job<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The work of a source. Dropping it cancels all of it.
pub(super) struct Works<T> {
    running: JoinSet<T>,
    waiting: VecDeque<Job<T>>,
}

impl<T: Send + 'static> Works<T> {
    pub(super) fn new() -> Self {
        Self {
            running: JoinSet::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Begins with the work, or has it wait. Gives false, and drops it, where
    /// too much waits already.
    #[must_use]
    pub(super) fn offer(&mut self, job: impl Future<Output = T> + Send + 'static) -> bool {
        if self.running.len() < AT_ONCE {
            self.running.spawn(job);
        } else if self.waiting.len() < WAITING {
            self.waiting.push_back(Box::pin(job));
        } else {
            return false;
        }
        true
    }

    /// Whether more would only wait.
    pub(super) fn is_busy(&self) -> bool {
        self.running.len() >= AT_ONCE
    }

    /// Whether there is no room for anything more.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING
    }

    /// What the next work that ends gives; none when there is none. Nothing is
    /// lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Option<T> {
        loop {
            let ended = self.running.join_next().await?;
            if let Some(job) = self.waiting.pop_front() {
                self.running.spawn(job);
            }
            match ended {
                Ok(outcome) => return Some(outcome),
                Err(error) => tracing::error!("the work on an event ended: {error}"),
            }
        }
    }

    /// Waits for `other`; work goes on meanwhile, and what it gives is dropped.
    pub(super) async fn beside<O>(&mut self, other: impl Future<Output = O>) -> O {
        let mut other = pin!(other);
        loop {
            tokio::select! {
                outcome = &mut other => return outcome,
                Some(_) = self.next() => {}
            }
        }
    }

    /// Waits until all is done.
    pub(super) async fn finish(&mut self) {
        while self.next().await.is_some() {}
    }
}
