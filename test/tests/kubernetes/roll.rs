//! A deployment that grows, shrinks and is replaced, under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use catena_test::Client;
use catena_test::kubernetes::{Cluster, Kubectl, until};
use http::StatusCode;
use tokio::task::JoinSet;

use crate::manifests::{answer, example, runtime};

/// Clients at once, and how long each waits before its next request.
const CLIENTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(20);

/// The example, scaled from one pod to four, to two, and replaced, while clients ask its service all the time on
/// connections of their own: every request is answered. What makes it so is `CATENA_DRAIN_DELAY` of the example.
pub(crate) fn no_request_fails_while_pods_come_and_go(cluster: &mut Cluster) -> Result<()> {
    let kubectl = cluster.namespace("roll")?;
    cluster.app("chain")?;
    kubectl.apply(&example()?)?;
    become_of(&kubectl, 1)?;
    let service = kubectl.get(&["service", "chain"])?;
    let address = service["spec"]["clusterIP"]
        .as_str()
        .context("no address")?;
    let address = format!("{address}:80");
    let runtime = runtime()?;
    answer(&runtime, &address, "/")?;
    let before = names(&kubectl)?;

    let load = Load::start(&runtime, address.parse()?);
    become_of(&kubectl, 4)?;
    become_of(&kubectl, 2)?;
    kubectl.ok(&["set", "env", "deployment/chain", "RUST_LOG=info"])?;
    kubectl.ok(&["rollout", "status", "deployment/chain", "--timeout=180s"])?;
    are(&kubectl, 2)?;
    let after = names(&kubectl)?;
    let told = load.end(&runtime)?;

    assert!(
        before.iter().all(|name| !after.contains(name)),
        "{before:?} {after:?}"
    );
    println!(
        "    {} requests, the slowest took {:.0} ms",
        told.answered,
        told.slowest.as_secs_f64() * 1000.0
    );
    assert!(told.answered > 500, "{told:?}");
    assert!(
        told.failed.is_empty(),
        "{} failed: {:#?}",
        told.failed.len(),
        told.failed
    );
    let events = kubectl.ok(&["get", "events"])?;
    assert!(!events.contains("FailedKillPod"), "{events}");
    Ok(())
}

/// Scales to so many pods, and waits until they are ready and no others are there.
fn become_of(kubectl: &Kubectl, pods: usize) -> Result<()> {
    kubectl.ok(&["scale", "deployment/chain", &format!("--replicas={pods}")])?;
    kubectl.ok(&["rollout", "status", "deployment/chain", "--timeout=120s"])?;
    are(kubectl, pods)
}

/// Waits until so many pods are there to stay, and nothing runs in others.
fn are(kubectl: &Kubectl, pods: usize) -> Result<()> {
    let found = until(|| {
        let told = kubectl.get(&["pods"])?;
        let all = told["items"].as_array().context("no pods")?;
        let (go, stay): (Vec<_>, Vec<_>) = all
            .iter()
            .partition(|pod| pod["metadata"]["deletionTimestamp"].is_string());
        // The API server forgets a pod much later than its containers end.
        let ended = go.iter().all(|pod| {
            let states = &pod["status"]["containerStatuses"][0]["state"];
            states.is_null() || states["terminated"].is_object()
        });
        Ok((ended && stay.len() == pods).then_some(()))
    })?;
    found.with_context(|| format!("there are not {pods} pods"))
}

/// The names of the pods that are ready.
fn names(kubectl: &Kubectl) -> Result<Vec<String>> {
    let ready = "jsonpath={range .items[?(@.status.containerStatuses[0].ready==true)]}{.metadata.name} {end}";
    let said = kubectl.ok(&["get", "pods", "--output", ready])?;
    Ok(said.split_whitespace().map(str::to_owned).collect())
}

/// Clients at work.
struct Load {
    tasks: JoinSet<Told>,
    ends: Arc<AtomicBool>,
}

/// What became of their requests.
#[derive(Debug, Default)]
struct Told {
    answered: usize,
    slowest: Duration,
    failed: Vec<String>,
}

impl Load {
    fn start(runtime: &tokio::runtime::Runtime, address: SocketAddr) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..CLIENTS {
            tasks.spawn_on(ask(address, Arc::clone(&ends)), runtime.handle());
        }
        Self { tasks, ends }
    }

    fn end(mut self, runtime: &tokio::runtime::Runtime) -> Result<Told> {
        self.ends.store(true, Ordering::Relaxed);
        runtime.block_on(async {
            let mut all = Told::default();
            while let Some(told) = self.tasks.join_next().await {
                let told = told?;
                all.answered += told.answered;
                all.slowest = all.slowest.max(told.slowest);
                all.failed.extend(told.failed);
            }
            Ok(all)
        })
    }
}

async fn ask(address: SocketAddr, ends: Arc<AtomicBool>) -> Told {
    let mut told = Told::default();
    let began = Instant::now();
    while !ends.load(Ordering::Relaxed) {
        let started = Instant::now();
        let answer = async { Client::http1(address).await?.get("/").await };
        match answer.await {
            Ok(answer) if answer.status == StatusCode::OK => told.answered += 1,
            Ok(answer) => told
                .failed
                .push(format!("{:?}: {}", began.elapsed(), answer.status)),
            Err(error) => told
                .failed
                .push(format!("{:?}: {error:#}", began.elapsed())),
        }
        told.slowest = told.slowest.max(started.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    told
}
