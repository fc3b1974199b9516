//! Whether a source is in contact with its server, and what is said of it: once
//! when it is lost, once when it is there again.

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
    lost: bool,
    wait: Duration,
}

impl Contact {
    pub(super) fn new(server: String) -> Self {
        Self {
            server,
            lost: false,
            wait: FIRST_WAIT,
        }
    }

    /// The server answers; `what` says what it does for us now.
    pub(super) fn made(&mut self, what: &str) {
        let again = if self.lost { "is there again, " } else { "" };
        tracing::info!("{} {again}{what}", self.server);
        self.lost = false;
        self.wait = FIRST_WAIT;
    }

    /// The server does not answer; gives how long to wait before another try.
    pub(super) fn lost(&mut self, error: &dyn Display) -> Duration {
        if !self.lost {
            tracing::warn!(
                "{} is not there: {error}; trying again until it is",
                self.server
            );
            self.lost = true;
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
