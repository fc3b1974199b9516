//! The node itself: what it survives, and how catena comes onto it.

use std::fs;

use anyhow::{Context, Result, bail};
use catena_test::kubernetes::Cluster;
use catena_test::node::{make_bundle, make_image};
use catena_test::{layout, workspace};
use serde_json::json;

use crate::manifests::{answer, file, get, pod, runtime};

/// The image with which the DaemonSet labels its node.
const LABELLER: &str = "registry.k8s.io/kubectl:v1.34.1";
/// The handler that the DaemonSet adds here, where catena's own is there already.
const INSTALLED: &str = "installed";

/// The same container goes on, and can be ended afterwards.
pub(crate) fn a_restart_of_kubelet_and_containerd_is_survived(cluster: &mut Cluster) -> Result<()> {
    let kubectl = cluster.namespace("restarts")?;
    let image = cluster.app("hello")?;
    kubectl.apply(&pod("hello", &image).to_string())?;
    let before = kubectl.container("hello", |status| status["ready"] == true)?;
    let address = format!("{}:8080", kubectl.ready("hello")?);
    let runtime = runtime()?;
    cluster.restart_containerd()?;
    assert_eq!(
        runtime.block_on(get(&address, "/"))?.text(),
        "Hello from catena\n"
    );
    cluster.restart_kubelet()?;
    // A new kubelet asks its probes before it says that a container is ready.
    let after = kubectl.container("hello", |status| status["ready"] == true)?;
    assert_eq!(after["containerID"], before["containerID"]);
    assert_eq!(after["restartCount"], 0);
    answer(&runtime, &address, "/")?;
    kubectl.ok(&["delete", "pod", "hello", "--timeout=120s"])?;
    let id = before["containerID"].as_str().context("no container")?;
    let id = id.trim_start_matches("containerd://");
    cluster.containerd().nothing_is_left_of(id)
}

/// `deploy/kubernetes/catena.yaml`: the installer's image on a node, its label, the class that selects by it. Only where
/// things lie on the node is changed, and that nobody restarts containerd, which is no service here.
pub(crate) fn the_daemon_set_installs_what_its_class_runs(cluster: &mut Cluster) -> Result<()> {
    let at = |name: &str| cluster.folder().join("installed").join(name);
    fs::create_dir(at(""))?;
    make_bundle(&workspace::binary()?, &at("bundle"), &at("opt"))?;
    make_image(&at("bundle"), &at("installer.tar"))?;
    cluster.containerd().import(&at("installer.tar"))?;
    let labeller = layout::linux(LABELLER, &cluster.program("kubectl"), &["/bin/kubectl"])?;
    fs::write(at("labeller.tar"), labeller.archive()?)?;
    cluster.containerd().import(&at("labeller.tar"))?;

    let bin = cluster.containerd().path("bin");
    let config = cluster.containerd().path("config.toml");
    let places = [
        ("HANDLER", INSTALLED.to_owned()),
        ("CONTAINERD_CONFIG", config.display().to_string()),
        ("BIN_DIR", bin.display().to_string()),
        ("CACHE_DIR", at("cache").display().to_string()),
        ("RESTART", "0".to_owned()),
        ("PREFIX", at("opt").display().to_string()),
        ("SHIM_TOML", at("shim.toml").display().to_string()),
        (
            "DROP_IN",
            bin.join("containerd-shim-spin-v2").display().to_string(),
        ),
    ];
    let mut manifest = fs::read_to_string(file("kubernetes/catena.yaml"))?;
    for (name, value) in places {
        manifest = set(&manifest, name, &value)?;
    }
    let (rest, class) = manifest
        .rsplit_once("---\n")
        .context("the manifest has one part")?;
    let class = class.replace("handler: catena", &format!("handler: {INSTALLED}"));
    let class = class.replacen("name: catena\n", &format!("name: {INSTALLED}\n"), 1);
    let kubectl = cluster.kubectl().at("kube-system");
    kubectl.apply(&format!("{rest}---\n{class}"))?;
    let rollout = ["rollout", "status", "daemonset/catena", "--timeout=120s"];
    let rolled = kubectl.run(&rollout)?;
    let said = kubectl.run(&["logs", "daemonset/catena", "--container", "install"])?;
    if !rolled.success {
        bail!(
            "{rolled:?}\n{said:?}\n{}",
            kubectl.ok(&["describe", "pods"])?
        );
    }
    assert!(said.stdout.contains("linked"), "{said:?}");
    let nodes = kubectl.ok(&["get", "nodes", "--selector", "catena/installed=true"])?;
    assert!(nodes.contains("Ready"), "the node has its label: {nodes:?}");
    for name in ["containerd-shim-catena-v1", "containerd-shim-spin-v2"] {
        let link = fs::read_link(bin.join(name))?;
        assert!(link.starts_with(at("opt")), "{}", link.display());
    }
    cluster.restart_containerd()?;

    let kubectl = cluster.namespace("installed")?;
    let image = cluster.app("hello")?;
    let mut hello = pod("hello", &image);
    hello["spec"]["runtimeClassName"] = json!(INSTALLED);
    kubectl.apply(&hello.to_string())?;
    let address = kubectl.ready("hello")?;
    let told = runtime()?.block_on(get(&format!("{address}:8080"), "/"))?;
    assert_eq!(told.text(), "Hello from catena\n");
    let selected = kubectl.get(&["pod", "hello"])?;
    assert_eq!(
        selected["spec"]["nodeSelector"]["catena/installed"], "true",
        "the class selects nodes: {selected:#}"
    );
    Ok(())
}

/// Sets a variable of the installer's container, or adds it.
fn set(manifest: &str, name: &str, value: &str) -> Result<String> {
    let named = format!("            - name: {name}\n");
    let line = format!("              value: \"{value}\"\n");
    if let Some((before, after)) = manifest.split_once(&named) {
        let (_, after) = after
            .split_once('\n')
            .context("a variable without a value")?;
        return Ok(format!("{before}{named}{line}{after}"));
    }
    let first = "            - name: HOST_ROOT\n";
    let (before, after) = manifest.split_once(first).context("no HOST_ROOT")?;
    Ok(format!("{before}{named}{line}{first}{after}"))
}
