//! `catena run`: an app served with no containerd and no root. Most tests use this, because it is quick.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::client::{Client, Response};
use crate::output::{Lines, PATIENCE};
use crate::pack::{Form, Packed};
use crate::workspace;

/// What the first line of a server that listens says before its address.
const LISTENING: &str = " on http://";

/// A run of `catena run` to come.
pub struct Catena {
    image: OsString,
    packed: Option<Packed>,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    /// The binary that nobody is to run, if it is nobody.
    nobody: Option<PathBuf>,
}

/// Who owns nothing.
const NOBODY: u32 = 65534;

impl Catena {
    /// Serves an app of `images/` or `test/apps/`.
    pub fn app(name: &str) -> Result<Self> {
        Self::app_as(name, Form::Rootfs)
    }

    /// Serves an app from an image of the form.
    pub fn app_as(name: &str, form: Form) -> Result<Self> {
        let packed = Packed::app(name, form)?;
        let mut run = Self::image(packed.path());
        run.packed = Some(packed);
        Ok(run)
    }

    /// Serves the image, folder or `.wasm` file at `path`. Compiled code is kept between tests.
    pub fn image(path: &Path) -> Self {
        let run = Self {
            image: path.into(),
            packed: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            nobody: None,
        };
        run.cache(&workspace::root().join("target/test-cache"))
    }

    /// Keeps compiled code in this folder instead.
    pub fn cache(self, folder: &Path) -> Self {
        self.host_env("CATENA_CACHE_DIR", folder)
    }

    /// Adds a variable to the container's environment (`--env`).
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.arguments.push("--env".into());
        self.arguments.push(format!("{name}={value}").into());
        self
    }

    /// Reads this runtime configuration (`--runtime-config`).
    pub fn runtime_config(mut self, file: &Path) -> Self {
        self.arguments.push("--runtime-config".into());
        self.arguments.push(file.into());
        self
    }

    /// Mounts a folder (`--mount`); `guest` is where, and how.
    pub fn mount(mut self, folder: &Path, guest: &str) -> Self {
        self.arguments.push("--mount".into());
        let mount = format!("{}:{guest}", folder.display());
        self.arguments.push(mount.into());
        self
    }

    /// Keeps the files of stores and databases in this folder (`--state-dir`).
    pub fn state_dir(mut self, folder: &Path) -> Self {
        self.arguments.push("--state-dir".into());
        self.arguments.push(folder.into());
        self
    }

    /// Gives the app's variable a value.
    pub fn variable(self, name: &str, value: &str) -> Self {
        self.env(&format!("SPIN_VARIABLE_{}", name.to_uppercase()), value)
    }

    /// Adds a variable to the environment of catena itself.
    pub fn host_env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Runs as nobody, who has `folder`, with the binary and the image in it, and nothing else.
    pub fn as_nobody(mut self, folder: &Path) -> Result<Self> {
        let (binary, image) = (folder.join("catena"), folder.join("image.tar"));
        fs::copy(workspace::binary()?, &binary)?;
        fs::copy(&self.image, &image)?;
        for place in [folder, &binary, &image] {
            chown(place, Some(NOBODY), Some(NOBODY))?;
        }
        self.image = image.into();
        self.nobody = Some(binary);
        let (cache, state) = (folder.join("cache"), folder.join("state"));
        Ok(self.cache(&cache).state_dir(&state))
    }

    fn spawn(&self) -> Result<Child> {
        let mut command = match &self.nobody {
            None => Command::new(workspace::binary()?),
            Some(binary) => {
                let mut command = Command::new(binary);
                command.uid(NOBODY).gid(NOBODY).current_dir("/");
                command
            }
        };
        command
            .arg("run")
            .arg(&self.image)
            .args(["--listen", "127.0.0.1:0"])
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting catena run")
    }

    /// Starts it, and waits until it listens.
    pub async fn start(self) -> Result<Running> {
        let mut child = self.spawn()?;
        let mut tasks = JoinSet::new();
        let stdout = child.stdout.take().context("taking stdout")?;
        let stderr = child.stderr.take().context("taking stderr")?;
        let output = Lines::follow(vec![Box::new(stdout), Box::new(stderr)], &mut tasks);
        let line = output.wait_for(LISTENING).await?;
        let address = line
            .split(LISTENING)
            .nth(1)
            .and_then(|rest| rest.split(|c: char| c == '/' || c.is_whitespace()).next())
            .and_then(|address| address.parse().ok())
            .with_context(|| format!("no address in {line:?}"))?;
        Ok(Running {
            child,
            address,
            output,
            _packed: self.packed,
            _tasks: tasks,
        })
    }

    /// Runs it to its end: a command, or a refusal.
    pub async fn finish(self) -> Result<Finished> {
        let child = self.spawn()?;
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
            .await
            .context("catena run did not end")??;
        Ok(Finished {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it printed for people.
    pub stderr: String,
}

/// An app being served. It is killed when this is dropped.
pub struct Running {
    child: Child,
    address: SocketAddr,
    output: Lines,
    _packed: Option<Packed>,
    _tasks: JoinSet<()>,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> Result<i32> {
        let pid = self.child.id().context("the process has ended")?;
        i32::try_from(pid).context("a process id that is no number")
    }

    /// What it has printed, to either stream.
    pub fn output(&self) -> &Lines {
        &self.output
    }

    /// A `GET` on a connection of its own.
    pub async fn get(&self, path: &str) -> Result<Response> {
        Client::http1(self.address).await?.get(path).await
    }

    /// A new HTTP/1.1 connection.
    pub async fn http1(&self) -> Result<Client> {
        Client::http1(self.address).await
    }

    /// A new HTTP/2 connection, without TLS.
    pub async fn http2(&self) -> Result<Client> {
        Client::http2(self.address).await
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid()?), signal).context("signalling catena run")
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.context("waiting for catena run"),
            Err(_) => bail!(
                "catena run did not end; it printed:\n{}",
                self.output.text()
            ),
        }
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.ended().await
    }
}
