//! The control plane.

use anyhow::Result;

use super::Places;
use super::daemon::Daemon;

/// The addresses of services.
const SERVICES: &str = "10.96.0.0/16";
/// The first of them is the API server's.
const FIRST_SERVICE: &str = "10.96.0.1";
const ETCD: &str = "http://127.0.0.1:2379";

/// Its processes.
pub(super) struct Plane {
    daemons: [Daemon; 4],
}

impl Plane {
    /// Starts all; who is first waits for the others.
    pub(super) fn start(places: &Places) -> Result<Self> {
        let authority = &places.authority;
        let (ca, accounts) = (authority.text("ca.pem"), authority.text("accounts.key"));
        let names = ["127.0.0.1", FIRST_SERVICE, &places.address].map(|ip| format!("IP:{ip}"));
        authority.issue("server", "/CN=kube-apiserver", &names)?;
        authority.issue("accounts", "/CN=accounts", &[])?;
        authority.issue("kubelet-client", "/O=system:masters/CN=kube-apiserver", &[])?;
        let client = |name: &str| {
            let subject = format!("/CN=system:{name}");
            let path = authority.kubeconfig(name, &subject, &places.server())?;
            anyhow::Ok(path.display().to_string())
        };
        let etcd = [
            ("data-dir", places.folder.join("etcd").display().to_string()),
            ("listen-client-urls", ETCD.to_owned()),
            ("advertise-client-urls", ETCD.to_owned()),
        ];
        let server = [
            ("etcd-servers", ETCD.to_owned()),
            ("advertise-address", places.address.clone()),
            ("client-ca-file", ca.clone()),
            ("tls-cert-file", authority.text("server.pem")),
            ("tls-private-key-file", authority.text("server.key")),
            (
                "kubelet-client-certificate",
                authority.text("kubelet-client.pem"),
            ),
            ("kubelet-client-key", authority.text("kubelet-client.key")),
            (
                "service-account-issuer",
                "https://kubernetes.default.svc".to_owned(),
            ),
            ("service-account-key-file", authority.text("accounts.pem")),
            ("service-account-signing-key-file", accounts.clone()),
            ("service-cluster-ip-range", SERVICES.to_owned()),
            ("authorization-mode", "Node,RBAC".to_owned()),
            ("enable-admission-plugins", "NodeRestriction".to_owned()),
            ("allow-privileged", "true".to_owned()),
            ("kubelet-preferred-address-types", "InternalIP".to_owned()),
        ];
        let controllers = [
            ("kubeconfig", client("kube-controller-manager")?),
            ("service-account-private-key-file", accounts),
            ("root-ca-file", ca),
            ("use-service-account-credentials", "true".to_owned()),
            ("leader-elect", "false".to_owned()),
            ("cert-dir", places.folder.display().to_string()),
        ];
        let scheduler = [
            ("kubeconfig", client("kube-scheduler")?),
            ("leader-elect", "false".to_owned()),
            ("cert-dir", places.folder.display().to_string()),
        ];
        Ok(Self {
            daemons: [
                places.daemon("etcd", &flags(&etcd))?,
                places.daemon("kube-apiserver", &flags(&server))?,
                places.daemon("kube-controller-manager", &flags(&controllers))?,
                places.daemon("kube-scheduler", &flags(&scheduler))?,
            ],
        })
    }

    /// Fails when one of them has ended.
    pub(super) fn runs(&mut self) -> Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::runs)
    }
}

/// `--name=value` of each.
pub(super) fn flags(pairs: &[(&str, String)]) -> Vec<String> {
    let flag = |(name, value): &(&str, String)| format!("--{name}={value}");
    pairs.iter().map(flag).collect()
}
