//! kubectl, as a user has it, in one namespace of the cluster.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::pack::{self, Output};

/// How long something may take that a cluster does step by step.
const PATIENCE: Duration = Duration::from_secs(120);

/// The command, and where it works.
#[derive(Clone, Debug)]
pub struct Kubectl {
    pub(super) program: PathBuf,
    pub(super) config: PathBuf,
    pub(super) namespace: String,
}

impl Kubectl {
    /// The same in another namespace.
    #[must_use]
    pub fn at(&self, namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        Self {
            namespace,
            ..self.clone()
        }
    }

    /// With these arguments, to be run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.config);
        command.args(["--namespace", &self.namespace]);
        command.args(arguments).stdin(Stdio::null());
        // Its caches.
        command.env("HOME", self.config.with_file_name("home"));
        command
    }

    /// With these arguments, to its end.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        pack::run(&mut self.command(arguments))
    }

    /// The same, and it has to succeed; what it printed.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        if !output.success {
            bail!("kubectl {}:\n{}", arguments.join(" "), output.stderr);
        }
        Ok(output.stdout)
    }

    /// `kubectl apply` of a manifest's text.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        let mut command = self.command(&["apply", "--filename", "-"]);
        let command = command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).spawn()?;
        let mut input = child.stdin.take().context("taking stdin")?;
        input.write_all(manifest.as_bytes())?;
        drop(input);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("kubectl apply:\n{said}\nof:\n{manifest}");
        }
        Ok(())
    }

    /// `kubectl get` of these, as JSON.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let get = ["get", "--output", "json"];
        let said = self.ok(&[&get, arguments].concat())?;
        serde_json::from_str(&said).with_context(|| format!("no JSON: {said}"))
    }

    /// What the API server answers to a `GET` of this path.
    pub fn raw(&self, path: &str) -> Result<Value> {
        let said = self.ok(&["get", "--raw", path])?;
        serde_json::from_str(&said).with_context(|| format!("no JSON: {said}"))
    }

    /// The reasons and messages of all events about an object, a line each.
    pub fn events(&self, object: &str) -> Result<String> {
        let columns = "custom-columns=TYPE:.type,REASON:.reason,MESSAGE:.message";
        let about = format!("involvedObject.name={object}");
        self.ok(&[
            "get",
            "events",
            "--field-selector",
            &about,
            "--output",
            columns,
        ])
    }

    /// A pod's status of its only container, once it is as `is` wants it.
    pub fn container(&self, pod: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let found = until(|| {
            let told = self.get(&["pod", pod])?;
            last = told["status"].clone();
            let status = last["containerStatuses"][0].clone();
            Ok((!status.is_null() && is(&status)).then_some(status))
        })?;
        found.with_context(|| {
            let events = self.events(pod).unwrap_or_default();
            format!("the pod {pod} does not come so far: {last:#}\n{events}")
        })
    }

    /// The address of a pod that is ready.
    pub fn ready(&self, pod: &str) -> Result<String> {
        self.container(pod, |status| status["ready"] == true)?;
        let told = self.get(&["pod", pod])?;
        let address = told["status"]["podIP"].as_str();
        Ok(address.context("a pod without an address")?.to_owned())
    }
}

/// Asks until there is an answer; `None` where there was none for too long.
pub fn until<T>(mut ask: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(found) = ask()? {
            return Ok(Some(found));
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    Ok(None)
}
