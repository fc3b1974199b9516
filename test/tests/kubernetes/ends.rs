//! How what goes wrong is told to a user of the cluster.

use anyhow::{Context, Result};
use catena_test::kubernetes::{Cluster, until};
use catena_test::{Form, Packed};
use serde_json::{Value, json};

use crate::manifests::{get, pod, runtime};

/// A command that fails. One of WASI 0.2 can tell no other code than 1.
const FAILING: &str = r#"
spin_manifest_version = 2
[application]
name = "failing"
version = "0.1.0"
[[trigger.command]]
component = "command"
[component.command]
source = "GUESTS/command.wasm"
environment = { EXIT = "1" }
"#;

/// What `kubectl describe` shows of an image that catena does not run: the reason.
pub(crate) fn a_refused_image_is_an_event(cluster: &mut Cluster) -> Result<()> {
    let kubectl = cluster.namespace("refused")?;
    let image = cluster.app("refused")?;
    kubectl.apply(&pod("refused", &image).to_string())?;
    let told = until(|| {
        let events = kubectl.events("refused")?;
        Ok(events.contains("teleportation").then_some(events))
    })?;
    let told = told.with_context(|| kubectl.events("refused").unwrap_or_default())?;
    let line = told
        .lines()
        .find(|line| line.contains("teleportation"))
        .unwrap_or_default();
    for part in [
        "Warning",
        "Failed",
        "must_understand lists \"teleportation\"",
        "rebuild the application",
    ] {
        assert!(line.contains(part), "{part}: {told}");
    }
    let described = kubectl.ok(&["describe", "pod", "refused"])?;
    assert!(
        described.contains("the application is refused: must_understand lists"),
        "{described}"
    );
    let status = kubectl.container("refused", |status| {
        ["state", "lastState"]
            .iter()
            .any(|state| status[state]["terminated"].is_object())
    })?;
    assert_eq!(status["ready"], false, "{status:#}");
    Ok(())
}

/// `OOMKilled` and 137, and a container that serves again.
pub(crate) fn memory_that_runs_out_is_told_and_the_app_comes_back(
    cluster: &mut Cluster,
) -> Result<()> {
    let kubectl = cluster.namespace("greedy")?;
    let image = cluster.app("routes")?;
    let mut greedy = pod("greedy", &image);
    greedy["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "96Mi"}});
    kubectl.apply(&greedy.to_string())?;
    let address = format!("{}:8080", kubectl.ready("greedy")?);
    let runtime = runtime()?;
    assert_eq!(
        runtime.block_on(get(&address, "/allocate?mib=8"))?.text(),
        "8"
    );
    assert!(
        runtime
            .block_on(get(&address, "/allocate?mib=400"))
            .is_err()
    );
    let status = kubectl.container("greedy", |status| {
        status["restartCount"] == 1 && status["ready"] == true
    })?;
    let ended = &status["lastState"]["terminated"];
    assert_eq!(ended["reason"], "OOMKilled", "{status:#}");
    assert_eq!(ended["exitCode"], 137, "{status:#}");
    assert_eq!(
        runtime.block_on(get(&address, "/allocate?mib=8"))?.text(),
        "8"
    );
    Ok(())
}

/// A liveness probe that fails: the app is asked to end, ends with 0, and comes back.
pub(crate) fn an_app_that_is_not_alive_is_restarted(cluster: &mut Cluster) -> Result<()> {
    let kubectl = cluster.namespace("alive")?;
    let image = cluster.app("routes")?;
    let mut ill = pod("ill", &image);
    ill["spec"]["containers"][0]["livenessProbe"] = json!({
        // Answered with 418.
        "httpGet": {"path": "/static", "port": 8080},
        "periodSeconds": 1,
        "failureThreshold": 2,
    });
    kubectl.apply(&ill.to_string())?;
    let status = kubectl.container("ill", |status| status["restartCount"].as_u64() > Some(0))?;
    assert_eq!(
        status["lastState"]["terminated"]["exitCode"], 0,
        "{status:#}"
    );
    let events = kubectl.events("ill")?;
    assert!(
        events.contains("Liveness probe failed: HTTP probe failed with statuscode: 418"),
        "{events}"
    );
    Ok(())
}

/// A command's exit code is the container's, and so the pod's and the job's end.
pub(crate) fn exit_codes_reach_the_pods_status(cluster: &mut Cluster) -> Result<()> {
    let kubectl = cluster.namespace("commands")?;
    let image = cluster.app("command")?;
    let failing = Packed::text(FAILING, Form::Rootfs)?;
    let failing = cluster.containerd().import(failing.path())?;
    for (name, image, code, reason, phase) in [
        ("well", &image, 0, "Completed", "Succeeded"),
        ("ill", &failing, 1, "Error", "Failed"),
    ] {
        kubectl.apply(&once(name, image).to_string())?;
        let status = kubectl.container(name, |status| status["state"]["terminated"].is_object())?;
        let ended = &status["state"]["terminated"];
        assert_eq!(ended["exitCode"], code, "{status:#}");
        assert_eq!(ended["reason"], reason, "{status:#}");
        let ended = until(|| {
            let told = kubectl.get(&["pod", name])?;
            Ok((told["status"]["phase"] == phase).then_some(()))
        })?;
        ended.with_context(|| format!("the pod {name} is not {phase}"))?;
        assert!(kubectl.ok(&["logs", name])?.contains("the command has run"));
    }
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "job"},
        "spec": {"completions": 2, "template": {"spec": once("job", &image)["spec"]}},
    });
    kubectl.apply(&job.to_string())?;
    kubectl.ok(&[
        "wait",
        "--for=condition=complete",
        "--timeout=120s",
        "job/job",
    ])?;
    Ok(())
}

/// A pod whose commands run once.
fn once(name: &str, image: &str) -> Value {
    let mut command = pod(name, image);
    command["spec"]["restartPolicy"] = json!("Never");
    command["spec"]["containers"][0]["readinessProbe"] = json!(null);
    command
}
