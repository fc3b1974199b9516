//! One container from Create to Delete.
//!
//! ```text
//!            start            exit
//!  Created ---------> Running ------> Stopped --> deleted
//!     |            pause | ^ resume     ^
//!     |                  v |            |
//!     |                 Paused ---------+
//!     |                      killed     |
//!     +---------------------------------+
//!        exit (killed, or a failed start)
//! ```
//!
//! Events leave in the order of these arrows: whoever changes the state holds the lock that the
//! watcher of the exit has to take.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use containerd_shim::protos::events::task::{
    TaskDelete, TaskExit, TaskOOM, TaskPaused, TaskResumed, TaskStart,
};
use containerd_shim::protos::protobuf::MessageField;
use containerd_shim::protos::protobuf::well_known_types::timestamp::Timestamp;
use libcontainer::container::ContainerStatus;
use nix::sys::signal::Signal;
use oci_spec::runtime::LinuxResources;
use tokio::sync::Mutex;

use crate::cgroup::{self, Cgroup, OomWatch};
use crate::channel::AsyncChannel;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::exec::Exec;
use crate::launch::{self, Launched};
use crate::options::Options;
use crate::process::{Handle, Standing, State, finished};
use crate::reaper::{Exit, ExitReceiver};
use crate::stdio::{Paths, Stdio};
use crate::worker::{Command, Report};
use crate::{helper, rootfs, update};

/// How long Delete waits for the rest of the output.
pub(crate) const OUTPUT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the further processes may take to end after the first.
const EXECS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long Start waits until a worker listens. Its code is compiled by then.
pub(crate) const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// What a new container is made of.
pub(crate) struct Parts {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) paths: Paths,
    /// Whether it was asked for a terminal.
    pub(crate) terminal: bool,
    pub(crate) options: Options,
    /// `Some` for a worker, which then waits for a word.
    pub(crate) worker: Option<AsyncChannel>,
    pub(crate) own_pid_namespace: bool,
    pub(crate) late_hooks: bool,
}

/// A container whose first process exists or has existed.
pub(crate) struct Container {
    parts: Parts,
    first: Handle,
    stdio: Stdio,
    cgroup: Cgroup,
    /// The further processes that containerd knows.
    execs: std::sync::Mutex<BTreeMap<String, Arc<Exec>>>,
    standing: Standing,
    /// Held by whoever changes the state and publishes that.
    order: Mutex<()>,
    /// Whether containerd knows that memory ran out.
    oom_told: AtomicBool,
}

impl Container {
    /// Takes over a container that was just made.
    pub(crate) fn new(
        parts: Parts,
        launched: Launched,
        cgroup: Cgroup,
    ) -> (Arc<Container>, ExitReceiver) {
        let container = Container {
            parts,
            first: launched.handle,
            stdio: launched.stdio,
            cgroup,
            execs: std::sync::Mutex::default(),
            standing: Standing::new(),
            order: Mutex::new(()),
            oom_told: AtomicBool::new(false),
        };
        (Arc::new(container), launched.exit)
    }

    /// Follows the first process to its end, and tells containerd of that and of what happens on
    /// the way.
    pub(crate) async fn follow(self: Arc<Self>, daemon: Arc<Daemon>, exit: ExitReceiver) {
        let exit = tokio::select! {
            exit = exit => exit.unwrap_or_else(|_| Exit::lost()),
            never = self.watch_memory(&daemon) => match never {},
        };
        // At once: systemd removes a cgroup of its own as soon as that is empty.
        let memory_ran_out = self.memory_ran_out();
        if !self.parts.own_pid_namespace {
            self.end_rest().await;
        }
        self.execs_end().await;
        let _order = self.order.lock().await;
        if memory_ran_out && !self.oom_told.load(Ordering::Relaxed) {
            self.tell_oom(&daemon);
        }
        daemon.publisher.publish(TaskExit {
            container_id: self.parts.id.clone(),
            id: self.parts.id.clone(),
            pid: self.pid(),
            exit_status: exit.code,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        });
        self.standing.set(State::Stopped(exit));
    }

    /// Tells containerd whenever the kernel runs out of the container's memory.
    async fn watch_memory(&self, daemon: &Daemon) -> Infallible {
        let watched = async {
            if let Some(mut watch) = OomWatch::start(&self.cgroup)? {
                while watch.next().await?.is_some() {
                    self.tell_oom(daemon);
                }
            }
            anyhow::Ok(())
        };
        if let Err(error) = watched.await {
            // What the kernel counted is looked at in the end all the same.
            tracing::warn!(id = self.parts.id, "watching the memory: {error:#}");
        }
        std::future::pending().await
    }

    /// Whether the kernel has ended a process for want of memory, as far as it can be asked.
    fn memory_ran_out(&self) -> bool {
        match self.cgroup.oom_kills() {
            Ok(count) => count.is_some_and(|count| count > 0),
            Err(error) => {
                tracing::warn!(id = self.parts.id, "whether memory ran out: {error:#}");
                false
            }
        }
    }

    fn tell_oom(&self, daemon: &Daemon) {
        self.oom_told.store(true, Ordering::Relaxed);
        daemon.publisher.publish(TaskOOM {
            container_id: self.parts.id.clone(),
            ..Default::default()
        });
    }

    /// The process id of its first process.
    pub(crate) fn pid(&self) -> u32 {
        self.first.pid()
    }

    /// Its name.
    pub(crate) fn id(&self) -> &str {
        &self.parts.id
    }

    /// Whether it runs an application, and not a Linux program.
    pub(crate) fn is_app(&self) -> bool {
        self.parts.worker.is_some()
    }

    /// What the operator set for its runtime.
    pub(crate) fn options(&self) -> &Options {
        &self.parts.options
    }

    /// Whether its standard streams are a terminal.
    pub(crate) fn has_terminal(&self) -> bool {
        self.parts.terminal
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
        self.standing.get()
    }

    /// Waits for its end.
    pub(crate) async fn wait(&self) -> Exit {
        self.standing.ended().await
    }

    /// Lets it run. For a worker this returns when it listens; what keeps it from that is the
    /// error.
    pub(crate) async fn start(&self, daemon: &Daemon) -> Result<(), Error> {
        let id = &self.parts.id;
        let _order = self.order.lock().await;
        match self.state() {
            State::Created => {}
            State::Stopped(_) => return Err(self.misplaced("has ended already")),
            State::Running | State::Paused => {
                return Err(self.misplaced("has been started already"));
            }
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
        self.standing.set(State::Running);
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

    /// Stops all its processes where they are.
    pub(crate) async fn pause(&self, daemon: &Daemon) -> Result<(), Error> {
        let _order = self.order.lock().await;
        if self.state() != State::Running {
            return Err(self.misplaced("is not running, so it cannot be paused"));
        }
        self.cgroup.freeze().await?;
        self.standing.set(State::Paused);
        daemon.publisher.publish(TaskPaused {
            container_id: self.parts.id.clone(),
            ..Default::default()
        });
        Ok(())
    }

    /// Lets its processes go on.
    pub(crate) async fn resume(&self, daemon: &Daemon) -> Result<(), Error> {
        let _order = self.order.lock().await;
        if self.state() != State::Paused {
            return Err(self.misplaced("is not paused, so it cannot be resumed"));
        }
        self.cgroup.thaw()?;
        self.standing.set(State::Running);
        daemon.publisher.publish(TaskResumed {
            container_id: self.parts.id.clone(),
            ..Default::default()
        });
        Ok(())
    }

    /// Changes its limits.
    pub(crate) async fn update(&self, mut resources: LinuxResources) -> Result<(), Error> {
        let _order = self.order.lock().await;
        if self.standing.exit().is_some() {
            return Err(self.misplaced("has ended, so its limits cannot be changed"));
        }
        let (state, cgroup) = (self.state_folder(), self.cgroup.clone());
        let apply = move || update::apply(state, &cgroup, &mut resources);
        let applied = tokio::task::spawn_blocking(apply);
        Ok(applied.await.context("changing the container's limits")??)
    }

    /// Sends a signal to its first process, or to all of its processes.
    pub(crate) async fn kill(&self, signal: u32, all: bool) -> Result<(), Error> {
        let name = format!("task {}", self.parts.id);
        let ended = self.standing.exit().is_some();
        if !all {
            if ended {
                return Err(finished(&name));
            }
            self.first.signal(signal, &name)?;
            if signal == libc::SIGKILL.cast_unsigned() {
                // Who stands still ends only when they go on.
                self.cgroup.thaw()?;
            }
            return Ok(());
        }
        let signal = Signal::try_from(signal.cast_signed())
            .map_err(|_| Error::InvalidArgument(format!("there is no signal {signal}")))?;
        if ended && self.cgroup.processes().unwrap_or_default().is_empty() {
            return Err(finished(&name));
        }
        Ok(self.cgroup.signal_all(signal).await?)
    }

    /// The error of a call that does not fit where the container stands.
    fn misplaced(&self, what: &str) -> Error {
        Error::FailedPrecondition(format!("task {} {what}", self.parts.id))
    }

    /// Its standard streams.
    pub(crate) fn stdio(&self) -> &Stdio {
        &self.stdio
    }

    /// Adds a further process, which does not run yet.
    pub(crate) fn add_exec(&self, exec: Exec) -> Result<(), Error> {
        let mut execs = self.execs();
        let (id, exec_id) = (&self.parts.id, exec.id().to_owned());
        if execs.contains_key(&exec_id) {
            return Err(Error::AlreadyExists(format!(
                "task {id} has a process {exec_id} already"
            )));
        }
        execs.insert(exec_id, Arc::new(exec));
        Ok(())
    }

    /// A further process.
    pub(crate) fn exec(&self, exec_id: &str) -> Result<Arc<Exec>, Error> {
        let id = &self.parts.id;
        let missing = || Error::NotFound(format!("task {id} has no process {exec_id}"));
        self.execs().get(exec_id).cloned().ok_or_else(missing)
    }

    /// Forgets a further process.
    pub(crate) fn remove_exec(&self, exec_id: &str) {
        self.execs().remove(exec_id);
    }

    fn execs(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Exec>>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the further processes have ended, for containerd hears of that before it hears
    /// of the end of the first one, which ends them.
    async fn execs_end(&self) {
        let execs: Vec<_> = self.execs().values().cloned().collect();
        let all = async {
            for exec in execs.iter().filter(|exec| exec.has_process()) {
                exec.wait().await;
            }
        };
        if tokio::time::timeout(EXECS_TIMEOUT, all).await.is_err() {
            tracing::warn!(id = self.parts.id, "further processes outlive the first");
        }
    }

    /// Removes everything of it. It must have ended, or never have been started.
    pub(crate) async fn delete(&self, daemon: &Daemon) -> Result<Exit, Error> {
        let id = &self.parts.id;
        let exit = match self.state() {
            State::Stopped(exit) => exit,
            State::Running | State::Paused => {
                return Err(self.misplaced("is running: end it before it is deleted"));
            }
            State::Created => {
                // Its first process has run nothing of the image yet.
                let _ = self.kill(libc::SIGKILL.cast_unsigned(), false).await;
                self.wait().await
            }
        };
        self.end_rest().await;
        self.stdio.finish(OUTPUT_TIMEOUT).await;
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
        let of = state.clone();
        let removed = tokio::task::spawn_blocking(move || cgroup::remove(&of));
        removed.await.context("removing the cgroup")??;
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
