//! `make bench`: what catena costs, beside what it has to beat, as ratios measured in one run.
//!
//! Nothing here is a test and nothing fails for being slow: a goal is printed as met or not. The sides of a
//! comparison take turns over several rounds, medians are printed, and CPU time beside them, which is the
//! steadier figure. Processes of idle priority keep the cores awake meanwhile, but not where containers are measured:
//! to the kernel's scheduler the bench's control group weighs as much as a container's, whatever runs in it.
//!
//! ```text
//! bench [throughput] [chain] [startup] [requests] [memory] [node] [pods] [density] [languages]   all, where none is named
//! bench hyper | counted GUEST | spin                           roles that it starts itself
//! ```

#![expect(clippy::print_stdout, reason = "printing is its purpose")]

mod bare;
mod chain;
mod cost;
mod counted;
mod density;
mod floor;
mod languages;
mod load;
mod native;
mod node;
mod pods;
mod process;
mod sides;
mod startup;
mod table;
mod throughput;

use std::path::Path;

use anyhow::{Result, bail};

use table::Goals;

#[global_allocator]
static ALLOCATOR: counted::Counting = counted::Counting;

const PARTS: [&str; 9] = [
    "throughput",
    "chain",
    "startup",
    "requests",
    "memory",
    "node",
    "pods",
    "density",
    "languages",
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["hyper"] => bare::serve(),
        ["counted", guest] => counted::serve(Path::new(guest)),
        ["spin"] => {
            process::spin();
            Ok(())
        }
        parts => measure(parts),
    }
}

fn measure(parts: &[&str]) -> Result<()> {
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(part)) {
        bail!("no bench {unknown:?}; there are: {}", PARTS.join(", "));
    }
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    println!(
        "{} cores, load average before the start {:.2}",
        std::thread::available_parallelism()?,
        process::load_average()?
    );
    let mut goals = Goals::default();
    let awake = process::spinners()?;
    if wanted("throughput") {
        throughput::run(&runtime, &mut goals)?;
    }
    if wanted("chain") {
        chain::run(&runtime, &mut goals)?;
    }
    if wanted("requests") {
        cost::requests(&runtime)?;
    }
    drop(awake);
    if wanted("startup") {
        startup::run(&mut goals)?;
    }
    if wanted("memory") {
        cost::memory_of_second()?;
    }
    if wanted("node") {
        node::run(&mut goals)?;
    }
    if wanted("pods") {
        runtime.block_on(pods::run(&mut goals))?;
    }
    if wanted("density") {
        density::run(&runtime, &mut goals)?;
    }
    if wanted("languages") {
        languages::run(&runtime)?;
    }
    goals.print();
    Ok(())
}
