//! How long the steps of a call took: a debug line at its end, for those who ask where the time of a
//! start goes (`debug` in containerd's configuration).

use std::fmt::Write as _;
use std::time::Instant;

/// A call under way.
pub(crate) struct Steps {
    call: &'static str,
    id: String,
    last: Instant,
    told: String,
}

impl Steps {
    /// The call `call` for container `id` begins.
    pub(crate) fn begin(call: &'static str, id: &str) -> Steps {
        Steps {
            call,
            id: id.to_owned(),
            last: Instant::now(),
            told: String::new(),
        }
    }

    /// A step is done.
    pub(crate) fn done(&mut self, step: &str) {
        let took = std::mem::replace(&mut self.last, Instant::now()).elapsed();
        let _ = write!(self.told, " {step}={}us", took.as_micros());
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        tracing::debug!("{} of {} took{}", self.call, self.id, self.told);
    }
}
