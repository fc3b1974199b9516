//! What a request and a second container take besides time: system calls, page faults, allocations, memory.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use catena_test::leftovers::processes;
use catena_test::{Catena, Containerd, Form, Packed, workspace};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::NamedTempFile;
use tokio::runtime::Runtime;

use crate::counted;
use crate::load::Load;
use crate::process::{Started, Usage, installed, memory, wait_until};
use crate::sides::Side;
use crate::table::Table;

/// Requests under strace, which makes each many times as slow.
const TRACED: u64 = 2000;

/// What requests take.
pub(crate) fn requests(runtime: &Runtime) -> Result<()> {
    let mut table = Table::new(&[
        "a request, 1 connection",
        "faults",
        "syscalls",
        "allocations",
        "bytes allocated",
    ]);
    let mut most = Vec::new();
    for (name, app, guest) in [
        ("catena 0.2, fresh", "hello", "hello"),
        ("catena 0.3, reused", "hello-p3", "hello_p3"),
    ] {
        let side = Side::catena(runtime, name, Catena::app(app)?)?;
        let mut load = Load::connect(side.address, &side.path, 1)?;
        load.requests(1000)?;
        let before = Usage::of(side.pid())?;
        load.requests(20_000)?;
        let faults = Usage::of(side.pid())?.since(before).faults as f64 / 20_000.0;
        let syscalls = if installed("strace") {
            let counted = syscalls(side.pid(), &mut load)?;
            let sum: u64 = counted.iter().map(|(_, count)| count).sum();
            most.push(format!("  {name}: {}", summary(&counted)));
            format!("{:.2}", sum as f64 / TRACED as f64)
        } else {
            "strace is not installed".to_owned()
        };
        let (allocations, bytes) = counted::per_request(&workspace::guest(guest)?)?;
        table.row([
            name.to_owned(),
            format!("{faults:.3}"),
            syscalls,
            format!("{allocations:.1}"),
            format!("{bytes:.0}"),
        ]);
    }
    table.print("what a request takes");
    if !most.is_empty() {
        println!("  system calls a request (the clock that interrupts guests left out):");
        most.iter().for_each(|line| println!("  {line}"));
    }
    Ok(())
}

/// The system calls of `pid` during [`TRACED`] requests.
fn syscalls(pid: i32, load: &mut Load) -> Result<Vec<(String, u64)>> {
    let output = NamedTempFile::new()?;
    let mut strace = Started::start(
        Command::new("strace")
            .args(["-f", "-c", "-U", "name,calls", "-p", &pid.to_string(), "-o"])
            .arg(output.path())
            .stderr(Stdio::null()),
    )?;
    wait_until("strace attaches", || {
        fs::read_to_string(format!("/proc/{pid}/status"))
            .is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
    })?;
    // The threads are attached to one after another.
    std::thread::sleep(Duration::from_millis(200));
    let traced = load.requests(TRACED);
    kill(Pid::from_raw(strace.pid()?), Signal::SIGINT)?;
    strace.0.wait()?;
    traced?;
    let text = fs::read_to_string(output.path())?;
    let rows = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let calls = words.next()?.parse().ok()?;
        // Sleeping is the clock's, which ticks however many requests there are.
        (!["total", "clock_nanosleep", "restart_syscall"].contains(&name))
            .then(|| (name.to_owned(), calls))
    });
    Ok(rows.collect())
}

fn summary(counted: &[(String, u64)]) -> String {
    let mut counted = counted.to_vec();
    counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let each = counted
        .iter()
        .map(|(name, count)| (name, *count as f64 / TRACED as f64))
        .filter(|(_, each)| *each >= 0.01)
        .map(|(name, each)| format!("{name} {each:.2}"));
    each.collect::<Vec<_>>().join(", ")
}

/// What a second container of the same image takes.
pub(crate) fn memory_of_second() -> Result<()> {
    let containerd = Containerd::start()?;
    let packed = Packed::app("hello", Form::Rootfs)?;
    let image = containerd.import(packed.path())?;
    let first = containerd.container(&image, "first").start()?;
    serve_some(first.address()?)?;
    let alone = total(&containerd)?;
    let second = containerd.container(&image, "second").start()?;
    serve_some(second.address()?)?;
    let both = total(&containerd)?;

    let mut table = Table::new(&[
        "a container of hello, after 1000 requests",
        "PSS KiB",
        "private KiB",
        "RSS KiB",
    ]);
    for (name, pid) in [
        ("worker of the first", first.pid),
        ("worker of the second", second.pid),
    ] {
        table.row([
            name.to_owned(),
            memory(pid, "Pss")?.to_string(),
            (memory(pid, "Private_Dirty")? + memory(pid, "Private_Clean")?).to_string(),
            memory(pid, "Rss")?.to_string(),
        ]);
    }
    for shim in containerd.shims() {
        let name = format!("shim {}", identity(shim));
        table.row([
            name,
            memory(shim, "Pss")?.to_string(),
            (memory(shim, "Private_Dirty")? + memory(shim, "Private_Clean")?).to_string(),
            memory(shim, "Rss")?.to_string(),
        ]);
    }
    table.row([
        "what the second adds to all of catena's processes".to_owned(),
        both.saturating_sub(alone).to_string(),
        String::new(),
        String::new(),
    ]);
    table.print("memory of a second container of the same image");
    Ok(())
}

pub(crate) fn serve_some(address: std::net::SocketAddr) -> Result<()> {
    Load::connect(address, "/", 1)?.requests(1000)?;
    Ok(())
}

/// PSS of the daemon's shims and of all that descends from them, in KiB.
pub(crate) fn total(containerd: &Containerd) -> Result<u64> {
    family(containerd)
        .iter()
        .map(|pid| memory(*pid, "Pss").with_context(|| format!("the memory of process {pid}")))
        .sum()
}

/// The daemon's shims and all that descends from them.
pub(crate) fn family(containerd: &Containerd) -> Vec<i32> {
    let parents: Vec<(i32, i32)> = processes()
        .into_iter()
        .filter_map(|process| Some((process.pid, parent_of(process.pid)?)))
        .collect();
    let mut family = containerd.shims();
    let mut next = 0;
    while next < family.len() {
        let parent = family[next];
        next += 1;
        let children = parents.iter().filter(|(_, of)| *of == parent);
        let children: Vec<i32> = children
            .map(|(pid, _)| *pid)
            .filter(|pid| !family.contains(pid))
            .collect();
        family.extend(children);
    }
    family
}

fn parent_of(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    parent.trim().parse().ok()
}

/// What a shim's command line says of whose it is.
fn identity(pid: i32) -> String {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = command
        .split(|byte| *byte == 0)
        .map(String::from_utf8_lossy)
        .collect();
    let id = words
        .iter()
        .position(|word| word == "-id")
        .and_then(|at| words.get(at + 1));
    id.map_or_else(|| pid.to_string(), |id| format!("of {id}"))
}
