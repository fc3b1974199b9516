//! What the tests apply: the manifests of `deploy/`, and pods.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use catena_test::kubernetes::until;
use catena_test::workspace;
use catena_test::{Client, Response};
use serde_json::{Value, json};

/// The health path of every application.
pub(crate) const HEALTH: &str = "/.well-known/spin/health";

/// A file of `deploy/`.
pub(crate) fn file(name: &str) -> String {
    workspace::root()
        .join("deploy")
        .join(name)
        .display()
        .to_string()
}

/// `deploy/examples/app.yaml`, for a Kubernetes that has no `policy/v1` yet.
pub(crate) fn example() -> Result<String> {
    let text = fs::read_to_string(file("examples/app.yaml")).context("reading the example")?;
    Ok(text.replace("policy/v1\n", "policy/v1beta1\n"))
}

/// A pod of one app that listens on 8080 and is ready when it says so.
pub(crate) fn pod(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "runtimeClassName": "catena",
            "terminationGracePeriodSeconds": 5,
            "containers": [{
                "name": "app",
                "image": image,
                "env": [{"name": "SPIN_HTTP_LISTEN_ADDR", "value": "0.0.0.0:8080"}],
                "readinessProbe": {"httpGet": {"path": HEALTH, "port": 8080}, "periodSeconds": 1},
            }],
        },
    })
}

/// A `GET` of what an address with a port serves.
pub(crate) async fn get(address: &str, path: &str) -> Result<Response> {
    let address: SocketAddr = address.parse().context(address.to_owned())?;
    Client::http1(address).await?.get(path).await
}

/// Asks again and again, until there is an answer.
pub(crate) fn answer(
    runtime: &tokio::runtime::Runtime,
    address: &str,
    path: &str,
) -> Result<Response> {
    let found = until(|| Ok(runtime.block_on(get(address, path)).ok()))?;
    found.with_context(|| format!("{address}{path} does not answer"))
}

/// What the clients of a test run on, beside kubectl.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(1).enable_all().build()?)
}
