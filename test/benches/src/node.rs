//! What a node pays: catena beside the smallest shim on containerd-shim-wasm (`test/baseline`) and a native server
//! under runc. Start, memory of one more container, requests a second; all serve the same line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use catena_test::containerd::Container;
use catena_test::{Containerd, Form, Packed, workspace};

use crate::cost::{serve_some, total};
use crate::native;
use crate::sides::{Side, alternate, free_address};
use crate::startup::start;
use crate::table::{Goals, Table, median};

const STARTS: usize = 15;
const ROUNDS: usize = 7;
const CONNECTIONS: usize = 16;
const DURATION: Duration = Duration::from_millis(700);

/// How many containers more the memory is divided by.
const MORE: usize = 4;

const LISTEN: &str = "SPIN_HTTP_LISTEN_ADDR";
const BASELINE: &str = "io.containerd.baseline.v1";

/// What a container of the bench is.
#[derive(Clone, Copy)]
enum Kind {
    Catena,
    Baseline,
    Native,
    /// catena, where the application lets its instances of 0.2 answer one request after another.
    Reused,
}

const KINDS: [(Kind, &str); 4] = [
    (Kind::Catena, "catena"),
    (Kind::Baseline, "baseline"),
    (Kind::Native, "native, runc"),
    (Kind::Reused, "catena, reused instances"),
];

struct Node {
    containerd: Containerd,
    hello: String,
    native: String,
}

impl Node {
    fn container(&self, kind: Kind, id: &str) -> Container<'_> {
        match kind {
            Kind::Catena => self.containerd.container(&self.hello, id),
            Kind::Reused => self
                .containerd
                .container(&self.hello, id)
                .env("CATENA_REUSE_INSTANCES", "all"),
            Kind::Baseline => self
                .containerd
                .container(&self.hello, id)
                .flags(&["--runtime", BASELINE])
                .command(&["/components/hello.wasm"]),
            Kind::Native => self
                .containerd
                .container(&self.native, id)
                .flags(&["--runtime", native::RUNC])
                .command(&["/bench", "hyper"]),
        }
    }
}

/// Runs it.
pub(crate) fn run(goals: &mut Goals) -> Result<()> {
    let Some(baseline) = baseline() else {
        goals.not_measured(
            "catena beside the baseline shim",
            "`make baseline` builds it",
        );
        return Ok(());
    };
    let containerd = Containerd::start()?;
    containerd.add_shim("containerd-shim-baseline-v1", &baseline)?;
    let hello = containerd.import(Packed::app("hello", Form::Rootfs)?.path())?;
    let native = native::import(&containerd, "native", native::hyper()?)?;
    let node = Node {
        containerd,
        hello,
        native,
    };
    let mut table = Table::new(&[
        "the same line served",
        "start ms",
        "one more container, PSS KiB",
        "requests/s",
        "p50 µs",
    ]);
    let starts = starts(&node)?;
    let memory = memory(&node)?;
    let sides = requests(&node)?;
    for (index, (_, name)) in KINDS.iter().enumerate() {
        let milliseconds = starts[index].iter().map(|took| took.as_secs_f64() * 1000.0);
        table.row([
            (*name).to_owned(),
            format!("{:.0}", median(milliseconds)),
            format!("{:.0}", memory[index]),
            format!(
                "{:.0}",
                sides[index].median(|round| round.served.per_second)
            ),
            format!("{:.0}", sides[index].median(|round| round.served.p50)),
        ]);
    }
    table.print(&format!(
        "a node: medians of {STARTS} starts, PSS over {MORE} more containers, {ROUNDS} rounds of {CONNECTIONS} \
         connections"
    ));
    let pairs = starts[0].iter().zip(&starts[1]);
    let ratio = median(pairs.map(|(catena, base)| catena.as_secs_f64() / base.as_secs_f64()));
    goals.at_most("ctr run to the first 200, of the baseline", ratio, 0.5, "");
    let ratio = memory[0] / memory[1];
    goals.at_most(
        "memory of one more container, of the baseline",
        ratio,
        0.5,
        "",
    );
    let requests = |side: usize| {
        sides[side].compared(&sides[1], |catena, base| {
            catena.served.per_second / base.served.per_second
        })
    };
    goals.at_least("requests/s of the baseline", requests(0), 3.0);
    goals.at_least(
        "requests/s of the baseline, reused instances",
        requests(3),
        3.0,
    );
    Ok(())
}

/// The baseline's binary: what `BASELINE` names, or what `make baseline` built.
pub(crate) fn baseline() -> Option<PathBuf> {
    let built = || workspace::root().join("target/baseline/release/containerd-shim-baseline-v1");
    let path = std::env::var_os("BASELINE").map_or_else(built, PathBuf::from);
    path.is_file().then_some(path)
}

/// From `ctr run` to the first 200, the kinds in turn. The first round warms, and does not count.
fn starts(node: &Node) -> Result<[Vec<Duration>; KINDS.len()]> {
    let mut took: [Vec<Duration>; KINDS.len()] = Default::default();
    for round in 0..=STARTS {
        for (took, (kind, _)) in took.iter_mut().zip(KINDS) {
            let id = format!("start-{}-{round}", kind as u8);
            let one = start(|address| node.container(kind, &id).env(LISTEN, address))?;
            if round > 0 {
                took.push(one);
            }
        }
    }
    Ok(took)
}

/// What one more container takes over all processes of its shim, in KiB of PSS.
fn memory(node: &Node) -> Result<[f64; KINDS.len()]> {
    let mut each = [0.0; KINDS.len()];
    for (each, (kind, name)) in each.iter_mut().zip(KINDS) {
        let run = |number: usize| {
            let address = free_address()?;
            let container = node.container(kind, &format!("memory-{}-{number}", kind as u8));
            let task = container.env(LISTEN, &address.to_string()).start()?;
            task.address()?;
            serve_some(address).with_context(|| format!("asking {name}"))?;
            anyhow::Ok(task)
        };
        let mut tasks = vec![run(0)?];
        let one = total(&node.containerd)?;
        for number in 1..=MORE {
            tasks.push(run(number)?);
        }
        *each = (total(&node.containerd)? as f64 - one as f64) / MORE as f64;
        for task in tasks {
            task.remove()?;
        }
    }
    Ok(each)
}

fn requests(node: &Node) -> Result<Vec<Side>> {
    let mut sides = Vec::new();
    let mut tasks = Vec::new();
    for (kind, name) in KINDS {
        let address = free_address()?;
        let container = node.container(kind, &format!("serve-{}", kind as u8));
        let task = container.env(LISTEN, &address.to_string()).start()?;
        task.address()?;
        sides.push(Side::running(name, address, task.pid));
        tasks.push(task);
    }
    alternate(&mut sides, ROUNDS, CONNECTIONS, DURATION)?;
    for task in tasks {
        task.remove()?;
    }
    Ok(sides)
}
