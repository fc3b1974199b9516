//! Where catena's own log lines go: containerd's log FIFO for the daemon, standard error for
//! people. Called once at the start of a process; guests' output never passes here.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// libcontainer warns of every kind of cgroup that a kernel lacks.
const QUIET: &str = "info,libcontainer=error,libcgroups=error";

/// containerd's FIFO. Opened for reading too, so that a restart of containerd never breaks it;
/// never waited for, so that a containerd that does not read cannot stop the shim.
#[derive(Clone, Debug)]
pub(crate) struct Fifo(Arc<File>);

impl Fifo {
    /// Opens the FIFO at `path`.
    pub(crate) fn open(path: &Path) -> io::Result<Fifo> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        Ok(Fifo(Arc::new(file)))
    }
}

impl Write for Fifo {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match (&*self.0).write(line) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(line.len()),
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Fifo {
    type Writer = Fifo;

    fn make_writer(&self) -> Fifo {
        self.clone()
    }
}

/// Sends the daemon's log lines to containerd.
pub(crate) fn to_containerd(fifo: Fifo, debug: bool) {
    let filter = if debug { "debug" } else { QUIET };
    let subscriber = tracing_subscriber::fmt()
        .with_writer(fifo)
        .with_ansi(false)
        .with_target(false)
        .with_env_filter(EnvFilter::new(filter))
        .finish();
    install(subscriber);
}

/// Sends log lines to standard error; `filter` is in the syntax of `RUST_LOG`.
pub(crate) fn to_stderr(filter: Option<&str>, colour: bool) {
    let filter =
        EnvFilter::try_new(filter.unwrap_or("info")).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(colour)
        .with_target(false)
        .with_env_filter(filter)
        .finish();
    install(subscriber);
}

fn install(subscriber: impl tracing::Subscriber + Send + Sync) {
    // It fails only where a subscriber is set already, and then that one stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
