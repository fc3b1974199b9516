//! Containers and their tasks, as `ctr` makes them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::client::{Client, Response};
use crate::containerd::Containerd;
use crate::output::{Lines, PATIENCE};
use crate::pack::Output;

/// A container to be.
pub struct Container<'a> {
    containerd: &'a Containerd,
    image: String,
    id: String,
    flags: Vec<String>,
    command: Vec<String>,
}

impl<'a> Container<'a> {
    pub(super) fn new(containerd: &'a Containerd, image: &str, id: &str) -> Self {
        let runtime = ["--runtime", containerd.runtime()];
        let container = Self {
            containerd,
            image: image.to_owned(),
            id: id.to_owned(),
            flags: Vec::new(),
            command: Vec::new(),
        };
        container
            .flags(&runtime)
            .flags(&["--net-host"])
            .env("SPIN_HTTP_LISTEN_ADDR", "127.0.0.1:0")
    }

    /// Adds flags of `ctr run`.
    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(ToString::to_string));
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        let named = format!("{name}=");
        let known = self.flags.iter().position(|flag| flag.starts_with(&named));
        if let Some(at) = known {
            // Programs do not agree on which of two counts.
            self.flags[at] = format!("{named}{value}");
            return self;
        }
        self.flags(&["--env", &format!("{name}={value}")])
    }

    /// Puts it in the pod of this name: one shim for all of them.
    pub fn in_pod(self, name: &str) -> Self {
        self.flags(&[
            "--annotation",
            &format!("io.containerd.runc.v2.group={name}"),
        ])
    }

    /// Sets the command.
    pub fn command(mut self, command: &[&str]) -> Self {
        self.command.extend(command.iter().map(ToString::to_string));
        self
    }

    fn arguments(&self, mode: &[&str]) -> Vec<String> {
        let mut arguments = vec!["run".to_owned()];
        arguments.extend(mode.iter().map(ToString::to_string));
        arguments.extend(self.flags.clone());
        arguments.push(self.image.clone());
        arguments.push(self.id.clone());
        arguments.extend(self.command.clone());
        arguments
    }

    /// `ctr run`, to its end, whatever that is.
    pub fn run(&self) -> Result<Output> {
        let arguments = self.arguments(&[]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.containerd.ctr(&arguments)
    }

    /// `ctr run --detach`, which has to succeed.
    pub fn start(self) -> Result<Task<'a>> {
        let arguments = self.arguments(&["--detach"]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = self.containerd.ctr(&arguments)?;
        if !output.success {
            bail!(
                "ctr {}:\n{}\ncontainerd's log:\n{}",
                arguments.join(" "),
                output.stderr,
                self.containerd.log()
            );
        }
        Task::find(self.containerd, &self.id)
    }

    /// `ctr run` with its output followed.
    pub fn attach(self) -> Result<Attached> {
        let mut ctr = Command::from(self.containerd.ctr_command());
        let mut child = ctr
            .args(self.arguments(&[]))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting ctr run")?;
        let mut tasks = JoinSet::new();
        let stdout = child.stdout.take().context("taking stdout")?;
        let stderr = child.stderr.take().context("taking stderr")?;
        Ok(Attached {
            child,
            stdout: Lines::follow(vec![Box::new(stdout)], &mut tasks),
            stderr: Lines::follow(vec![Box::new(stderr)], &mut tasks),
            _tasks: tasks,
        })
    }
}

/// A `ctr run` under way.
pub struct Attached {
    child: Child,
    /// The container's stdout.
    pub stdout: Lines,
    /// The container's stderr, and `ctr`'s.
    pub stderr: Lines,
    _tasks: JoinSet<()>,
}

impl Attached {
    /// Waits for its end; the exit code.
    pub async fn ended(&mut self) -> Result<i32> {
        let status = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .context("ctr run did not end")??;
        status.code().context("ctr was killed")
    }
}

/// A task that runs.
pub struct Task<'a> {
    containerd: &'a Containerd,
    id: String,
    /// Its init process.
    pub pid: i32,
}

impl<'a> Task<'a> {
    /// The task of a container that runs.
    pub fn find(containerd: &'a Containerd, id: &str) -> Result<Self> {
        let listed = containerd.ctr_ok(&["tasks", "list"])?;
        let pid = listed
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .find(|words| words.first() == Some(&id))
            .and_then(|words| words.get(1)?.parse().ok())
            .with_context(|| format!("no task {id} in:\n{listed}"))?;
        Ok(Self {
            containerd,
            id: id.to_owned(),
            pid,
        })
    }

    /// Its container's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The daemon that it runs under.
    pub fn containerd(&self) -> &'a Containerd {
        self.containerd
    }

    /// Its state, as `ctr tasks list` has it.
    pub fn state(&self) -> Result<String> {
        let listed = self.containerd.ctr_ok(&["tasks", "list"])?;
        let line = listed
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .find(|words| words.first() == Some(&self.id.as_str()))
            .with_context(|| format!("no task {} in:\n{listed}", self.id))?;
        Ok(line.get(2).unwrap_or(&"").to_string())
    }

    /// Its processes, as `ctr tasks ps` has them.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let listed = self.ctr("ps", &[], &[])?.stdout;
        let first = |line: &str| line.split_whitespace().next()?.parse().ok();
        Ok(listed.lines().filter_map(first).collect())
    }

    /// Waits until its state is this.
    pub fn becomes(&self, state: &str) -> Result<()> {
        let started = Instant::now();
        loop {
            let now = self.state()?;
            if now == state {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                bail!("the task {} is {now}, and not {state}", self.id);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr> {
        listening(self.pid).with_context(|| {
            format!(
                "task {}; containerd's log:\n{}",
                self.id,
                self.containerd.log()
            )
        })
    }

    /// A `GET` on a connection of its own.
    pub async fn get(&self, path: &str) -> Result<Response> {
        Client::http1(self.address()?).await?.get(path).await
    }

    /// `ctr tasks kill`.
    pub fn kill(&self, signal: &str) -> Result<Output> {
        self.containerd
            .ctr(&["tasks", "kill", "--signal", signal, &self.id])
    }

    /// `ctr tasks delete`: the task's exit code. `ctr` tells one that is not 0 as a warning.
    pub fn delete(&self) -> Result<i32> {
        let output = self.containerd.ctr(&["tasks", "delete", &self.id])?;
        let told = output.stderr.split("non-zero exit code ").nth(1);
        match told.map(|rest| rest.trim_end_matches(['"', '\n', ' '])) {
            Some(code) => code
                .parse()
                .with_context(|| format!("no exit code in {:?}", output.stderr)),
            None if output.success => Ok(0),
            None => bail!("ctr tasks delete {}: {}", self.id, output.stderr),
        }
    }

    /// Removes it and its container, running or not.
    pub fn remove(self) -> Result<()> {
        let containerd = self.containerd;
        containerd.ctr_ok(&["tasks", "delete", "--force", &self.id])?;
        containerd.ctr_ok(&["containers", "delete", &self.id])?;
        Ok(())
    }

    /// The files that its process has open: number and what it is.
    pub fn descriptors(&self) -> Result<Vec<(i32, String)>> {
        let mut open = Vec::new();
        for entry in fs::read_dir(format!("/proc/{}/fd", self.pid))? {
            let entry = entry?;
            let number = entry.file_name().to_string_lossy().parse()?;
            let what = fs::read_link(entry.path()).unwrap_or_default();
            open.push((number, what.display().to_string()));
        }
        open.sort();
        Ok(open)
    }
}

/// Where a process listens, as soon as it does: read from /proc, because the port is the system's choice.
pub fn listening(pid: i32) -> Result<SocketAddr> {
    let started = Instant::now();
    loop {
        if let Some(port) = listening_port(pid) {
            return Ok((Ipv4Addr::LOCALHOST, port).into());
        }
        if started.elapsed() > PATIENCE {
            bail!("process {pid} does not listen");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The port of a TCP socket that `pid` listens on.
fn listening_port(pid: i32) -> Option<u16> {
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| {
            let link = link.to_str()?.strip_prefix("socket:[")?;
            Some(link.strip_suffix(']')?.to_owned())
        })
        .collect();
    let tables = ["tcp", "tcp6"]
        .map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default());
    tables
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        // `0A` is LISTEN; the tenth column is the socket's inode.
        .filter(|words| words.get(3) == Some(&"0A"))
        .find(|words| {
            words
                .get(9)
                .is_some_and(|inode| sockets.iter().any(|s| s == inode))
        })
        .and_then(|words| u16::from_str_radix(words.get(1)?.rsplit(':').next()?, 16).ok())
}
