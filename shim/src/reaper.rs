//! Collects every child of the shim: its own helpers, the containers' first processes and the
//! orphans that fall to it as a subreaper. It is the only place in the daemon that waits for
//! processes, so the daemon must not use `std::process::Child::wait` or `tokio::process`.

use std::collections::HashMap;
use std::io;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

/// How and when a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// The exit code, or 128 plus the number of the signal that ended it.
    pub(crate) code: u32,
    /// When it was collected.
    pub(crate) at: SystemTime,
}

/// Resolves when the process ends.
pub(crate) type ExitReceiver = oneshot::Receiver<Exit>;

/// Knows who waits for which process.
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    waiting: Mutex<HashMap<i32, oneshot::Sender<Exit>>>,
}

impl Reaper {
    /// Makes this process a subreaper and starts collecting.
    pub(crate) fn start(tasks: &TaskTracker) -> io::Result<Arc<Reaper>> {
        nix::sys::prctl::set_child_subreaper(true)?;
        let mut children = signal(SignalKind::child())?;
        let reaper = Arc::new(Reaper::default());
        let collector = Arc::clone(&reaper);
        tasks.spawn(async move {
            while children.recv().await.is_some() {
                collector.collect();
            }
        });
        Ok(reaper)
    }

    /// Starts a process of our own.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<(Child, ExitReceiver)> {
        // Holding the lock keeps `collect` away until the process is known.
        let mut waiting = self.lock();
        let child = command.spawn()?;
        let (sender, receiver) = oneshot::channel();
        waiting.insert(child.id().cast_signed(), sender);
        Ok((child, receiver))
    }

    /// Waits for a process that is not our child yet, but will be when its parent, which waits for
    /// our word, has gone.
    pub(crate) fn adopt(&self, pid: i32) -> ExitReceiver {
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(pid, sender);
        receiver
    }

    fn collect(&self) {
        let mut waiting = self.lock();
        loop {
            let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Ok(WaitStatus::StillAlive) | Err(nix::Error::ECHILD) => return,
                Ok(_) | Err(nix::Error::EINTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "waiting for children");
                    return;
                }
            };
            if let Some(sender) = waiting.remove(&pid.as_raw()) {
                let exit = Exit {
                    code: code.cast_unsigned(),
                    at: SystemTime::now(),
                };
                // Nobody listening any more is fine: the process is collected all the same.
                let _ = sender.send(exit);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, oneshot::Sender<Exit>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
