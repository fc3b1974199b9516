//! Mistakes in a manifest, each with its file and line, told together.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;

/// Why an application is not packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The manifest has mistakes; at least one.
    #[error("{}", list(.0))]
    Manifest(Vec<Mistake>),
    /// The image's name cannot be one.
    #[error(
        "`{0}` cannot be an image's name: write one such as `localhost/hello:latest`, of letters, digits and . _ - / : @"
    )]
    Reference(String),
    /// The machine failed.
    #[error("{act}: {source}")]
    Io {
        /// What was being done.
        act: String,
        /// What the system said.
        source: io::Error,
    },
}

/// One mistake: `spin.toml:12: component "a": ...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The manifest, as its path was given.
    pub file: String,
    /// The line, from 1 on; `None` when it concerns the whole file.
    pub line: Option<usize>,
    /// What is wrong, and what would be right.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.text),
            None => write!(f, "{}: {}", self.file, self.text),
        }
    }
}

fn list(mistakes: &[Mistake]) -> String {
    mistakes
        .iter()
        .map(Mistake::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Collects mistakes while a manifest is read.
pub(super) struct Mistakes {
    file: String,
    line_ends: Vec<usize>,
    found: Vec<Mistake>,
}

impl Mistakes {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        let line_ends = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at)
            .collect();
        Mistakes {
            file: file.display().to_string(),
            line_ends,
            found: Vec::new(),
        }
    }

    /// Notes a mistake at a place in the text.
    pub(super) fn push(&mut self, span: Range<usize>, text: impl Into<String>) {
        let line = self.line(span);
        self.push_at(Some(line), text);
    }

    /// Notes a mistake at a line.
    pub(super) fn push_at(&mut self, line: Option<usize>, text: impl Into<String>) {
        let mistake = Mistake {
            file: self.file.clone(),
            line,
            text: text.into(),
        };
        if !self.found.contains(&mistake) {
            self.found.push(mistake);
        }
    }

    /// The line where a span begins.
    pub(super) fn line(&self, span: Range<usize>) -> usize {
        self.line_ends.partition_point(|end| *end < span.start) + 1
    }

    pub(super) fn check(&mut self) -> Result<(), PackError> {
        if self.found.is_empty() {
            return Ok(());
        }
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|mistake| mistake.line);
        Err(PackError::Manifest(found))
    }
}

impl From<Mistakes> for PackError {
    fn from(mut mistakes: Mistakes) -> Self {
        mistakes.found.sort_by_key(|mistake| mistake.line);
        PackError::Manifest(mistakes.found)
    }
}
