//! What people type: `catena run`, `catena inspect`, `catena pack`. Knows nothing of containerd and
//! needs no root. Each command gives the process's exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod inspect;
mod pack;
mod run;

/// The words by which people call; all else is containerd's.
const WORDS: [&str; 8] = [
    "run",
    "inspect",
    "pack",
    "help",
    "--help",
    "-h",
    "--version",
    "-V",
];

#[derive(Debug, Parser)]
#[command(
    name = "catena",
    version,
    about = "Run whole WebAssembly applications from OCI images",
    after_help = "containerd calls this same binary as its runtime io.containerd.catena.v1."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve an application: an OCI layout folder, a tar of an image, or a .wasm file
    Run(run::Args),
    /// Show what is in an image, and whether it would start
    Inspect(inspect::Args),
    /// Make an image from a spin.toml and the wasm files that it names
    Pack(pack::Args),
}

/// Whether these arguments are a person's.
pub(crate) fn is_for_people(args: &[String]) -> bool {
    args.first()
        .is_none_or(|first| WORDS.contains(&first.as_str()))
}

/// Runs a command.
pub(crate) fn main() -> anyhow::Result<ExitCode> {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    if args.len() < 2 {
        args.push("--help".into());
    }
    match Cli::parse_from(args).command {
        Command::Run(args) => run::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Pack(args) => pack::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_containerd_are_told_apart() {
        let args = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(is_for_people(&[]));
        assert!(is_for_people(&args("run app.wasm --listen 127.0.0.1:0")));
        assert!(!is_for_people(&args("-namespace k8s.io -id run start")));
        assert!(!is_for_people(&args("-v")));
    }

    #[test]
    fn the_commands_are_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
