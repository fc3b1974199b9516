//! Whether a source is in contact with its server, and what is said of it: once
//! when it is lost, once for every other reason that shows while it is, once
//! when it is there again.

use std::fmt::Display;
use std::time::Duration;

/// How long to wait after the first failure; twice as long after each further
/// one.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The contact with one server.
pub(super) struct Contact {
    /// Which server, for sentences; without passwords.
    server: String,
    /// Why it is lost.
    lost: Option<String>,
    wait: Duration,
}

impl Contact {
    pub(super) fn new(server: String) -> Self {
        Self {
            server,
            lost: None,
            wait: FIRST_WAIT,
        }
    }

    /// The server answers; `what` says what it does for us now.
    pub(super) fn made(&mut self, what: &str) {
        let again = if self.lost.is_some() {
            "is there again, "
        } else {
            ""
        };
        tracing::info!("{} {again}{what}", self.server);
        self.lost = None;
        self.wait = FIRST_WAIT;
    }

    /// The server does not answer, or not as it should; gives how long to wait
    /// before another try.
    pub(super) fn lost(&mut self, problem: &dyn Display) -> Duration {
        let problem = problem.to_string();
        if self.lost.as_ref() != Some(&problem) {
            tracing::warn!(
                "{} brings nothing: {problem}; trying again until it does",
                self.server
            );
            self.lost = Some(problem);
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST_WAIT);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_begin_anew() {
        let mut contact = Contact::new("a server".to_owned());
        let waits: Vec<_> = (0..9).map(|_| contact.lost(&"gone")).collect();
        assert_eq!(waits[0], FIRST_WAIT);
        assert!(waits.is_sorted());
        assert_eq!(waits[8], LONGEST_WAIT);
        contact.made("and well");
        assert_eq!(contact.lost(&"gone"), FIRST_WAIT);
    }
}
