//! Why an image cannot be loaded, as the sentence its user reads.

use std::error::Error;
use std::io;

use crate::app::{Problem, ProblemKind, Refusal};

use super::blob::Fault;

/// Why an image cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The image is sound enough to read, and there are reasons not to run it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Some part of the image is not what it claims to be.
    #[error("{what}: {reason}")]
    Corrupt {
        /// The part: a blob by its digest, or a file by its path.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The machine failed, not the image.
    #[error("{act}: {source}")]
    Io {
        /// What was being done.
        act: String,
        /// What the system said.
        source: io::Error,
    },
}

impl LoadError {
    /// Whether the image itself is broken, so that no host could run it.
    pub fn is_malformed(&self) -> bool {
        match self {
            LoadError::Refused(refusal) => refusal.is_malformed(),
            LoadError::Corrupt { .. } => true,
            LoadError::Io { .. } => false,
        }
    }

    pub(crate) fn corrupt(what: impl Into<String>, reason: impl Into<String>) -> Self {
        LoadError::Corrupt {
            what: what.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn unmet(text: impl Into<String>) -> Self {
        LoadError::Refused(Refusal::new(ProblemKind::Unmet, text))
    }

    /// A failure of reading `what`. What the operating system reports is the
    /// machine's failure; a wrong digest, a short blob or a decoder's complaint
    /// is the image's.
    pub(crate) fn reading(what: impl Into<String>, error: io::Error) -> Self {
        let what = what.into();
        if let Some(fault) = find::<Fault>(&error) {
            return LoadError::corrupt(what, fault.to_string());
        }
        if error.kind() == io::ErrorKind::NotFound {
            return LoadError::corrupt(
                what,
                "is missing from the image; build or fetch the image again",
            );
        }
        let of_the_system = error.raw_os_error().is_some()
            || find::<io::Error>(&error).is_some_and(|inner| inner.raw_os_error().is_some());
        match of_the_system {
            true => LoadError::Io {
                act: format!("reading {what}"),
                source: error,
            },
            false => LoadError::corrupt(
                what,
                format!("cannot be decoded ({error}); build or fetch the image again"),
            ),
        }
    }

    /// Adds this to the reasons of a refusal, so that it is told with the
    /// others. A failure of the machine is no reason against the image: it
    /// comes back.
    pub(crate) fn add_to(self, refusal: &mut Refusal) -> Result<(), LoadError> {
        match self {
            LoadError::Refused(other) => refusal.merge(other),
            LoadError::Corrupt { .. } => refusal.push(ProblemKind::Malformed, self.to_string()),
            LoadError::Io { .. } => return Err(self),
        }
        Ok(())
    }

    /// Puts `place: ` before the sentence, for example the component's name.
    pub(crate) fn within(self, place: &str) -> Self {
        match self {
            LoadError::Refused(refusal) => LoadError::Refused(Refusal {
                problems: refusal
                    .problems
                    .into_iter()
                    .map(|Problem { kind, text }| Problem {
                        kind,
                        text: format!("{place}: {text}"),
                    })
                    .collect(),
            }),
            LoadError::Corrupt { what, reason } => LoadError::Corrupt {
                what: format!("{place}: {what}"),
                reason,
            },
            LoadError::Io { act, source } => LoadError::Io {
                act: format!("{place}: {act}"),
                source,
            },
        }
    }
}

/// The first error of type `T` inside an I/O error.
fn find<T: Error + 'static>(error: &io::Error) -> Option<&T> {
    let mut next: Option<&(dyn Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(inner) = next {
        if let Some(found) = inner.downcast_ref::<T>() {
            return Some(found);
        }
        // An io::Error inside answers `source` with its own inner error's
        // source, and so would hide that inner error.
        next = match inner
            .downcast_ref::<io::Error>()
            .and_then(|io| io.get_ref())
        {
            Some(deeper) => Some(deeper as _),
            None => inner.source(),
        };
    }
    None
}
