//! What a chained call costs: the hop from A to B in memory, beside the same hop over loopback TCP to catena's
//! own listener. From both the time of A alone is taken away, an A that answers and calls nobody, so that what
//! A does to make its request and to relay the answer counts as the hop's cost. Beside it stands what wasmtime alone
//! needs for B's part of it (`floor`).

use std::time::Duration;

use anyhow::Result;
use catena_test::client::encode;
use catena_test::{Catena, Form, Packed};
use tokio::runtime::Runtime;

use crate::floor::Floor;
use crate::sides::{Side, alternate};
use crate::table::{Goals, Table};

const ROUNDS: usize = 9;
const DURATION: Duration = Duration::from_millis(700);

/// One application a version: what 0.3 needs of the engine must not slow 0.2 down.
const APP: &str = r#"
spin_manifest_version = 2

[application]
name = "hop"
version = "0.1.0"

[[trigger.http]]
route = "/~a/..."
component = "a"

[[trigger.http]]
route = "/b"
component = "b"

[component.a]
source = "GUESTS/PROBE.wasm"
allowed_outbound_hosts = ["http://b.spin.internal", "http://127.0.0.1:*"]

[component.b]
source = "GUESTS/HELLO.wasm"
"#;

/// Runs it.
pub(crate) fn run(runtime: &Runtime, goals: &mut Goals) -> Result<()> {
    let mut table = Table::new(&[
        "hop from A to B",
        "p50 µs",
        "CPU µs/request",
        "hop adds µs",
        "of loopback",
        "hop adds CPU µs",
    ]);
    let versions = [
        ("0.2", "probe", "hello", "none", Some(Floor::fresh()?)),
        ("0.2 reused", "probe", "hello", "all", None),
        (
            "0.3",
            "probe_p3",
            "hello_p3",
            "none",
            Some(Floor::reused()?),
        ),
    ];
    for (version, probe, hello, reused, floor) in versions {
        let app = APP.replace("PROBE", probe).replace("HELLO", hello);
        let packed = Packed::text(&app, Form::Rootfs)?;
        let run = Catena::image(packed.path()).env("CATENA_REUSE_INSTANCES", reused);
        let server = Side::catena(runtime, "hop", run)?;
        let call = |url: String| format!("/~a/call?url={}", encode(&url));
        let mut sides = [
            server.at("A alone", "/~a/count".to_owned()),
            server.at("in memory", call("http://b.spin.internal/".to_owned())),
            server.at(
                "over loopback",
                call(format!("http://{}/b", server.address)),
            ),
        ];
        alternate(&mut sides, ROUNDS, 1, DURATION)?;
        let [alone, memory, loopback] = &sides;
        let added = |side: &Side| {
            side.compared(alone, |with, without| with.served.p50 - without.served.p50)
        };
        let cpu = |side: &Side| side.compared(alone, |with, without| with.cpu - without.cpu);
        for side in &sides {
            let mut row = vec![
                format!("{version}, {}", side.name),
                format!("{:.0}", side.median(|round| round.served.p50)),
                format!("{:.1}", side.median(|round| round.cpu)),
            ];
            if side.name != alone.name {
                row.push(format!("{:.0}", added(side)));
                row.push(format!("{:.2}", added(side) / added(loopback)));
                row.push(format!("{:.1}", cpu(side)));
            }
            table.row(row);
        }
        if let Some(floor) = floor {
            let (took, busy) = floor.measure(runtime)?;
            table.row([
                format!("{version}, B by wasmtime alone"),
                format!("{took:.0}"),
                format!("{busy:.1}"),
                String::new(),
                String::new(),
                String::new(),
            ]);
        }
        let what = format!("{version} hop in memory of the hop over loopback, p50");
        goals.at_most(what, added(memory) / added(loopback), 1.0 / 3.0, "");
        goals.at_most(
            format!("{version} hop in memory adds, p50"),
            added(memory),
            40.0,
            " µs",
        );
    }
    table.print(&format!(
        "a chained call, 1 connection, medians of {ROUNDS} rounds"
    ));
    Ok(())
}
