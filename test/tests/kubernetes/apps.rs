//! What a user does with an app in a cluster.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result};
use catena_test::kubernetes::{Cluster, NODE, until};
use catena_test::{Form, Packed};
use http::StatusCode;
use serde_json::{Value, json};

use crate::manifests::{answer, example, file, get, pod, runtime};

/// A service, and a command beside it.
const WITH_A_TOOL: &str = r#"
spin_manifest_version = 2
[application]
name = "tooled"
version = "0.1.0"
[[trigger.http]]
route = "/..."
component = "web"
[[trigger.command]]
component = "tool"
[component.web]
source = "GUESTS/hello.wasm"
[component.tool]
source = "GUESTS/command.wasm"
"#;

/// `deploy/examples`, as a user applies them: ready by its probes, behind its service.
pub(crate) fn the_example_is_deployed_and_answers(cluster: &mut Cluster) -> Result<()> {
    let kubectl = cluster.namespace("example")?;
    cluster.app("chain")?;
    kubectl.apply(&example()?)?;
    kubectl.ok(&["apply", "--filename", &file("examples/networkpolicy.yaml")])?;
    kubectl.ok(&["rollout", "status", "deployment/chain", "--timeout=120s"])?;
    let runtime = runtime()?;
    let pods = kubectl.get(&["pods"])?;
    let pods = pods["items"].as_array().context("no pods")?;
    assert_eq!(pods.len(), 2);
    for pod in pods {
        let status = &pod["status"]["containerStatuses"][0];
        assert_eq!(status["restartCount"], 0, "{status:#}");
        let id = status["containerID"].as_str().context("no container")?;
        assert!(id.starts_with("containerd://"), "{id}");
        let address = pod["status"]["podIP"].as_str().context("no address")?;
        let answer = runtime.block_on(get(&format!("{address}:8080"), "/"))?;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.text().contains("ledger"), "{}", answer.text());
    }
    let service = kubectl.get(&["service", "chain"])?;
    let address = service["spec"]["clusterIP"]
        .as_str()
        .context("no address")?;
    let answer = answer(&runtime, &format!("{address}:80"), "/")?;
    assert!(answer.text().contains("ledger"), "{}", answer.text());
    Ok(())
}

/// `kubectl logs`: what components print.
pub(crate) fn what_is_printed_is_the_pods_log(cluster: &mut Cluster) -> Result<()> {
    let kubectl = cluster.namespace("logs")?;
    let image = cluster.app("routes")?;
    kubectl.apply(&pod("routes", &image).to_string())?;
    let address = format!("{}:8080", kubectl.ready("routes")?);
    runtime()?.block_on(get(&address, "/print?out=to-stdout&err=to-stderr"))?;
    let told = until(|| {
        let log = kubectl.ok(&["logs", "routes"])?;
        let both = log.contains("to-stdout") && log.contains("to-stderr");
        Ok(both.then_some(()))
    })?;
    told.context("the log does not hold what was printed")
}

/// `kubectl exec`: a component that is a command, its exit code; what is none is refused with what there is.
pub(crate) fn a_command_is_executed_and_a_shell_is_refused(cluster: &mut Cluster) -> Result<()> {
    let kubectl = cluster.namespace("exec")?;
    let image = cluster
        .containerd()
        .import(Packed::text(WITH_A_TOOL, Form::Rootfs)?.path())?;
    kubectl.apply(&pod("tooled", &image).to_string())?;
    kubectl.ready("tooled")?;
    let output = kubectl.run(&["exec", "tooled", "--", "tool", "-v", "two words"])?;
    assert!(output.success, "{output:?}");
    for line in [
        "argument 0: tool",
        "argument 1: -v",
        "argument 2: two words",
    ] {
        assert!(output.stdout.contains(line), "{line}: {output:?}");
    }
    assert!(output.stderr.contains("the command has run"), "{output:?}");
    let output = kubectl.run(&["exec", "tooled", "--", "sh"])?;
    assert!(!output.success, "{output:?}");
    assert!(
        output.stderr.contains("web"),
        "the components are named: {output:?}"
    );
    assert!(
        output.stderr.contains("tool"),
        "the components are named: {output:?}"
    );
    // The app is as well as it was.
    kubectl.ready("tooled")?;
    Ok(())
}

/// `kubectl port-forward`.
pub(crate) fn a_port_is_forwarded(cluster: &mut Cluster) -> Result<()> {
    let kubectl = cluster.namespace("forward")?;
    let image = cluster.app("hello")?;
    kubectl.apply(&pod("hello", &image).to_string())?;
    kubectl.ready("hello")?;
    let mut command = kubectl.command(&["port-forward", "pod/hello", ":8080"]);
    let mut forward = command.stdout(Stdio::piped()).spawn()?;
    let stdout = forward.stdout.take().context("taking stdout")?;
    // Open to the end: it says every connection.
    let mut lines = BufReader::new(stdout).lines();
    let said = lines.next().context("nothing is said")??;
    // "Forwarding from 127.0.0.1:43210 -> 8080"
    let address = said
        .split_whitespace()
        .nth(2)
        .with_context(|| said.clone())?;
    let answers = runtime()?.block_on(async {
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(get(address, "/").await?.text());
        }
        anyhow::Ok(answers)
    });
    forward.kill()?;
    forward.wait()?;
    assert_eq!(answers?, ["Hello from catena\n"; 3]);
    Ok(())
}

/// An ordinary container in the app's pod, as one that collects logs or speaks TLS, and one of another pod under runc.
pub(crate) fn a_sidecar_calls_the_app_of_its_pod(cluster: &mut Cluster) -> Result<()> {
    let kubectl = cluster.namespace("sidecar")?;
    let image = cluster.app("hello")?;
    let mut with_side = pod("with-side", &image);
    let containers = with_side["spec"]["containers"]
        .as_array_mut()
        .context("no containers")?;
    containers.push(shell("side", "exec /bin/busybox sleep 1000"));
    kubectl.apply(&with_side.to_string())?;
    kubectl.ok(&[
        "wait",
        "--for=condition=Ready",
        "--timeout=120s",
        "pod/with-side",
    ])?;
    let ask = |pod: &str, address: &str| {
        let url = format!("http://{address}:8080/");
        let wget = ["/bin/busybox", "wget", "-q", "-O", "-", &url];
        kubectl.ok(&[&["exec", pod, "--container", "side", "--"], &wget[..]].concat())
    };
    assert_eq!(ask("with-side", "127.0.0.1")?, "Hello from catena\n");
    // Another pod, of the node's own runtime.
    let mut other = pod("other", "");
    other["spec"]["containers"] = json!([shell("side", "exec /bin/busybox sleep 1000")]);
    let spec = other["spec"].as_object_mut().context("no spec")?;
    spec.remove("runtimeClassName");
    kubectl.apply(&other.to_string())?;
    kubectl.ready("other")?;
    let told = kubectl.get(&["pod", "with-side"])?;
    let address = told["status"]["podIP"].as_str().context("no address")?;
    assert_eq!(ask("other", address)?, "Hello from catena\n");
    Ok(())
}

/// `kubectl delete`: the pod is gone, and nothing of it is left on the node.
pub(crate) fn a_deleted_pod_leaves_nothing(cluster: &mut Cluster) -> Result<()> {
    let kubectl = cluster.namespace("deleted")?;
    let image = cluster.app("hello")?;
    kubectl.apply(&pod("hello", &image).to_string())?;
    let status = kubectl.container("hello", |status| status["ready"] == true)?;
    kubectl.ok(&["delete", "pod", "hello", "--timeout=120s"])?;
    let id = status["containerID"].as_str().context("no container")?;
    let id = id.trim_start_matches("containerd://");
    cluster.containerd().nothing_is_left_of(id)
}

/// What `kubectl top` and an autoscaler have their numbers from.
pub(crate) fn the_kubelet_counts_processor_and_memory(cluster: &mut Cluster) -> Result<()> {
    let kubectl = cluster.namespace("counted")?;
    let image = cluster.app("hello")?;
    kubectl.apply(&pod("hello", &image).to_string())?;
    let address = kubectl.ready("hello")?;
    let runtime = runtime()?;
    for _ in 0..100 {
        runtime.block_on(get(&format!("{address}:8080"), "/"))?;
    }
    let path = format!("/api/v1/nodes/{NODE}/proxy/stats/summary");
    let mut last = Value::Null;
    let counted = until(|| {
        let summary = kubectl.raw(&path)?;
        let pods = summary["pods"].as_array().context("no pods")?;
        let pod = pods
            .iter()
            .find(|pod| pod["podRef"]["namespace"] == "counted");
        last = pod.cloned().unwrap_or_default();
        let container = &last["containers"][0];
        let number = |of: &str, name: &str| container[of][name].as_u64();
        let cpu = number("cpu", "usageCoreNanoSeconds");
        Ok(cpu
            .zip(number("memory", "workingSetBytes"))
            .filter(|found| found.0 > 0 && found.1 > 0))
    })?;
    let (cpu, memory) = counted.with_context(|| format!("nothing is counted: {last:#}"))?;
    // A hundred requests: more than a millisecond, less than a minute of the processor; megabytes, not gigabytes.
    assert!((1_000_000..60_000_000_000).contains(&cpu), "{cpu} ns");
    assert!((1 << 20..1 << 30).contains(&memory), "{memory} bytes");
    Ok(())
}

/// RuntimeClass `wasmtime-spin-v2` with handler `spin`, and catena's binary under containerd-shim-spin's name.
pub(crate) fn another_shims_class_is_served(cluster: &mut Cluster) -> Result<()> {
    let kubectl = cluster.namespace("drop-in")?;
    let image = cluster.app("hello")?;
    let class = json!({
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "wasmtime-spin-v2"},
        "handler": "spin",
    });
    kubectl.apply(&class.to_string())?;
    let mut spin = pod("hello", &image);
    spin["spec"]["runtimeClassName"] = json!("wasmtime-spin-v2");
    kubectl.apply(&spin.to_string())?;
    let address = kubectl.ready("hello")?;
    let answer = runtime()?.block_on(get(&format!("{address}:8080"), "/"))?;
    assert_eq!(answer.text(), "Hello from catena\n");
    Ok(())
}

/// An ordinary container.
fn shell(name: &str, script: &str) -> Value {
    json!({
        "name": name,
        "image": "localhost/busybox:1",
        "command": ["/bin/busybox", "sh", "-c", script],
    })
}
