//! A whole Kubernetes on one machine: etcd, API server, controllers, scheduler, kubelet and kube-proxy, on a containerd
//! of the test's own that has catena beside runc. It runs on a machine apart ([`apart`]), and ends with it.

mod apart;
mod authority;
mod daemon;
mod kubectl;
mod node;
mod plane;

pub use apart::{Apart, apart};
pub use kubectl::{Kubectl, until};

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::containerd::Containerd;
use crate::cri::network::Network;
use crate::pack::{Form, Packed};
use crate::workspace;
use authority::Authority;
use daemon::Daemon;
use node::Node;
use plane::Plane;

/// The name of the only node.
pub const NODE: &str = "node";

/// Where everything is.
struct Places {
    /// The folder of Kubernetes' programs.
    programs: PathBuf,
    /// The cluster's own folder.
    folder: PathBuf,
    /// The cgroup of all pods.
    cgroup: String,
    /// The machine's address on the network of the pods.
    address: String,
    /// Keys and certificates.
    authority: Authority,
}

impl Places {
    /// Starts a part of the cluster.
    fn daemon(&self, name: &str, arguments: &[String]) -> Result<Daemon> {
        Daemon::start(&self.programs, &self.folder, name, arguments)
    }

    /// The API server's address.
    fn server(&self) -> String {
        format!("https://{}:6443", self.address)
    }
}

/// A cluster. In the order in which its parts have to end.
pub struct Cluster {
    node: Node,
    plane: Plane,
    kubectl: Kubectl,
    places: Places,
    _network: Network,
}

impl Cluster {
    /// Starts one, and waits until its node is ready.
    pub fn start(apart: &Apart) -> Result<Self> {
        let network = Network::new()?;
        let address = network.host().to_string();
        // A service's address has to lead somewhere before it is replaced by a pod's.
        apart::ip(&["route", "add", "default", "via", &address])?;
        let places = Places {
            programs: programs()?,
            folder: apart.folder.clone(),
            cgroup: apart.cgroup.clone(),
            address,
            authority: Authority::new(&apart.folder)?,
        };
        let plane = Plane::start(&places)?;
        let admin = "/O=system:masters/CN=admin";
        let config = places
            .authority
            .kubeconfig("admin", admin, &places.server())?;
        let kubectl = Kubectl {
            program: places.programs.join("kubectl"),
            config,
            namespace: "default".to_owned(),
        };
        let mut cluster = Self {
            node: Node::start(&places, &network)?,
            plane,
            kubectl,
            places,
            _network: network,
        };
        cluster.is_ready()?;
        Ok(cluster)
    }

    fn is_ready(&mut self) -> Result<()> {
        let ready = until(|| {
            self.plane.runs()?;
            self.node.runs()?;
            let wait = [
                "wait",
                "--for=condition=Ready",
                "--timeout=1s",
                "node",
                NODE,
            ];
            Ok(self.kubectl.run(&wait)?.success.then_some(()))
        })?;
        ready.with_context(|| {
            let told = self.kubectl.run(&["describe", "node", NODE]);
            format!(
                "the node is not ready: {told:?}\n{}",
                self.containerd().log()
            )
        })
    }

    /// kubectl.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// kubectl in a new namespace, in which pods can be made.
    pub fn namespace(&self, name: &str) -> Result<Kubectl> {
        let kubectl = self.kubectl.at(name);
        kubectl.ok(&["create", "namespace", name])?;
        let ready = until(|| {
            let account = kubectl.run(&["get", "serviceaccount", "default", "--output", "json"])?;
            Ok(account.stdout.contains("\"secrets\"").then_some(()))
        })?;
        ready.with_context(|| format!("the namespace {name} gets no account"))?;
        Ok(kubectl)
    }

    /// Gives the node the image of an app; its name.
    pub fn app(&self, app: &str) -> Result<String> {
        self.containerd()
            .import(Packed::app(app, Form::Rootfs)?.path())
    }

    /// The containerd of its node.
    pub fn containerd(&self) -> &Containerd {
        &self.node.containerd
    }

    /// One of Kubernetes' programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.places.programs.join(name)
    }

    /// Ends containerd and starts it again. What runs, runs on.
    pub fn restart_containerd(&mut self) -> Result<()> {
        self.node.containerd.restart()
    }

    /// Kills the kubelet and starts it again.
    pub fn restart_kubelet(&mut self) -> Result<()> {
        self.node.restart_kubelet(&self.places)?;
        self.is_ready()
    }

    /// The cluster's folder.
    pub fn folder(&self) -> &Path {
        &self.places.folder
    }
}

/// The folder of Kubernetes' programs.
fn programs() -> Result<PathBuf> {
    let folder = workspace::root().join("target/kubernetes/bin");
    let kubelet = folder.join("kubelet");
    if !kubelet.is_file() {
        anyhow::bail!(
            "{} is missing: `make test-k8s` builds it",
            kubelet.display()
        );
    }
    Ok(folder)
}
