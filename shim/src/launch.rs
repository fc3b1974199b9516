//! Starts helpers and talks to them: the shim's side of `helper`. Called when a container or an
//! exec is made, and when a container's hooks have to run.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio as ProcessStdio};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::select;

use crate::cgroup::Cgroup;
use crate::channel::{AsyncChannel, Channel};
use crate::daemon::Daemon;
use crate::helper::{Adopted, Answer, Create, Exec, Request};
use crate::process::Handle;
use crate::reaper::ExitReceiver;
use crate::stdio::{Ends, Stdio, Streams};

/// A process that was just made.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) handle: Handle,
    pub(crate) stdio: Stdio,
    pub(crate) exit: ExitReceiver,
}

/// What a process is made with: the shim's side of its streams, its own, and a worker's channel.
#[derive(Debug)]
pub(crate) struct With {
    pub(crate) streams: Streams,
    pub(crate) ends: Ends,
    pub(crate) worker: Option<Channel>,
}

/// Makes a container with a helper that is waiting already. When this fails, nothing is left of it.
pub(crate) async fn create(
    daemon: &Daemon,
    helper: Helper,
    create: Create,
    with: With,
) -> anyhow::Result<(Launched, Cgroup)> {
    let state = create.root.join(&create.id);
    let request = Request::Create(create);
    let made = make(daemon, helper, request, with, Cgroup::locate).await;
    if made.is_err()
        && state.exists()
        && let Err(error) = delete(daemon, state).await
    {
        tracing::error!("removing a container that was given up: {error:#}");
    }
    made
}

/// Makes a further process in a container.
pub(crate) async fn exec(daemon: &Daemon, exec: Exec, with: With) -> anyhow::Result<Launched> {
    let helper = Helper::start(daemon, &exec.id)?;
    let request = Request::Exec(exec);
    let made = make(daemon, helper, request, with, |_| Ok(())).await;
    made.map(|(launched, ())| launched)
}

/// Makes a process; `locate` makes something of the list of its cgroups. When this fails, the
/// process has ended.
async fn make<T>(
    daemon: &Daemon,
    mut helper: Helper,
    request: Request,
    with: With,
    locate: impl FnOnce(&str) -> anyhow::Result<T>,
) -> anyhow::Result<(Launched, T)> {
    let With {
        streams,
        ends,
        worker,
    } = with;
    let mut files = vec![ends.stdin.as_fd(), ends.stdout.as_fd(), ends.stderr.as_fd()];
    files.extend(worker.as_ref().map(|channel| channel.as_fd()));
    helper.send(&request, &files).await?;
    drop((ends, worker));
    let (answer, files) = helper.answer().await?;
    let (pid, cgroups) = match answer {
        Answer::Created { pid, cgroups } => (pid, cgroups),
        Answer::Failed { reason } => bail!(reason),
        Answer::Done => bail!("the helper made no process"),
    };
    // The helper is still its parent, so the process id cannot be another's.
    let exit = daemon.reaper.adopt(pid);
    let taken = (|| {
        let located = locate(&cgroups)?;
        let handle = Handle::open(pid).with_context(|| format!("opening process {pid}"))?;
        let stdio = streams.connect(files.into_iter().next(), &daemon.tasks)?;
        let told = helper.channel.send(&Adopted, &[]);
        told.context("telling the helper that it may end")?;
        Ok((handle, stdio, located))
    })();
    match taken {
        Ok((handle, stdio, located)) => {
            let launched = Launched {
                handle,
                stdio,
                exit,
            };
            Ok((launched, located))
        }
        Err(error) => {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            // Without us the helper ends, and the process falls to us to be collected.
            drop(helper);
            let _ = exit.await;
            Err(error)
        }
    }
}

/// Releases a Linux container, with its hooks.
pub(crate) async fn start(daemon: &Daemon, state: PathBuf) -> anyhow::Result<()> {
    run(daemon, "start", Request::Start { state }).await
}

/// Removes a container, with its hooks.
pub(crate) async fn delete(daemon: &Daemon, state: PathBuf) -> anyhow::Result<()> {
    run(daemon, "delete", Request::Delete { state }).await
}

async fn run(daemon: &Daemon, word: &str, request: Request) -> anyhow::Result<()> {
    let mut helper = Helper::start(daemon, word)?;
    helper.send(&request, &[]).await?;
    match helper.answer().await? {
        (Answer::Failed { reason }, _) => bail!(reason),
        (Answer::Done | Answer::Created { .. }, _) => Ok(()),
    }
}

/// A helper that waits for its request; it ends when this is dropped.
pub(crate) struct Helper {
    channel: AsyncChannel,
    exit: ExitReceiver,
}

impl Helper {
    /// Starts a helper. Its command line ends with `word`, for those who look at the list of processes, where a worker
    /// keeps the helper's command line. Blocks until the child has executed this binary.
    pub(crate) fn start(daemon: &Daemon, word: &str) -> anyhow::Result<Helper> {
        let (ours, theirs) = Channel::pair().context("making a channel to the helper")?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("catena")
            .args(["helper", word])
            .env_clear()
            .current_dir("/")
            .stdin(ProcessStdio::from(OwnedFd::from(theirs)))
            .stdout(ProcessStdio::null())
            .stderr(ProcessStdio::null());
        let (_child, exit) = daemon
            .reaper
            .spawn(&mut command)
            .context("starting the helper")?;
        Ok(Helper {
            channel: AsyncChannel::new(ours)?,
            exit,
        })
    }

    async fn send(&mut self, request: &Request, files: &[BorrowedFd<'_>]) -> anyhow::Result<()> {
        match self.channel.send(request, files) {
            // It may have waited long, and something may have ended it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                let exit = (&mut self.exit).await;
                Err(error).context(format!(
                    "the helper ended before it was asked, with code {}",
                    exit.map_or(0, |exit| exit.code)
                ))
            }
            sent => sent.context("asking the helper"),
        }
    }

    async fn answer(&mut self) -> anyhow::Result<(Answer, Vec<OwnedFd>)> {
        select! {
            biased;
            answer = self.channel.receive_with_files() => {
                answer.context("hearing the helper")?.context("the helper ended without an answer")
            }
            exit = &mut self.exit => bail!(
                "the helper ended without an answer, with code {}",
                exit.map_or(0, |exit| exit.code),
            ),
        }
    }
}
