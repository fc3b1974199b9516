//! `make run`: the whole path at work. It takes the machine's containerd, or starts one where none runs, imports
//! the packed example apps, runs `chain`, asks it over HTTP, shows how `refused` is refused, and removes what it
//! made.
//!
//! The commands it prints are the ones it runs; only containerd's address and namespace are left out.

#![expect(clippy::print_stdout, reason = "showing is its purpose")]

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use catena_test::containerd::Containerd;
use catena_test::pack;
use catena_test::workspace;

fn main() -> Result<ExitCode> {
    let images = workspace::root().join("target/images");
    let containerd = Containerd::running_or_started()?;
    if containerd.is_own() {
        println!("No containerd runs here: one is started, with the shim first on its path.\n");
    } else {
        println!("The containerd of this machine is used, in a namespace that is removed again.\n");
    }
    let runtime = containerd.runtime();

    import(&containerd, &images.join("chain-rootfs.tar"))?;
    import(&containerd, &images.join("refused-rootfs.tar"))?;
    let names = containerd.ctr_ok(&["images", "list", "--quiet"])?;
    let named = |part: &str| {
        names
            .lines()
            .find(|name| name.contains(part))
            .with_context(|| format!("no image {part} in:\n{names}"))
    };

    let chain = named("chain")?;
    println!("$ ctr run --detach --runtime {runtime} --net-host \\");
    println!("      --env SPIN_HTTP_LISTEN_ADDR=127.0.0.1:0 {chain} demo");
    let task = containerd.container(chain, "demo").start()?;
    let address = task.address()?;
    println!("{}", containerd.ctr_ok(&["tasks", "list"])?);

    println!("gateway calls accounts, accounts calls ledger, all in memory:");
    curl(&format!("http://{address}/"), &[])?;
    println!("the ledger streams, and every line comes when it is written:");
    curl(
        &format!("http://{address}/stream?chunks=3"),
        &["--no-buffer"],
    )?;

    println!("$ ctr tasks kill --signal SIGTERM demo");
    task.kill("SIGTERM")?;
    task.becomes("STOPPED")?;
    let code = task.delete()?;
    println!("the task drained and exited with {code}\n");
    containerd.ctr_ok(&["containers", "delete", "demo"])?;
    containerd.nothing_is_left_of("demo")?;

    let refused = named("refused")?;
    println!("$ ctr run --runtime {runtime} {refused} refused");
    let output = containerd.container(refused, "refused").run()?;
    print!("{}", output.stderr);
    println!("exit code {}", output.code.unwrap_or(-1));
    if output.success {
        bail!("the image that must be refused has run");
    }
    containerd.nothing_is_left_of("refused")?;
    println!("\nNothing is left behind.");
    Ok(ExitCode::SUCCESS)
}

fn import(containerd: &Containerd, archive: &Path) -> Result<()> {
    let shown = archive.strip_prefix(workspace::root()).unwrap_or(archive);
    println!("$ ctr images import {}", shown.display());
    let archive = archive.to_str().context("a path that is no text")?;
    println!("{}", containerd.ctr_ok(&["images", "import", archive])?);
    Ok(())
}

fn curl(url: &str, flags: &[&str]) -> Result<()> {
    println!(
        "$ curl {}{url}",
        flags
            .iter()
            .fold(String::new(), |all, flag| all + flag + " ")
    );
    let output = pack::run(
        Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--max-time", "30"])
            .args(flags)
            .arg(url),
    )?;
    if !output.success {
        bail!("curl {url}: {}", output.stderr);
    }
    println!("{}", output.stdout);
    Ok(())
}
