//! The node: containerd with runc and catena, kubelet, kube-proxy.

use std::fs;

use anyhow::{Context, Result};
use serde_json::json;

use super::daemon::Daemon;
use super::plane::flags;
use super::{NODE, Places};
use crate::containerd::{Containerd, PAUSE_IMAGE, Runtime};
use crate::cri::BUSYBOX_IMAGE;
use crate::cri::network::Network;
use crate::layout;
use crate::workspace;

/// The name of another shim, which catena stands in for.
const DROP_IN: &str = "containerd-shim-spin-v2";
/// Handlers and types: runc's is for pods that ask for none.
const RUNTIMES: [Runtime; 3] = [
    ("runc", "io.containerd.runc.v2"),
    ("catena", "io.containerd.catena.v1"),
    ("spin", "io.containerd.spin.v2"),
];

/// Its processes, in the order in which they have to end.
pub(super) struct Node {
    kubelet: Option<Daemon>,
    proxy: Daemon,
    /// The daemon that makes its pods.
    pub(super) containerd: Containerd,
}

impl Node {
    /// Starts all.
    pub(super) fn start(places: &Places, network: &Network) -> Result<Self> {
        let containerd = Containerd::start_with_pods(&RUNTIMES, |folder| {
            network.describe(folder, &["0.0.0.0/0"])?;
            Ok(None)
        })?;
        containerd.add_shim(DROP_IN, &workspace::binary()?)?;
        let forever = ["/bin/busybox", "sleep", "2147483647"];
        for (name, entrypoint) in [(PAUSE_IMAGE, &forever[..]), (BUSYBOX_IMAGE, &[])] {
            let archive = containerd.path("image.tar");
            fs::write(&archive, layout::busybox(name, entrypoint)?.archive()?)?;
            containerd.import(&archive)?;
        }
        describe(places)?;
        let subject = format!("/O=system:nodes/CN=system:node:{NODE}");
        places
            .authority
            .kubeconfig("kubelet", &subject, &places.server())?;
        Ok(Self {
            kubelet: Some(kubelet(places, &containerd)?),
            proxy: proxy(places)?,
            containerd,
        })
    }

    /// Fails when one of them has ended.
    pub(super) fn runs(&mut self) -> Result<()> {
        let kubelet = self.kubelet.as_mut().context("no kubelet")?;
        kubelet.runs()?;
        self.proxy.runs()
    }

    /// Kills the kubelet and starts it again. What runs, runs on.
    pub(super) fn restart_kubelet(&mut self, places: &Places) -> Result<()> {
        if let Some(kubelet) = self.kubelet.take() {
            kubelet.kill()?;
        }
        self.kubelet = Some(kubelet(places, &self.containerd)?);
        Ok(())
    }
}

/// The kubelet's configuration.
fn describe(places: &Places) -> Result<()> {
    // No name server is asked.
    let names = places.folder.join("resolv.conf");
    fs::write(&names, "nameserver 127.0.0.1\n")?;
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": places.address,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": places.authority.path("ca.pem")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": places.cgroup,
        "clusterDNS": ["10.96.0.10"],
        "clusterDomain": "cluster.local",
        // A full disk of this machine, or one that swaps, is nobody's concern here.
        "evictionHard": {"memory.available": "50Mi"},
        "imageGCHighThresholdPercent": 100,
        "failSwapOn": false,
        // It may not lower its own score.
        "oomScoreAdj": 0,
        "resolvConf": names,
        // Its socket would be at a fixed place.
        "featureGates": {"DevicePlugins": false},
        "nodeStatusUpdateFrequency": "2s",
    });
    let path = places.folder.join("kubelet.conf");
    fs::write(path, config.to_string()).context("describing the kubelet")
}

fn kubelet(places: &Places, containerd: &Containerd) -> Result<Daemon> {
    let at = |name: &str| places.folder.join(name).display().to_string();
    let arguments = [
        ("config", at("kubelet.conf")),
        ("kubeconfig", places.authority.text("kubelet.conf")),
        ("root-dir", at("kubelet")),
        ("cert-dir", at("kubelet-pki")),
        ("volume-plugin-dir", at("volume-plugins")),
        ("container-runtime", "remote".to_owned()),
        (
            "container-runtime-endpoint",
            format!("unix://{}", containerd.address().display()),
        ),
        ("hostname-override", NODE.to_owned()),
        ("node-ip", places.address.clone()),
        ("v", "2".to_owned()),
    ];
    places.daemon("kubelet", &flags(&arguments))
}

fn proxy(places: &Places) -> Result<Daemon> {
    let subject = "/CN=system:kube-proxy";
    let config = places
        .authority
        .kubeconfig("kube-proxy", subject, &places.server())?;
    let none = || "0".to_owned();
    let arguments = [
        ("kubeconfig", config.display().to_string()),
        ("proxy-mode", "iptables".to_owned()),
        ("hostname-override", NODE.to_owned()),
        // The machine's own tables of connections stay as they are.
        ("conntrack-max-per-core", none()),
        ("conntrack-tcp-timeout-established", none()),
        ("conntrack-tcp-timeout-close-wait", none()),
        ("masquerade-all", "true".to_owned()),
        ("v", "2".to_owned()),
    ];
    places.daemon("kube-proxy", &flags(&arguments))
}
