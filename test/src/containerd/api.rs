//! containerd's gRPC API, for what `ctr` cannot say: a container of an image that was not unpacked, which has no root
//! file system but what the shim reads from the content store.

pub use containerd_client::tonic::{Code, Status};

use anyhow::{Context, Result};
use containerd_client::services::v1::container::Runtime;
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    Container, CreateContainerRequest, CreateTaskRequest, StartRequest,
};
use containerd_client::tonic::Request;
use containerd_client::tonic::transport::Channel;
use serde_json::{Value, json};

use crate::containerd::{Containerd, Task};

/// What containerd calls an OCI specification.
const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// A connection to a daemon.
pub struct Api<'a> {
    containerd: &'a Containerd,
    channel: Channel,
}

impl<'a> Api<'a> {
    pub(super) async fn connect(containerd: &'a Containerd) -> Result<Self> {
        let channel = containerd_client::connect(containerd.address())
            .await
            .context("connecting to containerd")?;
        Ok(Self {
            containerd,
            channel,
        })
    }

    /// Makes a container of `image` with no snapshot, and starts it in the host's network. A refusal is the
    /// [`Status`] in the error.
    pub async fn start(&self, image: &str, id: &str) -> Result<Task<'a>> {
        let mut container = Container {
            id: id.to_owned(),
            image: image.to_owned(),
            runtime: Some(Runtime {
                name: self.containerd.runtime().to_owned(),
                options: None,
            }),
            spec: Some(Default::default()),
            ..Default::default()
        };
        if let Some(spec) = &mut container.spec {
            SPEC.clone_into(&mut spec.type_url);
            spec.value = serde_json::to_vec(&self.spec(id)?)?;
        }
        let request = CreateContainerRequest {
            container: Some(container),
        };
        ContainersClient::new(self.channel.clone())
            .create(self.request(request)?)
            .await
            .context("making the container")?;
        let mut tasks = TasksClient::new(self.channel.clone());
        let create = CreateTaskRequest {
            container_id: id.to_owned(),
            ..Default::default()
        };
        let created = tasks.create(self.request(create)?).await;
        created.context("making the task")?;
        let start = StartRequest {
            container_id: id.to_owned(),
            ..Default::default()
        };
        let started = tasks.start(self.request(start)?).await;
        started.context("starting the task")?;
        Task::find(self.containerd, id)
    }

    /// containerd's own default, in the host's network and with what an image or a client adds.
    fn spec(&self, id: &str) -> Result<Value> {
        let mut spec: Value = serde_json::from_str(&self.containerd.ctr_ok(&["oci", "spec"])?)
            .context("reading containerd's default specification")?;
        spec["process"]["args"] = json!(["/"]);
        spec["process"]["env"] = json!(["SPIN_HTTP_LISTEN_ADDR=127.0.0.1:0"]);
        let namespaces = spec["linux"]["namespaces"].as_array_mut();
        namespaces
            .context("a specification without namespaces")?
            .retain(|namespace| namespace["type"] != "network");
        spec["linux"]["cgroupsPath"] = json!(format!("/{}/{id}", self.containerd.namespace()));
        Ok(spec)
    }

    fn request<T>(&self, message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        let namespace = self.containerd.namespace().parse()?;
        request
            .metadata_mut()
            .insert("containerd-namespace", namespace);
        Ok(request)
    }
}
