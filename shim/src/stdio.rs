//! Standard input, output and error of a process: pipes between the process and the shim, or a
//! terminal, and copies between those and containerd's FIFOs. The container never holds a FIFO. Those of the
//! output are open in both directions here, so that they outlive a restart of containerd.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

mod streams;
mod terminal;

pub(crate) use streams::Streams;

use terminal::Terminal;

const BUFFER_SIZE: usize = 32 * 1024;

/// How long a client may take to read the rest of an output.
const READ_TIMEOUT: Duration = Duration::from_millis(500);

/// What containerd asks for: paths of FIFOs, `file://` URIs, or nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The container's ends.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// The shim's side: the running copies. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Stdio {
    outputs: TaskTracker,
    input_end: CancellationToken,
    stop: CancellationToken,
    terminal: Option<Terminal>,
    _stop: DropGuard,
}

impl Stdio {
    /// Opens everything and starts the copies. The pipes belong to user `uid`, who may then open
    /// `/dev/stdout` again.
    fn open(paths: &Paths, uid: u32, tasks: &TaskTracker) -> anyhow::Result<(Stdio, Ends)> {
        let stdio = Stdio::new(None);
        let Stdio {
            outputs,
            input_end,
            stop,
            ..
        } = &stdio;
        let stdin = match paths.stdin.as_str() {
            "" => null()?,
            path => {
                let (ours, theirs) = input(path, uid)
                    .with_context(|| format!("opening the standard input {path}"))?;
                tasks.spawn(copy_input(ours.0, ours.1, input_end.clone()));
                theirs
            }
        };
        let output = |path: &str| match path {
            "" => null(),
            path => {
                let target = Target::open(path)?;
                let (reader, theirs) = output_pipe(uid)?;
                let stop = stop.clone();
                outputs.spawn(async move {
                    stop.run_until_cancelled(target.copy_from(reader)).await;
                });
                Ok(theirs)
            }
        };
        let stdout = output(&paths.stdout)
            .with_context(|| format!("opening the standard output {}", paths.stdout))?;
        let stderr = output(&paths.stderr)
            .with_context(|| format!("opening the standard error {}", paths.stderr))?;
        outputs.close();
        let ends = Ends {
            stdin,
            stdout,
            stderr,
        };
        Ok((stdio, ends))
    }

    /// Starts the copies of a process that has a terminal, from and to its master end.
    fn over_terminal(
        input: Option<pipe::Receiver>,
        output: Option<Target>,
        master: OwnedFd,
        tasks: &TaskTracker,
    ) -> io::Result<Stdio> {
        let terminal = Terminal::new(master)?;
        let stdio = Stdio::new(Some(terminal.clone()));
        if let Some(fifo) = input {
            tasks.spawn(copy_input(fifo, terminal.clone(), stdio.input_end.clone()));
        }
        let stop = stdio.stop.clone();
        stdio.outputs.spawn(async move {
            let copy = async {
                match output {
                    Some(target) => target.copy_from(terminal).await,
                    // Nobody wants it, and the process must not stand still for that.
                    None => copy_output(terminal, tokio::io::sink()).await,
                }
            };
            stop.run_until_cancelled(copy).await;
        });
        stdio.outputs.close();
        Ok(stdio)
    }

    fn new(terminal: Option<Terminal>) -> Stdio {
        let stop = CancellationToken::new();
        Stdio {
            outputs: TaskTracker::new(),
            input_end: stop.child_token(),
            _stop: stop.clone().drop_guard(),
            stop,
            terminal,
        }
    }

    /// Sets the size of the terminal in characters; false where there is none.
    pub(crate) fn resize(&self, width: u32, height: u32) -> io::Result<bool> {
        match &self.terminal {
            Some(terminal) => terminal.resize(width, height).map(|()| true),
            None => Ok(false),
        }
    }

    /// The client writes no more: what is in the FIFO is still copied, then the container sees
    /// the end of its input.
    pub(crate) fn close_input(&self) {
        self.input_end.cancel();
    }

    /// Waits until all output is copied, but no longer than `limit`.
    pub(crate) async fn finish(&self, limit: Duration) {
        self.input_end.cancel();
        let _ = tokio::time::timeout(limit, self.outputs.wait()).await;
    }
}

/// Where output goes.
#[derive(Debug)]
pub(crate) enum Target {
    Fifo(pipe::Sender),
    File(tokio::fs::File),
}

impl Target {
    fn open(path: &str) -> anyhow::Result<Target> {
        if let Some((scheme, rest)) = path.split_once("://") {
            return match scheme {
                "fifo" => Target::open(rest),
                "file" => {
                    let path = PathBuf::from(rest.split('?').next().unwrap_or(rest));
                    if let Some(folder) = path.parent() {
                        std::fs::create_dir_all(folder)?;
                    }
                    let file = OpenOptions::new().create(true).append(true).open(path)?;
                    Ok(Target::File(file.into()))
                }
                other => bail!("{other}:// is not supported, only a FIFO's path and file://"),
            };
        }
        let fifo = pipe::OpenOptions::new()
            .read_write(true)
            .open_sender(Path::new(path))?;
        Ok(Target::Fifo(fifo))
    }

    async fn copy_from(self, reader: impl AsyncRead + Unpin) {
        match self {
            Target::Fifo(mut fifo) => {
                copy_output(reader, &mut fifo).await;
                is_read(&fifo).await;
            }
            Target::File(file) => copy_output(reader, file).await,
        }
    }
}

async fn copy_output(mut reader: impl AsyncRead + Unpin, mut writer: impl AsyncWrite + Unpin) {
    let mut buffer = vec![0; BUFFER_SIZE];
    loop {
        let length = match reader.read(&mut buffer).await {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) => {
                tracing::warn!(%error, "reading a container's output");
                break;
            }
        };
        // The container must not stand still because its output cannot be delivered: read on.
        if let Err(error) = writer.write_all(&buffer[..length]).await {
            tracing::warn!(%error, "a container's output is lost");
        }
    }
    let _ = writer.flush().await;
}

/// Waits until the client has read what is in its FIFO, but not for one that reads no more. From
/// version 1.7 on containerd's own client drops what it has not read when the process is deleted.
async fn is_read(fifo: &pipe::Sender) {
    let unread = || {
        let mut fifo = [PollFd::new(fifo.as_fd(), PollFlags::POLLIN)];
        // It is open for reading too.
        poll(&mut fifo, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    };
    let started = Instant::now();
    while unread() && started.elapsed() < READ_TIMEOUT {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn copy_input(
    mut fifo: pipe::Receiver,
    mut writer: impl AsyncWrite + Unpin,
    end: CancellationToken,
) {
    let mut buffer = vec![0; BUFFER_SIZE];
    loop {
        let read = tokio::select! {
            read = fifo.read(&mut buffer) => read,
            // What was written before the end still counts; ask the kernel itself, for the
            // runtime may not have heard of it yet.
            () = end.cancelled() => nix::unistd::read(&fifo, &mut buffer).map_err(Into::into),
        };
        let length = match read {
            Ok(0) | Err(_) => return,
            Ok(length) => length,
        };
        if writer.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

fn null() -> anyhow::Result<OwnedFd> {
    let file = File::options().read(true).write(true).open("/dev/null");
    Ok(file.context("opening /dev/null")?.into())
}

fn input(path: &str, uid: u32) -> anyhow::Result<((pipe::Receiver, pipe::Sender), OwnedFd)> {
    // Read only, so that the client's end of the FIFO is the end of the input. That no client
    // has opened it yet is no end: the kernel reports that only after there was one.
    let fifo = pipe::OpenOptions::new().open_receiver(Path::new(path))?;
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    nix::unistd::fchown(&read, Some(uid.into()), None)?;
    Ok(((fifo, pipe::Sender::from_owned_fd(write)?), read))
}

fn output_pipe(uid: u32) -> anyhow::Result<(pipe::Receiver, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    nix::unistd::fchown(&write, Some(uid.into()), None)?;
    Ok((pipe::Receiver::from_owned_fd(read)?, write))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use std::io::{Read as _, Write as _};

    fn fifo(folder: &Path, name: &str) -> String {
        let path = folder.join(name);
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn output_reaches_the_fifo_across_a_change_of_readers() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths {
            stdout: fifo(folder.path(), "out"),
            ..Paths::default()
        };
        let uid = nix::unistd::getuid().as_raw();
        let (stdio, ends) = Stdio::open(&paths, uid, &TaskTracker::new()).unwrap();
        let mut container = File::from(ends.stdout);
        for text in ["before", "after!"] {
            container.write_all(text.as_bytes()).unwrap();
            let path = paths.stdout.clone();
            let read = tokio::task::spawn_blocking(move || {
                let mut buffer = [0; 6];
                File::open(path).unwrap().read_exact(&mut buffer).unwrap();
                String::from_utf8(buffer.to_vec()).unwrap()
            });
            assert_eq!(read.await.unwrap(), text);
        }
        container.write_all(b"last").unwrap();
        drop(container);
        let early = Duration::from_millis(50);
        stdio.finish(early).await;
        assert!(!stdio.outputs.is_empty(), "nobody has read the last");
        let path = paths.stdout.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = [0; 4];
            File::open(path).unwrap().read_exact(&mut buffer).unwrap();
        });
        read.await.unwrap();
        stdio.finish(Duration::from_secs(5)).await;
        assert!(stdio.outputs.is_empty());
    }

    #[tokio::test]
    async fn input_ends_after_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths {
            stdin: fifo(folder.path(), "in"),
            ..Paths::default()
        };
        let uid = nix::unistd::getuid().as_raw();
        let (stdio, ends) = Stdio::open(&paths, uid, &TaskTracker::new()).unwrap();
        File::options()
            .write(true)
            .open(&paths.stdin)
            .unwrap()
            .write_all(b"typed")
            .unwrap();
        stdio.close_input();
        let text = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            File::from(ends.stdin)
                .read_to_string(&mut text)
                .map(|_| text)
        });
        assert_eq!(text.await.unwrap().unwrap(), "typed");
    }

    #[tokio::test]
    async fn input_ends_with_its_client_and_not_before_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths {
            stdin: fifo(folder.path(), "in"),
            ..Paths::default()
        };
        let uid = nix::unistd::getuid().as_raw();
        let (_stdio, ends) = Stdio::open(&paths, uid, &TaskTracker::new()).unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        let client = paths.stdin.clone();
        let write = move || std::fs::write(client, "typed");
        tokio::task::spawn_blocking(write).await.unwrap().unwrap();
        let text = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            File::from(ends.stdin)
                .read_to_string(&mut text)
                .map(|_| text)
        });
        assert_eq!(text.await.unwrap().unwrap(), "typed");
    }

    #[tokio::test]
    async fn the_copies_end_with_their_owner() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths {
            stdin: fifo(folder.path(), "in"),
            stdout: fifo(folder.path(), "out"),
            ..Paths::default()
        };
        let uid = nix::unistd::getuid().as_raw();
        let inputs = TaskTracker::new();
        let (stdio, _ends) = Stdio::open(&paths, uid, &inputs).unwrap();
        let outputs = stdio.outputs.clone();
        drop(stdio);
        inputs.close();
        let all = async { tokio::join!(inputs.wait(), outputs.wait()) };
        let ended = tokio::time::timeout(Duration::from_secs(5), all).await;
        assert!(ended.is_ok());
    }

    #[tokio::test]
    async fn a_file_uri_is_appended_to_and_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("sub/log");
        let paths = Paths {
            stderr: format!("file://{}", log.display()),
            ..Paths::default()
        };
        let uid = nix::unistd::getuid().as_raw();
        let (stdio, ends) = Stdio::open(&paths, uid, &TaskTracker::new()).unwrap();
        File::from(ends.stderr).write_all(b"line").unwrap();
        stdio.finish(Duration::from_secs(5)).await;
        assert_eq!(std::fs::read_to_string(log).unwrap(), "line");

        let paths = Paths {
            stderr: "binary:///bin/logger".into(),
            ..Paths::default()
        };
        let error = Stdio::open(&paths, uid, &TaskTracker::new()).unwrap_err();
        assert!(
            format!("{error:#}").contains("binary:// is not supported"),
            "{error:#}"
        );
    }
}
