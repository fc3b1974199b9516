//! One container from Create to Delete.
//!
//! ```text
//!            start            exit
//!  Created ---------> Running ------> Stopped --> deleted
//!     |                                  ^
//!     +----------------------------------+
//!        exit (killed, or a failed start)
//! ```
//!
//! Events leave in the order of these arrows: [`Container::start`] holds the lock that the watcher
//! of the exit has to take.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use containerd_shim::protos::events::task::{TaskDelete, TaskExit, TaskOOM, TaskStart};
use containerd_shim::protos::protobuf::MessageField;
use containerd_shim::protos::protobuf::well_known_types::timestamp::Timestamp;
use libcontainer::container::ContainerStatus;
use nix::sys::signal::Signal;
use tokio::sync::{Mutex, watch};

use crate::cgroup::Cgroup;
use crate::channel::AsyncChannel;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::launch::{self, Launched};
use crate::reaper::{Exit, ExitReceiver};
use crate::stdio::{Paths, Stdio};
use crate::worker::{Command, Report};
use crate::{helper, rootfs};

/// How long Delete waits for the rest of the output.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long Start waits until a worker listens. Its code is compiled by then.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// What a new container is made of.
pub(crate) struct Parts {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) paths: Paths,
    pub(crate) stdio: Stdio,
    /// `Some` for a worker, which then waits for a word.
    pub(crate) worker: Option<AsyncChannel>,
    pub(crate) own_pid_namespace: bool,
    pub(crate) late_hooks: bool,
}

/// A container whose first process exists or has existed.
pub(crate) struct Container {
    parts: Parts,
    pid: i32,
    pidfd: OwnedFd,
    cgroup: Cgroup,
    /// True once started. Whoever holds it may publish events.
    started: Mutex<bool>,
    exit: watch::Sender<Option<Exit>>,
}

/// Where a container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Created,
    Running,
    Stopped(Exit),
}

impl Container {
    /// Takes over a container that was just made.
    pub(crate) fn new(parts: Parts, launched: Launched) -> (Arc<Container>, ExitReceiver) {
        let Launched {
            pid,
            pidfd,
            cgroup,
            exit,
        } = launched;
        let (started, ended) = (Mutex::new(false), watch::Sender::new(None));
        let container = Container {
            parts,
            pid,
            pidfd,
            cgroup,
            started,
            exit: ended,
        };
        (Arc::new(container), exit)
    }

    /// Follows the first process to its end, and tells containerd.
    pub(crate) async fn follow(self: Arc<Self>, daemon: Arc<Daemon>, exit: ExitReceiver) {
        let lost = Exit {
            code: 255,
            at: SystemTime::now(),
        };
        let exit = exit.await.unwrap_or(lost);
        if !self.parts.own_pid_namespace {
            self.end_rest().await;
        }
        let _order = self.started.lock().await;
        if self.cgroup.oom_kills() > 0 {
            let container_id = self.parts.id.clone();
            daemon.publisher.publish(TaskOOM {
                container_id,
                ..Default::default()
            });
        }
        daemon.publisher.publish(TaskExit {
            container_id: self.parts.id.clone(),
            id: self.parts.id.clone(),
            pid: self.pid(),
            exit_status: exit.code,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        });
        self.exit.send_replace(Some(exit));
    }

    /// The process id of its first process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// The folder that containerd made for it.
    pub(crate) fn bundle(&self) -> &Path {
        &self.parts.bundle
    }

    /// What its output was asked to go to.
    pub(crate) fn paths(&self) -> &Paths {
        &self.parts.paths
    }

    /// Its cgroup.
    pub(crate) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> State {
        if let Some(exit) = *self.exit.borrow() {
            return State::Stopped(exit);
        }
        // The lock is held while it starts: then it is not running yet.
        match self.started.try_lock() {
            Ok(started) if *started => State::Running,
            _ => State::Created,
        }
    }

    /// Waits for its end.
    pub(crate) async fn wait(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        let ended = exit.wait_for(Option::is_some).await;
        // The sender lives in `self`, so there always is a value.
        ended.ok().and_then(|exit| *exit).unwrap_or(Exit {
            code: 255,
            at: SystemTime::now(),
        })
    }

    /// Lets it run. For a worker this returns when it listens; what keeps it from that is the
    /// error.
    pub(crate) async fn start(&self, daemon: &Daemon) -> Result<(), Error> {
        let id = &self.parts.id;
        let mut started = self.started.lock().await;
        if self.exit.borrow().is_some() {
            return Err(Error::FailedPrecondition(format!(
                "task {id} has ended already"
            )));
        }
        if *started {
            return Err(Error::FailedPrecondition(format!(
                "task {id} has been started already"
            )));
        }
        match &self.parts.worker {
            Some(worker) => self.start_worker(worker).await?,
            None if self.parts.late_hooks => launch::start(daemon, self.state_folder()).await?,
            None => {
                let state = self.state_folder();
                let released = tokio::task::spawn_blocking(move || release(&state));
                released.await.context("starting the container")??;
            }
        }
        *started = true;
        daemon.publisher.publish(TaskStart {
            container_id: id.clone(),
            pid: self.pid(),
            ..Default::default()
        });
        Ok(())
    }

    async fn start_worker(&self, worker: &AsyncChannel) -> Result<(), Error> {
        let gone = || {
            let id = &self.parts.id;
            Error::FailedPrecondition(format!(
                "task {id} ended before it was ready; its output says why"
            ))
        };
        worker.send(&Command::Go, &[]).map_err(|_| gone())?;
        let report = tokio::time::timeout(READY_TIMEOUT, worker.receive::<Report>());
        let Ok(report) = report.await else {
            let _ = self.kill(libc::SIGKILL.cast_unsigned(), false).await;
            let (id, limit) = (&self.parts.id, READY_TIMEOUT.as_secs());
            return Err(Error::FailedPrecondition(format!(
                "task {id} was not ready within {limit} seconds and was ended; its output may say why"
            )));
        };
        match report.context("hearing the worker")? {
            Some(Report::Listening { address }) => {
                tracing::info!(id = self.parts.id, address, "serving");
                Ok(())
            }
            Some(Report::Failed { reason }) => Err(Error::FailedPrecondition(reason)),
            None => Err(gone()),
        }
    }

    /// Sends a signal to its first process, or to all of its processes.
    pub(crate) async fn kill(&self, signal: u32, all: bool) -> Result<(), Error> {
        let id = &self.parts.id;
        let raw = signal.cast_signed();
        let gone = || Error::NotFound(format!("process of task {id} already finished"));
        if !all {
            if self.exit.borrow().is_some() {
                return Err(gone());
            }
            return match pidfd_send_signal(&self.pidfd, raw) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(gone()),
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Err(
                    Error::InvalidArgument(format!("there is no signal {signal}")),
                ),
                other => {
                    Ok(other.with_context(|| format!("sending signal {signal} to task {id}"))?)
                }
            };
        }
        let signal = Signal::try_from(raw)
            .map_err(|_| Error::InvalidArgument(format!("there is no signal {signal}")))?;
        if self.exit.borrow().is_some() && self.cgroup.processes().unwrap_or_default().is_empty() {
            return Err(gone());
        }
        Ok(self.cgroup.signal_all(signal).await?)
    }

    /// The client writes no more input.
    pub(crate) fn close_input(&self) {
        self.parts.stdio.close_input();
    }

    /// Removes everything of it. It must have ended, or never have been started.
    pub(crate) async fn delete(&self, daemon: &Daemon) -> Result<Exit, Error> {
        let id = &self.parts.id;
        let exit = match self.state() {
            State::Stopped(exit) => exit,
            State::Running => {
                return Err(Error::FailedPrecondition(format!(
                    "task {id} is running: end it before it is deleted"
                )));
            }
            State::Created => {
                // Its first process has run nothing of the image yet.
                let _ = self.kill(libc::SIGKILL.cast_unsigned(), false).await;
                self.wait().await
            }
        };
        self.end_rest().await;
        self.parts.stdio.finish(OUTPUT_TIMEOUT).await;
        self.remove(daemon).await?;
        daemon.publisher.publish(TaskDelete {
            container_id: id.clone(),
            pid: self.pid(),
            exit_status: exit.code,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        });
        Ok(exit)
    }

    /// Takes away cgroup, state, mounts and our files in the bundle.
    pub(crate) async fn remove(&self, daemon: &Daemon) -> anyhow::Result<()> {
        let state = self.state_folder();
        if self.parts.late_hooks {
            launch::delete(daemon, state.clone()).await?;
        }
        let bundle = self.parts.bundle.clone();
        let removed = tokio::task::spawn_blocking(move || {
            if state.exists() {
                match helper::load(state) {
                    Ok(mut container) => container.delete(true).map_err(helper::describe)?,
                    // No later try would know more, and the rest has to go all the same.
                    Err(error) => tracing::error!("the container's state is unreadable: {error:#}"),
                }
            }
            rootfs::unmount(&bundle.join("rootfs")).context("unmounting the root file system")?;
            remove_folder(&work_folder(&bundle))
        });
        removed.await.context("removing the container")?
    }

    /// Ends what the first process left behind.
    async fn end_rest(&self) {
        if let Err(error) = self.cgroup.signal_all(Signal::SIGKILL).await {
            tracing::warn!(id = self.parts.id, "ending leftover processes: {error:#}");
        }
    }

    fn state_folder(&self) -> PathBuf {
        state_folder(&self.parts.bundle, &self.parts.id)
    }
}

/// Where catena keeps what belongs to a container: it goes when the bundle goes.
pub(crate) fn work_folder(bundle: &Path) -> PathBuf {
    bundle.join("catena")
}

/// Where libcontainer keeps its state of a container.
pub(crate) fn state_folder(bundle: &Path, id: &str) -> PathBuf {
    work_folder(bundle).join(id)
}

/// Removes a folder; that it is not there is fine.
pub(crate) fn remove_folder(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// A time as containerd's messages have it.
pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp {
        seconds: since.as_secs().cast_signed(),
        nanos: since.subsec_nanos().cast_signed(),
        ..Default::default()
    }
}

/// What libcontainer's own start does, without changing the working directory of this process,
/// which all threads share.
fn release(state: &Path) -> anyhow::Result<()> {
    let mut container = helper::load(state.to_owned())?;
    let folder = std::fs::File::open(state)?;
    // The path itself may be too long for a socket address.
    let socket = format!("/proc/self/fd/{}/notify.sock", folder.as_raw_fd());
    let mut stream =
        UnixStream::connect(socket).context("reaching the container's first process")?;
    io::Write::write_all(&mut stream, b"start container")?;
    drop(stream);
    container.set_status(ContainerStatus::Running);
    container.save().map_err(helper::describe)
}

#[expect(unsafe_code, reason = "pidfd_send_signal has no safe wrapper")]
fn pidfd_send_signal(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the descriptor is open, and a null pointer stands for the default information.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            no_info,
            0,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
