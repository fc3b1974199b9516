//! A container of a pod: described as a kubelet does, started, asked, stopped.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::pod::{Sandbox, runtime_default};
use super::{image, v1};
use crate::output::PATIENCE;

/// What a kubelet hides of `/proc` and `/sys`, and what it closes.
const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const CLOSED: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// A container to be.
pub struct Container<'a> {
    pod: &'a Sandbox<'a>,
    config: v1::ContainerConfig,
}

impl<'a> Container<'a> {
    pub(super) fn new(pod: &'a Sandbox<'a>, image_name: &str, name: &str) -> Self {
        let context = v1::LinuxContainerSecurityContext {
            namespace_options: Some(pod.namespaces.clone()),
            masked_paths: MASKED.map(str::to_owned).into(),
            readonly_paths: CLOSED.map(str::to_owned).into(),
            seccomp: Some(runtime_default()),
            ..Default::default()
        };
        let config = v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata {
                name: name.to_owned(),
                attempt: 0,
            }),
            image: Some(image(image_name)),
            log_path: format!("{name}.log"),
            linux: Some(v1::LinuxContainerConfig {
                resources: Some(v1::LinuxContainerResources::default()),
                security_context: Some(context),
            }),
            ..Default::default()
        };
        Self { pod, config }
    }

    /// Adds a variable to its environment.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.config.envs.push(v1::KeyValue {
            key: key.to_owned(),
            value: value.to_owned(),
        });
        self
    }

    /// Sets where an application listens, on all addresses of the pod.
    pub fn port(self, port: u16) -> Self {
        self.env("SPIN_HTTP_LISTEN_ADDR", &format!("0.0.0.0:{port}"))
    }

    /// Sets the command.
    pub fn command(mut self, command: &[&str]) -> Self {
        self.config.command = command.iter().map(ToString::to_string).collect();
        self
    }

    /// A shell's command of busybox.
    pub fn shell(self, script: &str) -> Self {
        self.command(&["/bin/busybox", "sh", "-c", script])
    }

    /// Mounts a file or folder of the host, not to be written, as a ConfigMap is.
    pub fn mount(self, host: &Path, inside: &str) -> Self {
        self.add_mount(host, inside, true)
    }

    /// Mounts a file or folder of the host, to be written.
    pub fn mount_writable(self, host: &Path, inside: &str) -> Self {
        self.add_mount(host, inside, false)
    }

    fn add_mount(mut self, host: &Path, inside: &str, readonly: bool) -> Self {
        self.config.mounts.push(v1::Mount {
            container_path: inside.to_owned(),
            host_path: host.display().to_string(),
            readonly,
            ..Default::default()
        });
        self
    }

    /// How often a container of this name was made before.
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.config.metadata.get_or_insert_default().attempt = attempt;
        self
    }

    /// Changes its limits.
    pub fn resources(mut self, change: impl FnOnce(&mut v1::LinuxContainerResources)) -> Self {
        let linux = self.config.linux.get_or_insert_default();
        change(linux.resources.get_or_insert_default());
        self
    }

    /// Changes its security context.
    pub fn security(mut self, change: impl FnOnce(&mut v1::LinuxContainerSecurityContext)) -> Self {
        let linux = self.config.linux.get_or_insert_default();
        change(linux.security_context.get_or_insert_default());
        self
    }

    /// Makes it and starts it. A failed start leaves it in the pod, as it does for a kubelet.
    pub async fn start(self) -> Result<Started<'a>> {
        let mut client = self.pod.cri.client();
        let log = self.pod.logs().join(&self.config.log_path);
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: self.pod.id.clone(),
            config: Some(self.config),
            sandbox_config: Some(self.pod.config.clone()),
        };
        // The generated future is large.
        let made = Box::pin(client.create_container(request)).await;
        let container_id = made.context("CreateContainer")?.into_inner().container_id;
        let started = Started {
            pod: self.pod,
            id: container_id.clone(),
            log,
        };
        let request = v1::StartContainerRequest { container_id };
        let answer = Box::pin(client.start_container(request)).await;
        answer.context("StartContainer")?;
        Ok(started)
    }
}

/// A line of a container's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// `stdout` or `stderr`.
    pub stream: String,
    /// What was printed.
    pub text: String,
}

/// A container that was started.
pub struct Started<'a> {
    pod: &'a Sandbox<'a>,
    /// Its name in containerd.
    pub id: String,
    log: std::path::PathBuf,
}

impl Started<'_> {
    async fn ask(&self, verbose: bool) -> Result<v1::ContainerStatusResponse> {
        let request = v1::ContainerStatusRequest {
            container_id: self.id.clone(),
            verbose,
        };
        let answer = self.pod.cri.client().container_status(request).await?;
        Ok(answer.into_inner())
    }

    /// Its status.
    pub async fn status(&self) -> Result<v1::ContainerStatus> {
        self.ask(false).await?.status.context("no status")
    }

    /// Waits until it has ended; its status then.
    pub async fn ended(&self) -> Result<v1::ContainerStatus> {
        let started = Instant::now();
        loop {
            let status = self.status().await?;
            if status.state() == v1::ContainerState::ContainerExited {
                return Ok(status);
            }
            if started.elapsed() > PATIENCE {
                bail!("the container runs on: {status:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The id of its first process.
    pub async fn pid(&self) -> Result<i32> {
        let answer = self.ask(true).await?;
        let info = answer.info.get("info").context("no verbose answer")?;
        let info: serde_json::Value = serde_json::from_str(info)?;
        let pid = info["pid"].as_i64().context("no process id")?;
        Ok(pid.try_into()?)
    }

    /// Asks it to end, and kills it after so many seconds.
    pub async fn stop(&self, seconds: i64) -> Result<()> {
        let request = v1::StopContainerRequest {
            container_id: self.id.clone(),
            timeout: seconds,
        };
        self.pod.cri.client().stop_container(request).await?;
        Ok(())
    }

    /// Removes it from the pod.
    pub async fn remove(&self) -> Result<()> {
        let request = v1::RemoveContainerRequest {
            container_id: self.id.clone(),
        };
        self.pod.cri.client().remove_container(request).await?;
        Ok(())
    }

    /// Executes a command in it, as a kubelet's probe does: exit code and standard output.
    ///
    /// # Errors
    /// What the runtime says where nothing was executed.
    pub async fn exec(&self, command: &[&str]) -> Result<(i32, String)> {
        let request = v1::ExecSyncRequest {
            container_id: self.id.clone(),
            cmd: command.iter().map(ToString::to_string).collect(),
            timeout: 20,
        };
        let answer = self.pod.cri.client().exec_sync(request).await?.into_inner();
        let output = String::from_utf8_lossy(&answer.stdout).into_owned();
        Ok((answer.exit_code, output))
    }

    /// What it uses.
    pub async fn stats(&self) -> Result<v1::ContainerStats> {
        let request = v1::ContainerStatsRequest {
            container_id: self.id.clone(),
        };
        let answer = self.pod.cri.client().container_stats(request).await?;
        answer.into_inner().stats.context("no stats")
    }

    /// The text of the file of its cgroup, of the controller `controller` where there are several hierarchies.
    pub async fn cgroup_file(&self, controller: &str, file: &str) -> Result<String> {
        let membership = fs::read_to_string(format!("/proc/{}/cgroup", self.pid().await?))?;
        let path = |names: &str| {
            membership.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let found = parts.next()?.split(',').any(|name| name == names);
                found.then(|| parts.next()).flatten()
            })
        };
        let folder = match (path(controller), path("")) {
            (Some(path), _) => format!("/sys/fs/cgroup/{controller}{path}"),
            (None, Some(path)) => format!("/sys/fs/cgroup{path}"),
            (None, None) => bail!("no cgroup of {controller} in:\n{membership}"),
        };
        let path = Path::new(&folder).join(file);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// Its log, line by line; what is not in the format of the interface is an error.
    pub fn log(&self) -> Result<Vec<LogLine>> {
        let text = fs::read_to_string(&self.log).context("reading the log")?;
        text.lines().map(log_line).collect()
    }

    /// The log's file.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// Waits for a line of the log that holds `part`.
    pub async fn logs(&self, part: &str) -> Result<LogLine> {
        let started = Instant::now();
        loop {
            let lines = self.log()?;
            if let Some(line) = lines.iter().find(|line| line.text.contains(part)) {
                return Ok(line.clone());
            }
            if started.elapsed() > PATIENCE {
                bail!("no line of the log held {part:?}: {lines:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// `2006-01-02T15:04:05.999999999Z stdout F text`.
fn log_line(line: &str) -> Result<LogLine> {
    let mut words = line.splitn(4, ' ');
    let (time, stream) = (words.next(), words.next());
    let (tag, text) = (words.next(), words.next());
    let time = time.filter(|time| time.len() > 20 && time.as_bytes()[10] == b'T');
    let stream = stream.filter(|stream| ["stdout", "stderr"].contains(stream));
    let tag = tag.filter(|tag| ["F", "P"].contains(tag));
    match (time, stream, tag, text) {
        (Some(_), Some(stream), Some(_), Some(text)) => Ok(LogLine {
            stream: stream.to_owned(),
            text: text.to_owned(),
        }),
        _ => bail!("not a line of a log: {line:?}"),
    }
}
