//! `hello` over HTTP at 1, 16 and 64 connections: catena beside a bare hyper server, and beside `wasmtime serve`
//! where `WASMTIME=` names its binary.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use catena_test::Catena;
use tokio::runtime::Runtime;

use crate::sides::{Side, alternate};
use crate::table::{Goals, Table};

const CONNECTIONS: [usize; 3] = [1, 16, 64];
const ROUNDS: usize = 7;
const DURATION: Duration = Duration::from_millis(1000);

/// Positions of sides that are always there; 0.2 reused follows, and then those of wasmtime.
const HYPER: usize = 0;
const FRESH: usize = 1;
const REUSED: usize = 2;
const WASMTIME_FRESH: usize = 4;

/// Runs it.
pub(crate) fn run(runtime: &Runtime, goals: &mut Goals) -> Result<()> {
    let mut sides = vec![
        Side::hyper()?,
        Side::catena(
            runtime,
            "catena 0.2, fresh instances",
            Catena::app("hello")?,
        )?,
        Side::catena(
            runtime,
            "catena 0.3, reused instances",
            Catena::app("hello-p3")?,
        )?,
        Side::catena(
            runtime,
            "catena 0.2, reused instances",
            Catena::app("hello")?.env("CATENA_REUSE_INSTANCES", "all"),
        )?,
    ];
    if let Some(wasmtime) = std::env::var_os("WASMTIME") {
        let wasmtime = Path::new(&wasmtime);
        let p3 = ["-Scli", "-Sp3", "-Wcomponent-model-async"];
        sides.push(Side::wasmtime(
            wasmtime,
            "wasmtime serve, 0.2",
            "hello",
            &["-Scli"],
        )?);
        sides.push(Side::wasmtime(
            wasmtime,
            "wasmtime serve, 0.3",
            "hello_p3",
            &p3,
        )?);
    }
    for connections in CONNECTIONS {
        alternate(&mut sides, ROUNDS, connections, DURATION)?;
        print(&sides, connections);
        if connections > 1 {
            judge(&sides, connections, goals);
        }
    }
    Ok(())
}

fn print(sides: &[Side], connections: usize) {
    let mut table = Table::new(&[
        "server",
        "requests/s",
        "of hyper",
        "p50 µs",
        "CPU µs/request",
        "faults/request",
    ]);
    for side in sides {
        table.row([
            side.name.to_owned(),
            format!("{:.0}", side.median(|round| round.served.per_second)),
            format!("{:.2}", ratio(side, &sides[HYPER])),
            format!("{:.0}", side.median(|round| round.served.p50)),
            format!("{:.1}", side.median(|round| round.cpu)),
            format!("{:.3}", side.median(|round| round.faults)),
        ]);
    }
    table.print(&format!(
        "hello over HTTP, {connections} connections, medians of {ROUNDS} rounds"
    ));
}

fn judge(sides: &[Side], connections: usize, goals: &mut Goals) {
    let at = format!("at {connections} connections");
    let what = format!("0.2 fresh of hyper, {at}");
    goals.at_least(what, ratio(&sides[FRESH], &sides[HYPER]), 0.25);
    let what = format!("0.3 reused of hyper, {at}");
    goals.at_least(what, ratio(&sides[REUSED], &sides[HYPER]), 0.5);
    let what = format!("0.2 fresh of wasmtime serve, {at}");
    match sides.get(WASMTIME_FRESH) {
        Some(wasmtime) => goals.at_least(what, ratio(&sides[FRESH], wasmtime), 3.0),
        None => goals.not_measured(what, "WASMTIME= is not set"),
    }
}

fn ratio(side: &Side, other: &Side) -> f64 {
    side.compared(other, |side, other| {
        side.served.per_second / other.served.per_second
    })
}
