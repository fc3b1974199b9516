//! One binary for everything: containerd's shim (`start`, `delete` and the daemon), the internal
//! processes that the shim starts (`helper`, `compile`), and the developer's command line (`run`,
//! `inspect`, `pack`). This file only tells them apart.

mod cgroup;
mod channel;
mod cli;
mod compile;
mod container;
mod content;
mod create;
mod daemon;
mod delete;
mod error;
mod events;
mod exec;
mod helper;
mod info;
mod inside;
mod launch;
mod log;
mod memory;
mod options;
mod process;
mod readonly;
mod reaper;
mod rootfs;
mod spec;
mod start;
mod stats;
mod stdio;
mod steps;
mod task;
mod update;
mod volumes;
mod worker;
mod workload;

use std::process::ExitCode;

use anyhow::{Context as _, bail};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.first().map(String::as_str) {
        Some("helper") => return helper::main(),
        Some("compile") => return compile::main(&args[1..]),
        _ if cli::is_for_people(&args) => cli::main(),
        _ => containerd(&args).map(|()| ExitCode::SUCCESS),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Serves one of containerd's calls.
fn containerd(args: &[String]) -> anyhow::Result<()> {
    let program = std::env::args().next().unwrap_or_default();
    let flags = containerd_shim::parse(args)?;
    if flags.version {
        return info::version(&program);
    }
    if flags.info {
        return info::info(&program);
    }
    match flags.action.as_str() {
        "start" => start::run(&flags),
        "delete" => delete::run(&flags),
        "" if !flags.socket.is_empty() => {
            let events = std::env::var("TTRPC_ADDRESS")
                .context("containerd sets TTRPC_ADDRESS for its shims; it is missing")?;
            daemon::run(&flags, events)
        }
        other => bail!(
            "{other:?} is neither a command of catena nor an action of containerd's shims; see --help"
        ),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the last word of a process goes to standard error"
)]
fn complain(error: &anyhow::Error) {
    eprintln!("catena: {error:#}");
}
