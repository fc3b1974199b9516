//! What a pod costs: catena beside the baseline shim and a native server under runc, each in pods that containerd's
//! CRI plugin makes, with a sandbox of its own. All serve the same line.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use catena_test::containerd::Runtime;
use catena_test::cri::{Container, Sandbox};
use catena_test::{Cri, Form, Packed};

use crate::cost::{serve_some, total};
use crate::native;
use crate::node::baseline;
use crate::startup::first_answer;
use crate::table::{Goals, Table, median};

/// How many starts of each are measured.
const STARTS: usize = 7;

/// How many pods, and containers of a pod, the memory is divided by.
const MORE: usize = 4;

/// Where the first container of a pod listens.
const PORT: u16 = 8080;

const BASELINE: Runtime = ("baseline", "io.containerd.baseline.v1");
const RUNC: Runtime = ("runc", native::RUNC);

/// What the containers of a pod are.
struct Kind {
    name: &'static str,
    handler: &'static str,
    image: String,
    command: &'static [&'static str],
}

impl Kind {
    fn container<'a>(&self, pod: &'a Sandbox<'a>, name: &str, port: u16) -> Container<'a> {
        let container = pod.container(&self.image, name).port(port);
        if self.command.is_empty() {
            container
        } else {
            container.command(self.command)
        }
    }
}

/// What was measured of one kind.
struct Cost {
    starts: Vec<Duration>,
    pod: f64,
    container: f64,
}

/// Runs it.
pub(crate) async fn run(goals: &mut Goals) -> Result<()> {
    let baseline = baseline();
    let others: &[Runtime] = if baseline.is_some() {
        &[RUNC, BASELINE]
    } else {
        &[RUNC]
    };
    let cri = Cri::start_beside(others).await?;
    let hello = cri
        .import(Packed::app("hello", Form::Rootfs)?.path())
        .await?;
    let mut kinds = vec![
        Kind {
            name: "catena",
            handler: "catena",
            image: hello.clone(),
            command: &[],
        },
        Kind {
            name: "native, runc",
            handler: RUNC.0,
            image: native::import(cri.containerd(), "native", native::hyper()?)?,
            command: &["/bench", "hyper"],
        },
    ];
    if let Some(binary) = &baseline {
        cri.containerd()
            .add_shim("containerd-shim-baseline-v1", binary)?;
        kinds.push(Kind {
            name: "baseline",
            handler: BASELINE.0,
            image: hello,
            command: &["/components/hello.wasm"],
        });
    }
    let mut starts: Vec<Vec<Duration>> = vec![Vec::new(); kinds.len()];
    // The first round warms, and does not count.
    for round in 0..=STARTS {
        for (kind, starts) in kinds.iter().zip(&mut starts) {
            let took = start(&cri, kind, round).await?;
            if round > 0 {
                starts.push(took);
            }
        }
    }
    let mut costs = Vec::new();
    for (kind, starts) in kinds.iter().zip(starts) {
        let (pod, container) = memory(&cri, kind).await?;
        costs.push(Cost {
            starts,
            pod,
            container,
        });
    }
    let mut table = Table::new(&[
        "pods that serve the same line",
        "start ms",
        "one more pod, PSS KiB",
        "one more container in it, PSS KiB",
    ]);
    for (kind, cost) in kinds.iter().zip(&costs) {
        let milliseconds = cost.starts.iter().map(|took| took.as_secs_f64() * 1000.0);
        table.row([
            kind.name.to_owned(),
            format!("{:.0}", median(milliseconds)),
            format!("{:.0}", cost.pod),
            format!("{:.0}", cost.container),
        ]);
    }
    table.print(&format!(
        "pods: medians of {STARTS} starts from RunPodSandbox to the first 200, PSS over {MORE} more, sandboxes included"
    ));
    match costs.get(2) {
        Some(base) => goals.at_most(
            "memory of one more pod, of the baseline",
            costs[0].pod / base.pod,
            0.5,
            "",
        ),
        None => goals.not_measured("pods beside the baseline shim", "`make baseline` builds it"),
    }
    Ok(())
}

/// From the first call for a pod to its first answer; the pod is removed.
async fn start(cri: &Cri, kind: &Kind, round: usize) -> Result<Duration> {
    let name = format!("{}-{round}", kind.handler);
    let started = Instant::now();
    let pod = cri.pod(&name).under(kind.handler).start().await?;
    let address = pod.address(PORT)?;
    let container = kind.container(&pod, "app", PORT);
    let answered = tokio::task::spawn_blocking(move || first_answer(address, started));
    container.start().await.with_context(|| kind.name)?;
    let took = answered.await??;
    pod.remove().await?;
    Ok(took)
}

/// What one more pod of one container takes, and one more container of a pod, in KiB of PSS over all processes.
async fn memory(cri: &Cri, kind: &Kind) -> Result<(f64, f64)> {
    let mut pods = vec![pod(cri, kind, 0).await?];
    let one = total(cri.containerd())?;
    for number in 1..=MORE {
        pods.push(pod(cri, kind, number).await?);
    }
    let all = total(cri.containerd())?;
    for number in 1..=MORE {
        let port = PORT + u16::try_from(number)?;
        serve(kind, &pods[0], &format!("more-{number}"), port).await?;
    }
    let with_containers = total(cri.containerd())?;
    for pod in pods {
        pod.remove().await?;
    }
    let each = |less: u64, more: u64| (more as f64 - less as f64) / MORE as f64;
    Ok((each(one, all), each(all, with_containers)))
}

async fn pod<'a>(cri: &'a Cri, kind: &Kind, number: usize) -> Result<Sandbox<'a>> {
    let name = format!("{}-memory-{number}", kind.handler);
    let pod = cri.pod(&name).under(kind.handler).start().await?;
    serve(kind, &pod, "app", PORT).await?;
    Ok(pod)
}

/// Starts a container that answers, and asks it often.
async fn serve(kind: &Kind, pod: &Sandbox<'_>, name: &str, port: u16) -> Result<()> {
    let address = pod.address(port)?;
    kind.container(pod, name, port)
        .start()
        .await
        .with_context(|| kind.name)?;
    tokio::task::spawn_blocking(move || {
        first_answer(address, Instant::now())?;
        serve_some(address)
    })
    .await?
}
