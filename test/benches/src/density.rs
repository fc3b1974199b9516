//! How many containers and pods a machine takes: as many as `CONTAINERS` says (250), all answering. The rate of
//! starts, the memory of each, and what they cost while nobody asks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use catena_test::{Containerd, Cri, Form, Packed};
use futures_util::future::try_join_all;
use tokio::runtime::Runtime;

use crate::cost::{family, total};
use crate::load::Load;
use crate::process::Usage;
use crate::startup::first_answer;
use crate::table::{Goals, Table};

const CONTAINERS: usize = 250;

/// How many starts are under way at once.
const AT_ONCE: usize = 4;

/// For how long the idle processes are watched.
const IDLE: Duration = Duration::from_secs(10);

/// Where an application of a pod listens.
const PORT: u16 = 80;

/// What so many of one kind take.
struct Density {
    /// Per second.
    starts: f64,
    /// PSS of all, in KiB.
    memory: f64,
    /// CPU of all while nobody asks, in percent of a core.
    idle: f64,
}

/// Runs it.
pub(crate) fn run(runtime: &Runtime, goals: &mut Goals) -> Result<()> {
    let wanted = match std::env::var("CONTAINERS") {
        Ok(number) => number.parse().context("CONTAINERS is not a number")?,
        Err(_) => CONTAINERS,
    };
    let both = [
        ("containers", containers(wanted)?),
        ("pods", runtime.block_on(pods(wanted))?),
    ];
    let mut table = Table::new(&[
        "running and answering",
        "starts/s",
        "PSS of each, KiB",
        "of all, MiB",
        "idle CPU of all, % of a core",
    ]);
    for (kind, density) in &both {
        table.row([
            format!("{wanted} {kind}"),
            format!("{:.1}", density.starts),
            format!("{:.0}", density.memory / wanted as f64),
            format!("{:.0}", density.memory / 1024.0),
            format!("{:.2}", density.idle),
        ]);
    }
    table.print(
        "density: containers of `ctr` with a shim each, pods of CRI with sandbox and network",
    );
    for (kind, density) in &both {
        let what = format!("idle CPU of {wanted} {kind}, % of a core");
        goals.at_most(what, density.idle, 1.0, " %");
    }
    Ok(())
}

/// Containers of `ctr`, each with a shim of its own.
fn containers(wanted: usize) -> Result<Density> {
    let containerd = Containerd::start()?;
    let image = containerd.import(Packed::app("hello", Form::Rootfs)?.path())?;
    // The first one compiles.
    containerd.container(&image, "first").start()?.remove()?;

    let next = AtomicUsize::new(0);
    let started = Instant::now();
    let starting = || {
        let mut addresses = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= wanted {
                return anyhow::Ok(addresses);
            }
            let id = format!("one-{number}");
            let task = containerd.container(&image, &id).start();
            addresses.push(
                task.with_context(|| format!("container {number}"))?
                    .address()?,
            );
        }
    };
    let addresses: Vec<SocketAddr> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(starting)).collect();
        let results = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        let lists: Result<Vec<_>> = results
            .map(|list| list.ok().context("a thread panicked")?)
            .collect();
        anyhow::Ok(lists?.concat())
    })?;
    let took = started.elapsed();
    measure(&containerd, &addresses, wanted, took)
}

/// Pods, each with a sandbox, a network and one application.
async fn pods(wanted: usize) -> Result<Density> {
    let cri = Cri::start().await?;
    let image = cri
        .import(Packed::app("hello", Form::Rootfs)?.path())
        .await?;
    let start = async |number: usize| {
        let pod = cri.pod(&format!("one-{number}")).start().await?;
        pod.container(&image, "app").start().await?;
        let address = pod.address(PORT)?;
        let answered = tokio::task::spawn_blocking(move || first_answer(address, Instant::now()));
        answered.await??;
        anyhow::Ok((pod, address))
    };
    // The first one compiles.
    start(wanted).await?.0.remove().await?;

    let next = AtomicUsize::new(0);
    let starting = async || {
        let mut started = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= wanted {
                return anyhow::Ok(started);
            }
            let pod = start(number).await;
            started.push(pod.with_context(|| format!("pod {number}"))?);
        }
    };
    let started = Instant::now();
    let pods = try_join_all((0..AT_ONCE).map(|_| starting())).await?;
    let took = started.elapsed();
    let addresses = pods.iter().flatten().map(|(_, address)| *address);
    let addresses: Vec<SocketAddr> = addresses.collect();
    let density = measure(cri.containerd(), &addresses, wanted, took)?;
    for (pod, _) in pods.iter().flatten() {
        pod.remove().await?;
    }
    Ok(density)
}

/// Asks every one, and looks at all of them.
fn measure(
    containerd: &Containerd,
    addresses: &[SocketAddr],
    wanted: usize,
    took: Duration,
) -> Result<Density> {
    if addresses.len() != wanted {
        bail!("{} of {wanted} were started", addresses.len());
    }
    for address in addresses {
        Load::connect(*address, "/", 1)?.requests(1)?;
    }
    Ok(Density {
        starts: wanted as f64 / took.as_secs_f64(),
        memory: total(containerd)? as f64,
        idle: idle_cpu(containerd)?,
    })
}

/// What all processes of the daemon's shims use while nobody asks, in percent of a core.
fn idle_cpu(containerd: &Containerd) -> Result<f64> {
    let family = family(containerd);
    let used = || -> f64 {
        // One that has ended uses nothing.
        let usages = family.iter().filter_map(|pid| Usage::of(*pid).ok());
        usages.map(|usage| usage.cpu).sum()
    };
    let before = used();
    std::thread::sleep(IDLE);
    Ok((used() - before) / IDLE.as_micros() as f64 * 100.0)
}
