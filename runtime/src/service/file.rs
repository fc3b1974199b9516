//! The files of stores and databases, and the sentences about labels that
//! nothing configures.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use crate::app::{App, Component};

/// Where the files of stores and databases are.
pub(crate) struct StateDir {
    /// For those that have no other place.
    folder: PathBuf,
    /// What relative paths count from.
    base: PathBuf,
}

impl StateDir {
    /// The folder `usual`, or the one that the runtime configuration names. Relative
    /// paths count from where the usual one is.
    pub(crate) fn new(usual: PathBuf, configured: Option<PathBuf>) -> Self {
        Self {
            base: usual.parent().unwrap_or(&usual).to_owned(),
            folder: configured.unwrap_or(usual),
        }
    }

    /// Where the file is that is configured as `path`, or else called `name`.
    pub(super) fn place(&self, path: Option<&PathBuf>, name: &str) -> PathBuf {
        match path {
            Some(path) => self.base.join(path),
            None => self.folder.join(name),
        }
    }
}

/// How a kind of label is called.
pub(super) struct Labels {
    /// In `/runtime-config.toml`.
    pub(super) section: &'static str,
    /// In a sentence.
    pub(super) what: &'static str,
    /// In a component's metadata.
    pub(super) list: &'static str,
}

/// One sentence for every component and label that nothing configures;
/// `default` needs no configuration.
pub(super) fn unconfigured(
    app: &App,
    labels: &Labels,
    of: impl Fn(&Component) -> &Vec<String>,
    configured: impl Fn(&str) -> bool,
) -> Vec<String> {
    let Labels {
        section,
        what,
        list,
    } = labels;
    let mut problems = Vec::new();
    for component in &app.components {
        for label in of(component) {
            if label != super::DEFAULT_LABEL && !configured(label) {
                problems.push(format!(
                    "component {:?} uses the {what} {label:?}, which is not configured: add \
                     [{section}.{label}] to /runtime-config.toml, or remove it from the \
                     component's {list}",
                    component.id
                ));
            }
        }
    }
    problems
}

/// Opens a database in a file, which is made with its folder where it is
/// missing. Blocks.
///
/// # Errors
/// A sentence that names the file.
pub(super) fn open_file(path: &Path, busy: Duration) -> Result<Connection, String> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    // SQLite would not say why a file cannot be made or written to.
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let open = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(busy)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "normal")?;
        Ok(connection)
    };
    open().map_err(|error: rusqlite::Error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_path_begins_beside_the_state_folder() {
        let place = |folder: &str, path: Option<&str>| {
            let path = path.map(PathBuf::from);
            StateDir::new(folder.into(), None).place(path.as_ref(), "a.db")
        };
        assert_eq!(place("/.spin", None), Path::new("/.spin/a.db"));
        assert_eq!(place("/.spin", Some("b.db")), Path::new("/b.db"));
        assert_eq!(place(".spin", Some("b.db")), Path::new("b.db"));
        assert_eq!(place("/.spin", Some("/data/b")), Path::new("/data/b"));
        let elsewhere = StateDir::new("/.spin".into(), Some("/data".into()));
        assert_eq!(elsewhere.place(None, "a.db"), Path::new("/data/a.db"));
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named_with_the_reason() {
        let problem = open_file(Path::new("/proc/no/such.db"), Duration::ZERO).unwrap_err();
        assert!(problem.starts_with("/proc/no: "), "{problem}");
    }
}
