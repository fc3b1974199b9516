//! Why an application is not run: every reason at once, one sentence each.
//!
//! The lockfile reader fills a [`Refusal`]; the image loader may add to it;
//! the shim and the command line print it. It never decides what to do about it.

use std::fmt;

/// So many reasons are printed; the rest is counted.
const SHOWN: usize = 50;

/// Every reason why an application is refused; at least one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The reasons, in the order in which they were found.
    pub problems: Vec<Problem>,
}

/// One reason, as a sentence without a full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Who has to act.
    pub kind: ProblemKind,
    /// What is wrong, where, and what would have to change.
    pub text: String,
}

/// What sort of reason it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// The file is not what it claims to be; no host can run it.
    Malformed,
    /// The file is sound, but asks for what this host does not give.
    Unmet,
}

impl Refusal {
    /// A refusal for this one reason.
    pub fn new(kind: ProblemKind, text: impl Into<String>) -> Self {
        Refusal {
            problems: vec![Problem {
                kind,
                text: text.into(),
            }],
        }
    }

    /// Adds a reason.
    pub fn push(&mut self, kind: ProblemKind, text: impl Into<String>) {
        self.problems.push(Problem {
            kind,
            text: text.into(),
        });
    }

    /// Adds all reasons of another refusal.
    pub fn merge(&mut self, other: Refusal) {
        self.problems.extend(other.problems);
    }

    /// Whether there is no reason, so that nothing is refused.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether any reason is a malformed file, which no other host would take.
    pub fn is_malformed(&self) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.kind == ProblemKind::Malformed)
    }

    /// The value when there is no reason against it, otherwise this refusal.
    pub fn or<T>(self, value: T) -> Result<T, Refusal> {
        if self.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [] => f.write_str("the application is refused"),
            [only] => write!(f, "the application is refused: {only}"),
            all => {
                write!(f, "the application is refused for {} reasons:", all.len())?;
                all.iter()
                    .take(SHOWN)
                    .try_for_each(|problem| write!(f, "\n- {problem}"))?;
                match all.len().saturating_sub(SHOWN) {
                    0 => Ok(()),
                    more => write!(f, "\n- and {more} more"),
                }
            }
        }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reason_is_one_line() {
        let refusal = Refusal::new(ProblemKind::Unmet, "it is too blue");
        assert_eq!(
            refusal.to_string(),
            "the application is refused: it is too blue"
        );
        assert!(!refusal.is_malformed());
    }

    #[test]
    fn several_reasons_are_a_list() {
        let mut refusal = Refusal::new(ProblemKind::Unmet, "it is too blue");
        refusal.merge(Refusal::new(ProblemKind::Malformed, "it is not round"));
        assert_eq!(
            refusal.to_string(),
            "the application is refused for 2 reasons:\n- it is too blue\n- it is not round"
        );
        assert!(refusal.is_malformed());
    }

    #[test]
    fn a_flood_of_reasons_is_cut() {
        let mut refusal = Refusal::default();
        (0..1000).for_each(|i| refusal.push(ProblemKind::Unmet, format!("reason {i}")));
        let text = refusal.to_string();
        assert!(text.starts_with("the application is refused for 1000 reasons:\n- reason 0\n"));
        assert!(text.ends_with("\n- reason 49\n- and 950 more"));
    }

    #[test]
    fn no_reason_refuses_nothing() {
        assert_eq!(Refusal::default().or(7), Ok(7));
        let refusal = Refusal::new(ProblemKind::Unmet, "no");
        assert_eq!(refusal.clone().or(7), Err(refusal));
    }
}
