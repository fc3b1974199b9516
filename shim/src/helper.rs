//! The helper: this binary again, single-threaded, started by the shim for each container and each
//! exec, because libcontainer forks and a threaded process must not. It makes the container, or the
//! further process in one, reports the process id, waits for the shim's word that it will collect that process, and ends.
//! Its standard input is the channel to the shim; it writes nothing to standard output.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::Executor;
use libcontainer::workload::default::DefaultExecutor;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::cgroup::{Cgroup, devices};
use crate::channel::Channel;
use crate::worker::WorkerExecutor;

mod confine;
mod console;

use confine::Confined;
use console::Console;

/// What the shim asks of a helper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Make a container. With it come standard input, output and error, and for a worker its
    /// channel.
    Create(Create),
    /// Make a further process in a container. The same files come with it.
    Exec(Exec),
    /// Release the first process of a Linux container and run its hooks.
    Start { state: PathBuf },
    /// End what is left of a container, remove it and run its hooks.
    Delete { state: PathBuf },
}

/// The container to make.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Create {
    /// The container's name.
    pub(crate) id: String,
    /// The folder with `config.json`.
    pub(crate) bundle: PathBuf,
    /// The folder in which libcontainer keeps its state, in one named as the container.
    pub(crate) root: PathBuf,
    /// Whether systemd manages cgroups.
    pub(crate) systemd_cgroup: bool,
    /// Whether the container runs a worker, which is then released at once.
    pub(crate) worker: bool,
    /// Whether it gets a terminal, instead of the standard streams.
    pub(crate) terminal: bool,
}

/// The process to make in a container.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Exec {
    /// The container's name.
    pub(crate) id: String,
    /// A folder with a copy of the container's state, in one named as the container.
    pub(crate) root: PathBuf,
    /// The file with the process's part of a specification.
    pub(crate) process: PathBuf,
    /// Whether the process is a worker.
    pub(crate) worker: bool,
    /// Whether it gets a terminal, instead of the standard streams.
    pub(crate) terminal: bool,
}

/// What a helper answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The process is there, and the text of its `/proc/<pid>/cgroup`. With it comes the master
    /// end of its terminal, if it has one.
    Created { pid: i32, cgroups: String },
    /// What was asked is done.
    Done,
    /// It could not be done, and nothing is left of it.
    Failed { reason: String },
}

/// The shim's word that it collects the process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Adopted;

/// Runs a helper to its end.
pub(crate) fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("helper: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does what it is asked.
fn serve() -> anyhow::Result<()> {
    // Rust ignores SIGPIPE and children inherit that; a container's program expects the default.
    restore_sigpipe()?;
    let channel = Channel::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (request, files) = channel.receive()?.context("the shim went away")?;
    let answer = match request {
        Request::Create(create) => explained(|| make(create, files)),
        Request::Exec(exec) => explained(|| join(exec, files)),
        Request::Start { state } => load(state)
            .and_then(|mut container| container.start().map_err(describe))
            .map(|()| (Answer::Done, None)),
        Request::Delete { state } => load(state)
            .and_then(|mut container| container.delete(true).map_err(describe))
            .map(|()| (Answer::Done, None)),
    };
    let (answer, terminal) = answer.unwrap_or_else(|error| {
        let reason = format!("{error:#}");
        (Answer::Failed { reason }, None)
    });
    let files: Vec<_> = terminal.iter().map(|master| master.as_fd()).collect();
    channel.send(&answer, &files)?;
    if matches!(answer, Answer::Created { .. }) {
        channel.receive::<Adopted>()?;
    }
    Ok(())
}

/// The answer to the shim, and the master end of a terminal.
type Made = anyhow::Result<(Answer, Option<OwnedFd>)>;

fn explained(act: impl FnOnce() -> Made) -> Made {
    let notes = Notes::new()?;
    notes.during(act).map_err(|error| notes.explain(error))
}

fn make(create: Create, files: Vec<OwnedFd>) -> Made {
    let (builder, console, channel) = builder(&create.id, &create.root, create.terminal, files)?;
    let builder = match channel.filter(|_| create.worker) {
        Some(channel) => builder.with_executor(WorkerExecutor::new(channel)),
        None => builder,
    };
    let mut container = builder
        .validate_id()
        .map_err(describe)?
        .as_init(&create.bundle)
        .with_systemd(create.systemd_cgroup)
        .with_detach(true)
        .build()
        .map_err(describe)?;
    let terminal = console.map(|console| console.receive()).transpose();
    let made = terminal.and_then(|terminal| {
        let answer = release(&mut container, &create)?;
        Ok((answer, terminal))
    });
    if made.is_err()
        && let Err(error) = container.delete(true)
    {
        tracing::error!("removing a container that could not be made: {error}");
    }
    made
}

/// Makes a further process in a container.
fn join(exec: Exec, files: Vec<OwnedFd>) -> Made {
    let container = load(exec.root.join(&exec.id))?;
    let spec = specification(container.bundle())?;
    let filter = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.seccomp().clone());
    let (builder, console, channel) = builder(&exec.id, &exec.root, exec.terminal, files)?;
    let program: Box<dyn Executor> = match channel.filter(|_| exec.worker) {
        Some(channel) => Box::new(WorkerExecutor::new(channel)),
        None => Box::new(DefaultExecutor {}),
    };
    let pid = builder
        .with_executor(Confined::new(filter, program))
        .as_tenant()
        .with_process(Some(exec.process))
        .with_detach(true)
        .build()
        .map_err(describe)?
        .as_raw();
    let terminal = console.map(|console| console.receive()).transpose();
    if terminal.is_err() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    // A process that has ended already is in no cgroup any more.
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    Ok((Answer::Created { pid, cgroups }, terminal?))
}

/// What all processes are made with: their streams or their terminal, and a worker's channel.
fn builder(
    id: &str,
    root: &Path,
    terminal: bool,
    files: Vec<OwnedFd>,
) -> anyhow::Result<(ContainerBuilder, Option<Console>, Option<Arc<Channel>>)> {
    let mut files = files.into_iter();
    let mut next = || files.next().context("the shim sent too few files");
    let mut builder = ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_root_path(root)
        .map_err(describe)?
        .with_stdin(next()?)
        .with_stdout(next()?)
        .with_stderr(next()?);
    let channel = files.next().map(|file| Arc::new(Channel::from(file)));
    let console = if terminal {
        let console = Console::listen(root)?;
        builder = builder.with_console_socket(Some(console.path()));
        Some(console)
    } else {
        None
    };
    Ok((builder, console, channel))
}

fn specification(bundle: &Path) -> anyhow::Result<Spec> {
    let config = bundle.join("config.json");
    Spec::load(&config).with_context(|| format!("reading {}", config.display()))
}

/// Confines a container to its devices, and lets a worker go on.
fn release(container: &mut Container, create: &Create) -> anyhow::Result<Answer> {
    let pid = container
        .pid()
        .context("the container has no process")?
        .as_raw();
    // Read now: a process that has ended is in no cgroup any more.
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .with_context(|| format!("reading the cgroup of process {pid}"))?;
    devices::restrict(&Cgroup::locate(&cgroups)?, &specification(&create.bundle)?)?;
    if create.worker {
        container
            .start()
            .map_err(describe)
            .context("releasing the worker")?;
    }
    Ok(Answer::Created { pid, cgroups })
}

/// What libcontainer logs, in the helper and in the processes that it forks: their errors come
/// back without causes, and the causes are only logged.
struct Notes {
    file: Arc<File>,
}

impl Notes {
    fn new() -> anyhow::Result<Notes> {
        let file = memfd_create(c"notes", MFdFlags::MFD_CLOEXEC).context("making a log")?;
        Ok(Notes {
            file: Arc::new(file.into()),
        })
    }

    fn during<T>(&self, act: impl FnOnce() -> T) -> T {
        let subscriber = tracing_subscriber::fmt()
            .with_writer(Arc::clone(&self.file))
            .with_max_level(tracing::Level::ERROR)
            .with_ansi(false)
            .with_level(false)
            .with_target(false)
            .without_time()
            .finish();
        tracing::subscriber::with_default(subscriber, act)
    }

    /// Adds the first note, which comes from the deepest place.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let mut text = String::new();
        let read = (&*self.file)
            .rewind()
            .and_then(|()| (&*self.file).read_to_string(&mut text));
        match text.lines().next().map(str::trim) {
            Some(note) if read.is_ok() && !note.is_empty() => {
                anyhow::anyhow!("{error:#} ({note})")
            }
            _ => error,
        }
    }
}

/// Opens what libcontainer knows about a container.
pub(crate) fn load(state: PathBuf) -> anyhow::Result<Container> {
    Container::load(state).map_err(describe)
}

/// libcontainer's errors name the failed step only; their causes say why.
pub(crate) fn describe(error: impl Error) -> anyhow::Error {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    anyhow::Error::msg(text)
}

#[expect(unsafe_code, reason = "changing what a signal does is unsafe")]
fn restore_sigpipe() -> nix::Result<()> {
    // SAFETY: the default action runs no code of ours.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.map(drop)
}
