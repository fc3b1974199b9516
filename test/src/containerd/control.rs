//! What an operator does to a task that runs, and what the kernel says of it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{GetRequest, UpdateTaskRequest};
use containerd_client::tonic::Request;
use containerd_client::types::v1::Process;
use serde_json::Value;

use super::task::Task;
use crate::pack::Output;

/// The type of the resources in an update.
const RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

impl Task<'_> {
    /// `ctr tasks` with this command and these arguments, about this task.
    pub fn ctr(&self, command: &str, flags: &[&str], rest: &[&str]) -> Result<Output> {
        let mut arguments = vec!["tasks", command];
        arguments.extend(flags);
        arguments.push(self.id());
        arguments.extend(rest);
        self.containerd().ctr(&arguments)
    }

    /// `ctr tasks exec`, to its end; the exec's name is `exec_id`.
    pub fn exec(&self, exec_id: &str, command: &[&str]) -> Result<Output> {
        self.ctr("exec", &["--exec-id", exec_id], command)
    }

    /// Changes limits, for which `ctr` has no command. `resources` is of the OCI specification.
    pub async fn update(&self, resources: Value) -> Result<()> {
        let channel = containerd_client::connect(self.containerd().address()).await?;
        let mut request = Request::new(UpdateTaskRequest {
            container_id: self.id().to_owned(),
            resources: Some(prost_types::Any {
                type_url: RESOURCES.to_owned(),
                value: resources.to_string().into_bytes(),
            }),
            annotations: HashMap::new(),
        });
        let namespace = self.containerd().namespace().parse()?;
        let metadata = request.metadata_mut();
        metadata.insert("containerd-namespace", namespace);
        TasksClient::new(channel).update(request).await?;
        Ok(())
    }

    /// What containerd tells of its first process, or of the one that `exec_id` names.
    pub async fn process(&self, exec_id: &str) -> Result<Process> {
        let channel = containerd_client::connect(self.containerd().address()).await?;
        let mut request = Request::new(GetRequest {
            container_id: self.id().to_owned(),
            exec_id: exec_id.to_owned(),
        });
        let namespace = self.containerd().namespace().parse()?;
        let metadata = request.metadata_mut();
        metadata.insert("containerd-namespace", namespace);
        let told = TasksClient::new(channel).get(request).await?.into_inner();
        told.process
            .context("containerd tells nothing of the process")
    }

    /// `ctr tasks metrics`.
    pub fn metrics(&self) -> Result<Value> {
        let output = self.ctr("metrics", &["--format", "json"], &[])?;
        serde_json::from_str(&output.stdout).with_context(|| format!("{output:?}"))
    }

    /// What a file of the task's cgroup says: the first of `names` (`controller/file`) that is there. Version 1 of
    /// cgroups has a folder for each controller, version 2 one folder for all.
    pub fn cgroup(&self, names: &[&str]) -> Result<String> {
        let of_version_2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let listed = fs::read_to_string(format!("/proc/{}/cgroup", self.pid))?;
        for name in names {
            let (controller, file) = name
                .split_once('/')
                .context("a name without a controller")?;
            let place = listed.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let (controllers, path) = (parts.next()?, parts.next()?);
                let is_it = controllers.split(',').any(|one| one == controller);
                (is_it || of_version_2).then(|| path.trim_start_matches('/').to_owned())
            });
            let mut path = PathBuf::from("/sys/fs/cgroup");
            if !of_version_2 {
                path.push(controller);
            }
            path.push(place.with_context(|| format!("no controller {controller} in:\n{listed}"))?);
            path.push(file);
            if let Ok(text) = fs::read_to_string(&path) {
                return Ok(text.trim().to_owned());
            }
        }
        bail!("the kernel has none of {names:?}")
    }
}
