//! Starts helpers and talks to them: the shim's side of `helper`. Called when a container is
//! made, and when its hooks have to run.

use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
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
use crate::helper::{Adopted, Answer, Create, Request};
use crate::reaper::ExitReceiver;
use crate::stdio::Ends;

/// A container's first process.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) pid: i32,
    /// Refers to the process and to no later one of the same number.
    pub(crate) pidfd: OwnedFd,
    /// Where it was put.
    pub(crate) cgroup: Cgroup,
    pub(crate) exit: ExitReceiver,
}

/// Makes a container. When this fails, nothing is left of it.
pub(crate) async fn create(
    daemon: &Daemon,
    create: Create,
    ends: Ends,
    worker: Option<Channel>,
) -> anyhow::Result<Launched> {
    let mut helper = Helper::start(daemon, &create.id)?;
    let mut files = vec![ends.stdin.as_fd(), ends.stdout.as_fd(), ends.stderr.as_fd()];
    files.extend(worker.as_ref().map(|channel| channel.as_fd()));
    let state = create.root.join(&create.id);
    helper.channel.send(&Request::Create(create), &files)?;
    drop((ends, worker));
    match helper.answer().await? {
        Answer::Created { pid, cgroups } => {
            // The helper is still its parent, so the process id cannot be another's.
            let exit = daemon.reaper.adopt(pid);
            match take_over(&helper, pid, &cgroups) {
                Ok((pidfd, cgroup)) => Ok(Launched {
                    pid,
                    pidfd,
                    cgroup,
                    exit,
                }),
                Err(error) => {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                    // Without us the helper ends, and the process falls to us to be collected.
                    drop(helper);
                    let _ = exit.await;
                    if let Err(error) = delete(daemon, state).await {
                        tracing::error!(pid, "removing a container that was given up: {error:#}");
                    }
                    Err(error)
                }
            }
        }
        Answer::Failed { reason } => bail!(reason),
        Answer::Done => bail!("the helper made no container"),
    }
}

/// What is left to do for a process that the helper has made.
fn take_over(helper: &Helper, pid: i32, cgroups: &str) -> anyhow::Result<(OwnedFd, Cgroup)> {
    let cgroup = Cgroup::locate(cgroups)?;
    let pidfd = pidfd_open(pid).with_context(|| format!("opening process {pid}"))?;
    let told = helper.channel.send(&Adopted, &[]);
    told.context("telling the helper that it may end")?;
    Ok((pidfd, cgroup))
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
    helper.channel.send(&request, &[])?;
    match helper.answer().await? {
        Answer::Failed { reason } => bail!(reason),
        Answer::Done | Answer::Created { .. } => Ok(()),
    }
}

struct Helper {
    channel: AsyncChannel,
    exit: ExitReceiver,
}

impl Helper {
    /// Starts a helper; `word` is for those who look at the list of processes, where a worker
    /// keeps the helper's command line.
    fn start(daemon: &Daemon, word: &str) -> anyhow::Result<Helper> {
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

    async fn answer(&mut self) -> anyhow::Result<Answer> {
        select! {
            biased;
            answer = self.channel.receive() => {
                answer.context("hearing the helper")?.context("the helper ended without an answer")
            }
            exit = &mut self.exit => bail!(
                "the helper ended without an answer, with code {}",
                exit.map_or(0, |exit| exit.code),
            ),
        }
    }
}

#[expect(unsafe_code, reason = "pidfd_open has no safe wrapper")]
fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers; the result is checked before it is owned.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(result) {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
