//! A containerd of the test's own: its own root, state, socket and namespace, with catena's shim first on its
//! path. What it started is gone when it is dropped. It needs root.

mod api;
mod control;
mod images;
mod install;
mod task;

pub use api::{Api, Code, Status};
pub(crate) use install::PAUSE_IMAGE;
pub use install::{Installation, Runtime};
pub use task::{Attached, Container, Task, listening};

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::leftovers::{Leftovers, Process, processes};
use crate::output::{Lines, PATIENCE};
use crate::pack::{self, Form, Output, Packed};
use crate::workspace;
use install::{Places, Pods};

/// Numbers the daemons of one program.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// The namespace that containerd keeps for Kubernetes.
const PODS: &str = "k8s.io";

/// Where cgroups are mounted: all of version 2, or a folder for each hierarchy of version 1.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Where a machine's own daemon listens and keeps its state.
const USUAL_ADDRESS: &str = "/run/containerd/containerd.sock";
const USUAL_STATE: &str = "/run/containerd";

/// A running daemon.
pub struct Containerd {
    folder: TempDir,
    address: PathBuf,
    state: PathBuf,
    namespace: String,
    group: String,
    runtime: String,
    log_level: &'static str,
    installation: Installation,
    daemon: Option<Child>,
}

impl Containerd {
    /// Starts one, and waits until it answers.
    pub fn start() -> Result<Self> {
        Self::start_logging("info")
    }

    /// One that has the image of an app, and the image's name.
    pub fn with_app(app: &str) -> Result<(Self, String)> {
        let containerd = Self::start()?;
        let image = containerd.import(Packed::app(app, Form::Rootfs)?.path())?;
        Ok((containerd, image))
    }

    /// Starts one that, like its shims, logs what is of this level.
    pub fn start_logging(level: &'static str) -> Result<Self> {
        let mut containerd = Self::new()?;
        containerd.log_level = level;
        containerd.prepare(None)?;
        containerd.launch()?;
        Ok(containerd)
    }

    /// Starts one that makes pods under `runtimes`, on the network that `describe` writes into the folder it is given,
    /// and with the shim's options in the file that it names. Their namespace is the one that containerd keeps for
    /// Kubernetes.
    pub(crate) fn start_with_pods(
        runtimes: &[Runtime],
        describe: impl FnOnce(&Path) -> Result<Option<PathBuf>>,
    ) -> Result<Self> {
        let mut containerd = Self::new()?;
        containerd.namespace = PODS.to_owned();
        let cni = containerd.path("cni");
        fs::create_dir(&cni)?;
        let options = describe(&cni)?;
        containerd.prepare(Some(Pods {
            cni: &cni,
            runtimes,
            options,
        }))?;
        containerd.launch()?;
        Ok(containerd)
    }

    /// The machine's own daemon where one answers, in a namespace of our own and with the shim named by its path;
    /// else one that is started.
    pub fn running_or_started() -> Result<Self> {
        if !Path::new(USUAL_ADDRESS).exists() {
            return Self::start();
        }
        let mut containerd = Self::new()?;
        containerd.address = PathBuf::from(USUAL_ADDRESS);
        if !containerd.ctr(&["version"])?.success {
            return Self::start();
        }
        containerd.state = PathBuf::from(USUAL_STATE);
        let binary = workspace::binary()?.with_file_name("containerd-shim-catena-v1");
        containerd.runtime = binary
            .to_str()
            .context("a path that is no text")?
            .to_owned();
        Ok(containerd)
    }

    fn new() -> Result<Self> {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::Builder::new()
            .prefix("catena-")
            .tempdir()
            .context("making containerd's folder")?;
        let group = format!("catena-test-{}-{number}", std::process::id());
        Ok(Self {
            address: folder.path().join("c.sock"),
            state: folder.path().join("state"),
            folder,
            namespace: group.clone(),
            group,
            runtime: "io.containerd.catena.v1".to_owned(),
            log_level: "info",
            installation: Installation::find()?,
            daemon: None,
        })
    }

    /// Whether it was started here, and ends with this.
    pub fn is_own(&self) -> bool {
        self.daemon.is_some()
    }

    fn prepare(&self, pods: Option<Pods<'_>>) -> Result<()> {
        let bin = self.path("bin");
        fs::create_dir(&bin)?;
        std::os::unix::fs::symlink(workspace::binary()?, bin.join("containerd-shim-catena-v1"))?;
        let config = self.installation.configuration(&Places {
            root: &self.path("root"),
            state: &self.state,
            address: &self.address,
            opt: &self.path("opt"),
            pods,
        });
        fs::write(self.path("config.toml"), config).context("writing containerd's configuration")
    }

    fn launch(&mut self) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("containerd.log"))?;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut daemon = self.installation.command("containerd");
        let daemon = daemon
            .arg("--config")
            .arg(self.path("config.toml"))
            .args(["--log-level", self.log_level])
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            // Its shims inherit this: compiled code of the daemon's own.
            .env("CATENA_CACHE_DIR", self.path("cache"))
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting containerd: is it installed (`make setup`), and is this root?")?;
        self.daemon = Some(daemon);
        let started = Instant::now();
        while !self.ctr(&["version"])?.success {
            if started.elapsed() > PATIENCE {
                bail!("containerd does not answer; its log:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Ends the daemon and starts it again. What runs, runs on.
    pub fn restart(&mut self) -> Result<()> {
        self.end_daemon();
        self.launch()
    }

    /// Takes what is ours out of a daemon that goes on.
    fn leave(&self) {
        for (kind, flags) in [("containers", None), ("images", Some("--sync"))] {
            let listed = self.ctr_ok(&[kind, "list", "--quiet"]).unwrap_or_default();
            for name in listed.lines() {
                let delete = [kind, "delete"].into_iter().chain(flags).chain([name]);
                drop(self.ctr(&delete.collect::<Vec<_>>()));
            }
        }
        // A namespace can be removed once nothing is in it, also no snapshot.
        drop(self.ctr(&["namespaces", "remove", &self.namespace]));
    }

    /// Kills the daemon where it stands, does something while there is none, and starts it again.
    pub fn crash<T>(&mut self, meanwhile: impl FnOnce() -> Result<T>) -> Result<T> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().context("killing containerd")?;
            daemon.wait()?;
        }
        let done = meanwhile()?;
        self.launch()?;
        Ok(done)
    }

    /// The cgroup of all its containers, without a slash: runtimes leave it. Pods have to ask for it.
    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    fn remove_group(&self) {
        let mut hierarchies = vec![PathBuf::from(CGROUPS)];
        let found = fs::read_dir(CGROUPS).into_iter().flatten().flatten();
        hierarchies.extend(found.map(|entry| entry.path()));
        for hierarchy in hierarchies {
            // Only an empty one can be removed.
            drop(fs::remove_dir(hierarchy.join(&self.group)));
        }
    }

    fn end_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            if let Ok(pid) = i32::try_from(daemon.id()) {
                // It may have ended by itself.
                _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            drop(daemon.wait());
        }
    }

    /// A path in the daemon's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its socket.
    pub fn address(&self) -> &Path {
        &self.address
    }

    /// What `ctr run --runtime` is given for catena.
    pub fn runtime(&self) -> &str {
        &self.runtime
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("containerd.log")).unwrap_or_default()
    }

    /// `ctr` towards this daemon, in its namespace, with no input.
    pub fn ctr_command(&self) -> Command {
        let mut ctr = self.installation.command("ctr");
        ctr.arg("--address").arg(&self.address);
        ctr.args(["--namespace", &self.namespace]);
        ctr.stdin(Stdio::null());
        ctr
    }

    /// `ctr` with these arguments, to its end.
    pub fn ctr(&self, arguments: &[&str]) -> Result<Output> {
        pack::run(self.ctr_command().args(arguments))
    }

    /// The same, and it has to succeed; what it printed.
    pub fn ctr_ok(&self, arguments: &[&str]) -> Result<String> {
        let output = self.ctr(arguments)?;
        if !output.success {
            bail!("ctr {}:\n{}", arguments.join(" "), output.stderr);
        }
        Ok(output.stdout)
    }

    /// Which containerd it is.
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// Its gRPC API.
    pub async fn api(&self) -> Result<Api<'_>> {
        Api::connect(self).await
    }

    /// A container to be: `image` under catena.
    pub fn container<'a>(&'a self, image: &str, id: &str) -> Container<'a> {
        Container::new(self, image, id)
    }

    /// A Linux container that runs this with `sh -c`.
    pub fn linux<'a>(&'a self, id: &str, flags: &[&str], script: &str) -> Result<Task<'a>> {
        let root = self.busybox()?;
        let container = self.container(&root, id).flags(&["--rootfs"]).flags(flags);
        container.command(&["/bin/sh", "-c", script]).start()
    }

    /// What the daemon tells of its containers, from now on: an event a line.
    pub async fn events(&self) -> Result<Events> {
        let mut child = tokio::process::Command::from(self.ctr_command())
            .arg("events")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting ctr events")?;
        let stdout = child.stdout.take().context("taking stdout")?;
        let mut tasks = JoinSet::new();
        let events = Events {
            lines: Lines::follow(vec![Box::new(stdout)], &mut tasks),
            _child: child,
            _tasks: tasks,
        };
        // It listens when it has heard of something: of a label, which nobody looks at.
        let started = Instant::now();
        while events.lines.count("/namespaces/update") == 0 {
            if started.elapsed() > PATIENCE {
                bail!("ctr events hears nothing: {}", events.lines.text());
            }
            self.ctr_ok(&["namespaces", "label", &self.namespace, "heard=yes"])?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(events)
    }

    /// Puts another shim on its path.
    pub fn add_shim(&self, name: &str, binary: &Path) -> Result<()> {
        let at = self.path("bin").join(name);
        std::os::unix::fs::symlink(binary, at).with_context(|| format!("adding {name}"))
    }

    /// The processes of its shims.
    pub fn shims(&self) -> Vec<i32> {
        processes()
            .into_iter()
            .filter(|process| self.is_shim(process))
            .map(|process| process.pid)
            .collect()
    }

    /// Every daemon has pods in the same namespace, so its address tells too.
    fn is_shim(&self, process: &Process) -> bool {
        let address = self.address.display().to_string();
        ["containerd-shim-", &self.namespace, &address]
            .iter()
            .all(|part| process.command.contains(part))
    }

    /// The files of compiled code in the cache of its shims.
    pub fn compiled(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for folder in fs::read_dir(self.path("cache"))? {
            for file in fs::read_dir(folder?.path())? {
                let path = file?.path();
                if path
                    .extension()
                    .is_some_and(|extension| extension == "cwasm")
                {
                    found.push(path);
                }
            }
        }
        Ok(found)
    }

    /// What is left of a container.
    pub fn leftovers(&self, id: &str) -> Vec<String> {
        Leftovers {
            namespace: self.namespace.clone(),
            group: self.group.clone(),
            address: self.address.clone(),
            state: self.state.clone(),
        }
        .of(id)
    }

    /// Waits until nothing is left of a container.
    pub fn nothing_is_left_of(&self, id: &str) -> Result<()> {
        let started = Instant::now();
        loop {
            let left = self.leftovers(id);
            if left.is_empty() {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                bail!(
                    "left behind of {id}:\n{}\ncontainerd's log:\n{}",
                    left.join("\n"),
                    self.log()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Events {
    /// The topics of tasks that came, in their order.
    pub fn topics(&self) -> Vec<String> {
        let words = |line: &String| {
            let mut words = line.split_whitespace();
            words
                .find(|word| word.starts_with("/tasks/"))
                .map(str::to_owned)
        };
        self.lines.all().iter().filter_map(words).collect()
    }
}

/// `ctr events`, under way.
pub struct Events {
    /// What came.
    pub lines: Lines,
    _child: tokio::process::Child,
    _tasks: JoinSet<()>,
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // In the order of a tidy end; what has failed already is not told again.
        if let Ok(tasks) = self.ctr_ok(&["tasks", "list", "--quiet"]) {
            for task in tasks.lines() {
                drop(self.ctr(&["tasks", "delete", "--force", task]));
            }
        }
        if !self.is_own() {
            self.leave();
        }
        self.end_daemon();
        for process in processes() {
            if self.is_shim(&process) {
                _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
            }
        }
        self.remove_group();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let ours = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|at| Path::new(at).starts_with(self.folder.path()));
        for at in ours.collect::<Vec<_>>().into_iter().rev() {
            _ = umount2(at, MntFlags::MNT_DETACH);
        }
    }
}
