//! How many containers a machine takes: as many as `CONTAINERS` says (250), each with a shim of its own, all
//! answering. The rate of starts, the memory of each, and what they cost while nobody asks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use catena_test::{Containerd, Form, Packed};

use crate::cost::{family, total};
use crate::load::Load;
use crate::process::Usage;
use crate::table::{Goals, Table};

const CONTAINERS: usize = 250;

/// How many `ctr run` are under way at once.
const AT_ONCE: usize = 4;

/// For how long the idle processes are watched.
const IDLE: Duration = Duration::from_secs(10);

/// Runs it.
pub(crate) fn run(goals: &mut Goals) -> Result<()> {
    let wanted = match std::env::var("CONTAINERS") {
        Ok(number) => number.parse().context("CONTAINERS is not a number")?,
        Err(_) => CONTAINERS,
    };
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
    let took = started.elapsed().as_secs_f64();
    if addresses.len() != wanted {
        bail!("{} of {wanted} containers were started", addresses.len());
    }
    for address in &addresses {
        Load::connect(*address, "/", 1)?.requests(1)?;
    }
    let memory = total(&containerd)? as f64;
    let idle = idle_cpu(&containerd)?;

    let mut table = Table::new(&["containers, each with its shim", "", ""]);
    let mut row = |what: &str, value: String| table.row([what.to_owned(), value, String::new()]);
    row("running and answering", wanted.to_string());
    row("starts/s", format!("{:.1}", wanted as f64 / took));
    row("PSS of each, KiB", format!("{:.0}", memory / wanted as f64));
    row("PSS of all, MiB", format!("{:.0}", memory / 1024.0));
    row("idle CPU of all, % of a core", format!("{idle:.2}"));
    table.print("density");
    goals.at_most(
        format!("idle CPU of {wanted} containers, % of a core"),
        idle,
        1.0,
        " %",
    );
    Ok(())
}

/// What all shims and workers use while nobody asks, in percent of a core.
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
