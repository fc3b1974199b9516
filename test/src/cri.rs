//! Pods, as a kubelet makes them: a containerd of the test's own with its CRI plugin, on a network of its own, and a
//! client of the container runtime interface. Everything in a pod, the sandbox and ordinary containers too, runs
//! under catena. What was made is gone when it is dropped.

mod cgroups;
mod container;
pub(crate) mod network;
mod pod;
mod volume;

pub use cgroups::Driver;
pub use container::{Container, LogLine, Started};
pub use pod::{Pod, Sandbox};
pub use volume::Volume;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tonic::transport::Channel;

use crate::containerd::{Containerd, PAUSE_IMAGE, Runtime};
use crate::layout;
use crate::output::PATIENCE;
use network::Network;
use v1::image_service_client::ImageServiceClient;
use v1::runtime_service_client::RuntimeServiceClient;

/// The interface, generated from Kubernetes' own description of it.
pub mod v1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    tonic::include_proto!("runtime.v1");
}

/// The image of an ordinary Linux container: busybox.
pub const BUSYBOX_IMAGE: &str = "localhost/busybox:1";
/// Catena's name in containerd's configuration.
const HANDLER: &str = "catena";
/// Its name and its type.
const CATENA: Runtime = (HANDLER, "io.containerd.catena.v1");

/// A daemon that makes pods, and its client. In the order in which they have to end.
pub struct Cri {
    client: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    containerd: Containerd,
    driver: Driver,
    _network: Network,
}

impl Cri {
    /// Starts one that has the images of the sandbox and of busybox.
    pub async fn start() -> Result<Self> {
        Self::start_with(Driver::Cgroupfs).await
    }

    /// The same, with cgroups that `driver` manages.
    pub async fn start_with(driver: Driver) -> Result<Self> {
        Self::launch(driver, &[CATENA]).await
    }

    /// The same, with further runtimes, for [`Pod::under`].
    pub async fn start_beside(others: &[Runtime]) -> Result<Self> {
        Self::launch(Driver::Cgroupfs, &[&[CATENA], others].concat()).await
    }

    async fn launch(driver: Driver, runtimes: &[Runtime]) -> Result<Self> {
        let network = Network::new()?;
        let containerd = Containerd::start_with_pods(runtimes, |folder| {
            network.describe(folder, &[])?;
            driver.options(folder)
        })?;
        let channel = channel(&containerd).await?;
        let mut cri = Self {
            client: RuntimeServiceClient::new(channel.clone()),
            images: ImageServiceClient::new(channel),
            containerd,
            driver,
            _network: network,
        };
        cri.is_ready().await?;
        // The sandbox ignores SIGTERM, as the first process of its namespace; containerd kills it.
        let forever = ["/bin/busybox", "sleep", "2147483647"];
        for (name, entrypoint) in [(PAUSE_IMAGE, &forever[..]), (BUSYBOX_IMAGE, &[])] {
            let archive = cri.containerd.path("image.tar");
            std::fs::write(&archive, layout::busybox(name, entrypoint)?.archive()?)?;
            cri.import(&archive).await?;
        }
        Ok(cri)
    }

    async fn connect(&mut self) -> Result<()> {
        let channel = channel(&self.containerd).await?;
        self.client = RuntimeServiceClient::new(channel.clone());
        self.images = ImageServiceClient::new(channel);
        Ok(())
    }

    /// Waits until the plugin and the network are.
    async fn is_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            let status = self.client.status(v1::StatusRequest::default()).await;
            let ready = status.map(|answer| {
                let conditions = answer.into_inner().status.unwrap_or_default().conditions;
                !conditions.is_empty() && conditions.iter().all(|condition| condition.status)
            });
            match ready {
                Ok(true) => return Ok(()),
                _ if started.elapsed() < PATIENCE => {}
                other => bail!(
                    "no pods can be made ({other:?}); containerd's log:\n{}",
                    self.containerd.log()
                ),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Imports an archive, and waits until the plugin has heard of it; the image's name.
    pub async fn import(&self, archive: &Path) -> Result<String> {
        let name = self.containerd.import(archive)?;
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let request = v1::ImageStatusRequest {
                image: Some(image(&name)),
                ..Default::default()
            };
            let answer = self.images.clone().image_status(request).await?;
            if answer.into_inner().image.is_some() {
                return Ok(name);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("containerd's CRI plugin does not see the image {name}");
    }

    /// Pulls an image, as a kubelet does.
    pub async fn pull(&self, name: &str) -> Result<()> {
        let request = v1::PullImageRequest {
            image: Some(image(name)),
            ..Default::default()
        };
        let pulled = self.images.clone().pull_image(request).await;
        pulled.with_context(|| format!("pulling {name}"))?;
        Ok(())
    }

    /// A pod to be.
    pub fn pod(&self, name: &str) -> Pod<'_> {
        Pod::new(self, name)
    }

    /// Ends containerd and starts it again. What runs, runs on.
    pub async fn restart(&mut self) -> Result<()> {
        self.containerd.restart()?;
        self.connect().await?;
        self.is_ready().await
    }

    /// Ends and removes a pod.
    pub async fn remove_pod(&self, id: &str) -> Result<()> {
        pod::remove(&mut self.client(), id).await
    }

    /// The client itself.
    pub fn client(&self) -> RuntimeServiceClient<Channel> {
        self.client.clone()
    }

    /// Who manages the pods' cgroups.
    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// The daemon.
    pub fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    /// Ends and removes all pods.
    async fn clear(&self) -> Result<()> {
        let mut client = self.client();
        let listed = client
            .list_pod_sandbox(v1::ListPodSandboxRequest::default())
            .await?;
        for sandbox in listed.into_inner().items {
            pod::remove(&mut client, &sandbox.id).await?;
        }
        Ok(())
    }
}

async fn channel(containerd: &Containerd) -> Result<Channel> {
    let channel = containerd_client::connect(containerd.address()).await;
    channel.context("connecting to containerd")
}

fn image(name: &str) -> v1::ImageSpec {
    v1::ImageSpec {
        image: name.to_owned(),
        ..Default::default()
    }
}

impl Drop for Cri {
    fn drop(&mut self) {
        // A runtime of its own: the test's must not be blocked. What has failed already is not told again.
        std::thread::scope(|scope| {
            let cleared = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(async {
                    self.connect().await?;
                    let all = tokio::time::timeout(PATIENCE, self.clear()).await;
                    all.context("removing the pods")?
                })
            });
            drop(cleared.join());
        });
    }
}
