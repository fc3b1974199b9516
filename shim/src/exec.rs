//! A further process in a container, from the Exec call to its Delete. In a Linux container it is a
//! program of the root file system; in an application's container it is a command of the
//! application, in a worker of its own.
//!
//! ```text
//!  Exec           Start            exit
//!   +--> Created -------> Running ------> Stopped --> deleted
//!           |                                ^
//!           +--------------------------------+   a failed start
//! ```

use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex, OnceLock, PoisonError};

use anyhow::Context as _;
use containerd_shim::protos::api::ExecProcessRequest;
use containerd_shim::protos::events::task::{TaskExecAdded, TaskExecStarted, TaskExit};
use containerd_shim::protos::protobuf::MessageField;
use oci_spec::runtime::Process;
use tokio::sync::Mutex;

use crate::channel::{AsyncChannel, Channel};
use crate::container::{
    Container, OUTPUT_TIMEOUT, READY_TIMEOUT, remove_folder, state_folder, timestamp, work_folder,
};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::launch::{self, Launched, With};
use crate::process::{Handle, Standing, State, finished};
use crate::reaper::{Exit, ExitReceiver};
use crate::spec::BundleSpec;
use crate::stdio::{Paths, Stdio, Streams};
use crate::worker::{Assignment, Command, Report};
use crate::{helper, workload};

/// The file of a container's state, as libcontainer names it.
const STATE: &str = "state.json";

/// A further process.
pub(crate) struct Exec {
    id: String,
    folder: Folder,
    paths: Paths,
    terminal: bool,
    /// What is to run; gone once it was started.
    plan: StdMutex<Option<Plan>>,
    made: OnceLock<Made>,
    standing: Standing,
    /// Held by whoever changes the state and publishes that.
    order: Mutex<()>,
}

/// What is to run.
struct Plan {
    process: Process,
    /// `Some` for a command of an application.
    command: Option<Box<Assignment>>,
}

/// What there is once it was started.
struct Made {
    handle: Handle,
    stdio: Stdio,
}

/// Adds a process to a container, and tells containerd. What cannot run is refused here.
pub(crate) async fn add(
    daemon: &Arc<Daemon>,
    container: &Container,
    request: &ExecProcessRequest,
) -> Result<(), Error> {
    let spec = BundleSpec::load(container.bundle())?;
    let process = read_process(request)?;
    let process = spec.joining_process(process, request.terminal, container.is_app())?;
    let id = request.exec_id.clone();
    if id.is_empty() || id.contains('/') || container.exec(&id).is_ok() {
        return Err(Error::AlreadyExists(format!(
            "{id:?} cannot name a further process of task {}: it is taken, or no name",
            container.id()
        )));
    }
    let folder = Folder::make(work_folder(container.bundle()).join(format!("exec-{id}")))?;
    let command = if container.is_app() {
        let command = workload::command(daemon, container, &spec, &process, &folder.0);
        Some(Box::new(command.await?))
    } else {
        None
    };
    container.add_exec(Exec {
        id,
        folder,
        paths: Paths {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
        },
        terminal: request.terminal,
        plan: StdMutex::new(Some(Plan { process, command })),
        made: OnceLock::new(),
        standing: Standing::new(),
        order: Mutex::new(()),
    })?;
    daemon.publisher.publish(TaskExecAdded {
        container_id: container.id().to_owned(),
        exec_id: request.exec_id.clone(),
        ..Default::default()
    });
    Ok(())
}

impl Exec {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What its output was asked to go to.
    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Whether its standard streams are a terminal.
    pub(crate) fn has_terminal(&self) -> bool {
        self.terminal
    }

    /// Its process id; 0 before it is started.
    pub(crate) fn pid(&self) -> u32 {
        self.made.get().map_or(0, |made| made.handle.pid())
    }

    /// Whether it has a process, or had one.
    pub(crate) fn has_process(&self) -> bool {
        self.made.get().is_some()
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> State {
        self.standing.get()
    }

    /// Waits for its end.
    pub(crate) async fn wait(&self) -> Exit {
        self.standing.ended().await
    }

    /// Its standard streams, once it was started.
    pub(crate) fn stdio(&self) -> Option<&Stdio> {
        self.made.get().map(|made| &made.stdio)
    }

    /// Sends it a signal.
    pub(crate) fn kill(&self, signal: u32) -> Result<(), Error> {
        let name = self.name();
        match (self.made.get(), self.standing.exit()) {
            (_, Some(_)) => Err(finished(&name)),
            (None, None) => Err(Error::FailedPrecondition(format!(
                "{name} has not been started"
            ))),
            (Some(made), None) => made.handle.signal(signal, &name),
        }
    }

    /// Makes the process and tells containerd.
    pub(crate) async fn start(
        self: &Arc<Self>,
        daemon: &Arc<Daemon>,
        container: &Container,
    ) -> Result<(), Error> {
        let _order = self.order.lock().await;
        let name = self.name();
        let plan = {
            let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
            plan.take()
        };
        let Some(plan) = plan else {
            return Err(Error::FailedPrecondition(format!(
                "{name} has been started already"
            )));
        };
        let exit = match self.launch(daemon, container, plan).await {
            Ok(exit) => exit,
            Err(error) => {
                // Whoever waits must not wait for ever.
                self.standing.set(State::Stopped(Exit::lost()));
                return Err(error);
            }
        };
        self.standing.set(State::Running);
        let container_id = container.id().to_owned();
        daemon.publisher.publish(TaskExecStarted {
            container_id: container_id.clone(),
            exec_id: self.id.clone(),
            pid: self.pid(),
            ..Default::default()
        });
        let (exec, follower) = (Arc::clone(self), Arc::clone(daemon));
        daemon
            .tasks
            .spawn(async move { exec.follow(&follower, container_id, exit).await });
        Ok(())
    }

    async fn launch(
        &self,
        daemon: &Daemon,
        container: &Container,
        plan: Plan,
    ) -> Result<ExitReceiver, Error> {
        if container.state() != State::Running {
            return Err(Error::FailedPrecondition(format!(
                "task {} is not running, so nothing can be executed in it",
                container.id()
            )));
        }
        let uid = plan.process.user().uid();
        let (streams, ends) = Streams::open(&self.paths, self.terminal, uid, &daemon.tasks)?;
        let (ours, theirs) = match &plan.command {
            Some(command) => {
                let (ours, theirs) = Channel::pair().context("making a channel to the worker")?;
                command
                    .send(&ours)
                    .context("telling the worker what to run")?;
                let ours = AsyncChannel::new(ours).context("making a channel to the worker")?;
                (Some(ours), Some(theirs))
            }
            None => (None, None),
        };
        let (file, root) = self.folder.fill(container, &plan.process)?;
        let exec = helper::Exec {
            id: container.id().to_owned(),
            root,
            process: file,
            worker: theirs.is_some(),
            terminal: self.terminal,
        };
        let with = With {
            streams,
            ends,
            worker: theirs,
        };
        let launched = launch::exec(daemon, exec, with).await;
        let launched = launched.with_context(|| format!("executing {}", self.name()))?;
        let Launched {
            handle,
            stdio,
            exit,
        } = launched;
        let made = self.made.get_or_init(|| Made { handle, stdio });
        if let Some(worker) = ours
            && let Err(error) = self.release(&worker).await
        {
            let _ = made.handle.signal(libc::SIGKILL.cast_unsigned(), "worker");
            let _ = exit.await;
            return Err(error);
        }
        Ok(exit)
    }

    /// Lets a worker run, which has to be ready for that.
    async fn release(&self, worker: &AsyncChannel) -> Result<(), Error> {
        let gone = || {
            let name = self.name();
            Error::FailedPrecondition(format!(
                "{name} ended before it was ready; its output says why"
            ))
        };
        worker.send(&Command::Go, &[]).map_err(|_| gone())?;
        let report = tokio::time::timeout(READY_TIMEOUT, worker.receive::<Report>());
        let report = report.await.context("the worker was not ready in time")?;
        match report.context("hearing the worker")? {
            Some(Report::Listening { .. }) => Ok(()),
            Some(Report::Failed { reason }) => Err(Error::FailedPrecondition(reason)),
            None => Err(gone()),
        }
    }

    /// Follows the process to its end, and tells containerd.
    async fn follow(&self, daemon: &Daemon, container_id: String, exit: ExitReceiver) {
        let exit = exit.await.unwrap_or_else(|_| Exit::lost());
        let _order = self.order.lock().await;
        daemon.publisher.publish(TaskExit {
            container_id,
            id: self.id.clone(),
            pid: self.pid(),
            exit_status: exit.code,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        });
        self.standing.set(State::Stopped(exit));
    }

    /// Ends with it. It must have ended, or never have been started.
    pub(crate) async fn delete(&self) -> Result<Exit, Error> {
        let _order = self.order.lock().await;
        let exit = match self.state() {
            State::Stopped(exit) => exit,
            State::Created => Exit::lost(),
            State::Running | State::Paused => {
                let name = self.name();
                return Err(Error::FailedPrecondition(format!(
                    "{name} is running: end it before it is deleted"
                )));
            }
        };
        if let Some(stdio) = self.stdio() {
            stdio.finish(OUTPUT_TIMEOUT).await;
        }
        Ok(exit)
    }

    fn name(&self) -> String {
        format!("process {}", self.id)
    }
}

fn read_process(request: &ExecProcessRequest) -> Result<Process, Error> {
    let malformed = |reason: String| {
        let id = &request.exec_id;
        Error::InvalidArgument(format!("the specification of process {id}: {reason}"))
    };
    let any = request.spec.as_ref();
    let any = any.ok_or_else(|| malformed("it is missing".to_owned()))?;
    serde_json::from_slice(&any.value).map_err(|error| malformed(error.to_string()))
}

/// A folder of the exec's own in the bundle, where libcontainer finds what to run; it goes when
/// this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn make(path: PathBuf) -> anyhow::Result<Folder> {
        std::fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Folder(path))
    }

    /// Writes what libcontainer reads: the process, and the container's state, of which it gets a
    /// copy, since it leaves sockets beside that. Gives both places.
    fn fill(&self, container: &Container, process: &Process) -> anyhow::Result<(PathBuf, PathBuf)> {
        let (file, root) = (self.0.join("process.json"), self.0.join("state"));
        let place = root.join(container.id());
        let state = state_folder(container.bundle(), container.id());
        let write = || -> anyhow::Result<()> {
            std::fs::write(&file, serde_json::to_vec(process)?)?;
            std::fs::create_dir_all(&place)?;
            std::fs::copy(state.join(STATE), place.join(STATE))?;
            Ok(())
        };
        write().with_context(|| format!("writing to {}", self.0.display()))?;
        Ok((file, root))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = remove_folder(&self.0) {
            tracing::error!("{error:#}");
        }
    }
}
