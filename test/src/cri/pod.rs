//! The sandbox of a pod: made, asked, removed.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result};
use tonic::transport::Channel;

use super::container::Container;
use super::v1::runtime_service_client::RuntimeServiceClient;
use super::{Cri, HANDLER, v1};
use crate::client::{Client, Response};

/// A pod to be.
pub struct Pod<'a> {
    cri: &'a Cri,
    config: v1::PodSandboxConfig,
    handler: &'static str,
}

impl<'a> Pod<'a> {
    pub(super) fn new(cri: &'a Cri, name: &str) -> Self {
        let logs = cri.containerd().path("logs").join(name);
        let config = v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("{name}-uid"),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            log_directory: logs.display().to_string(),
            linux: Some(v1::LinuxPodSandboxConfig {
                cgroup_parent: cri.driver().parent(cri.containerd().group()),
                security_context: Some(v1::LinuxSandboxSecurityContext {
                    namespace_options: Some(own_processes()),
                    seccomp: Some(runtime_default()),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        Self {
            cri,
            config,
            handler: HANDLER,
        }
    }

    /// Under another runtime of the daemon.
    pub fn under(mut self, handler: &'static str) -> Self {
        self.handler = handler;
        self
    }

    fn namespaces(&mut self) -> &mut v1::NamespaceOption {
        let linux = self.config.linux.get_or_insert_default();
        let context = linux.security_context.get_or_insert_default();
        context.namespace_options.get_or_insert_default()
    }

    /// On the host's network.
    pub fn on_host_network(mut self) -> Self {
        self.namespaces().network = v1::NamespaceMode::Node.into();
        self.config.hostname.clear();
        self
    }

    /// Its containers see each other's processes.
    pub fn with_shared_processes(mut self) -> Self {
        self.namespaces().pid = v1::NamespaceMode::Pod.into();
        self
    }

    /// With this setting of the kernel.
    pub fn sysctl(mut self, name: &str, value: &str) -> Self {
        let linux = self.config.linux.get_or_insert_default();
        linux.sysctls.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Makes it.
    pub async fn start(mut self) -> Result<Sandbox<'a>> {
        std::fs::create_dir_all(&self.config.log_directory)?;
        let namespaces = self.namespaces().clone();
        let mut client = self.cri.client();
        let request = v1::RunPodSandboxRequest {
            config: Some(self.config.clone()),
            runtime_handler: self.handler.to_owned(),
        };
        let made = client
            .run_pod_sandbox(request)
            .await
            .with_context(|| format!("containerd's log:\n{}", self.cri.containerd().log()))?;
        let id = made.into_inner().pod_sandbox_id;
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id: id.clone(),
            verbose: false,
        };
        let status = client.pod_sandbox_status(request).await?.into_inner();
        let network = status.status.unwrap_or_default().network;
        Ok(Sandbox {
            cri: self.cri,
            id,
            config: self.config,
            namespaces,
            ip: network.unwrap_or_default().ip.parse().ok(),
        })
    }
}

/// What a kubelet asks for where a pod says nothing: one network, processes apart.
fn own_processes() -> v1::NamespaceOption {
    v1::NamespaceOption {
        pid: v1::NamespaceMode::Container.into(),
        ..Default::default()
    }
}

pub(super) fn runtime_default() -> v1::SecurityProfile {
    v1::SecurityProfile {
        profile_type: v1::security_profile::ProfileType::RuntimeDefault.into(),
        ..Default::default()
    }
}

/// A pod that is there.
pub struct Sandbox<'a> {
    pub(super) cri: &'a Cri,
    /// Its name in containerd.
    pub id: String,
    pub(super) config: v1::PodSandboxConfig,
    pub(super) namespaces: v1::NamespaceOption,
    ip: Option<IpAddr>,
}

impl Sandbox<'_> {
    /// A container to be in it.
    pub fn container(&self, image: &str, name: &str) -> Container<'_> {
        Container::new(self, image, name)
    }

    /// Its address; a pod on the host's network has none.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// Where it is reached at `port`.
    pub fn address(&self, port: u16) -> Result<SocketAddr> {
        Ok((self.ip.context("the pod has no address")?, port).into())
    }

    /// A `GET` at `port`, on a connection of its own.
    pub async fn get(&self, port: u16, path: &str) -> Result<Response> {
        Client::http1(self.address(port)?).await?.get(path).await
    }

    /// The status of the container called `name`, started or not.
    pub async fn status_of(&self, name: &str) -> Result<v1::ContainerStatus> {
        let mut client = self.cri.client();
        let all = client.list_containers(v1::ListContainersRequest::default());
        let all = all.await?.into_inner().containers;
        let named = |container: &v1::Container| {
            let metadata = container.metadata.as_ref();
            metadata.is_some_and(|metadata| metadata.name == name)
        };
        let container = all.into_iter().find(named).context("no such container")?;
        let request = v1::ContainerStatusRequest {
            container_id: container.id,
            verbose: false,
        };
        let answer = client.container_status(request).await?.into_inner();
        answer.status.context("no status")
    }

    /// The cgroup that was asked for.
    pub fn cgroup_parent(&self) -> &str {
        let linux = self.config.linux.as_ref();
        linux.map_or("", |linux| &linux.cgroup_parent)
    }

    /// Where its containers' logs are.
    pub(super) fn logs(&self) -> PathBuf {
        PathBuf::from(&self.config.log_directory)
    }

    /// Ends and removes it with all that is in it.
    pub async fn remove(&self) -> Result<()> {
        remove(&mut self.cri.client(), &self.id).await
    }
}

pub(super) async fn remove(client: &mut RuntimeServiceClient<Channel>, id: &str) -> Result<()> {
    let pod_sandbox_id = id.to_owned();
    let stop = v1::StopPodSandboxRequest {
        pod_sandbox_id: pod_sandbox_id.clone(),
    };
    client.stop_pod_sandbox(stop).await?;
    let remove = v1::RemovePodSandboxRequest { pod_sandbox_id };
    client.remove_pod_sandbox(remove).await?;
    Ok(())
}
