//! A machine apart: namespaces of its own for mounts, network and processes, so that a whole cluster runs at its usual
//! ports and places and changes nothing of the machine. With its first process, which is the test, everything in it
//! ends, whatever the test's end was. It needs root.
//!
//! ```text
//!  the program --> unshare --> the same program again, as process 1 of the machine apart
//!   | waits                     | everything else is its child
//!   | <-------- its end --------+
//!   | removes folder and cgroups
//! ```

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::pack;

/// Tells the program that it is apart, and which folder is its.
const FOLDER: &str = "CATENA_KUBERNETES_FOLDER";
/// Where cgroups are mounted: all of version 2, or a folder for each hierarchy of version 1.
const CGROUPS: &str = "/sys/fs/cgroup";
/// What a kubelet sets, in files of ours over the machine's: these know no namespaces.
const SYSCTLS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// A folder that is removed at the end, and what bears its name.
pub struct Apart {
    /// The folder.
    pub folder: PathBuf,
    /// A cgroup of every hierarchy.
    pub cgroup: String,
}

/// Does the work on a machine apart.
pub fn apart(work: impl FnOnce(&Apart) -> ExitCode) -> Result<ExitCode> {
    let Some(folder) = std::env::var_os(FOLDER) else {
        let folder = tempfile::Builder::new()
            .prefix("catena-kubernetes-")
            .tempdir()?;
        return outside(&folder);
    };
    let folder = PathBuf::from(folder);
    let cgroup = format!("/{}", name(&folder)?);
    furnish(&folder).context("furnishing the machine apart: is this root?")?;
    Ok(work(&Apart { folder, cgroup }))
}

fn name(folder: &Path) -> Result<&str> {
    let name = folder.file_name().and_then(OsStr::to_str);
    name.context("a folder without a name")
}

fn outside(folder: &TempDir) -> Result<ExitCode> {
    for cgroup in cgroups(name(folder.path())?) {
        fs::create_dir(&cgroup).with_context(|| format!("making {}", cgroup.display()))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(inside(folder.path()));
    for cgroup in cgroups(name(folder.path())?) {
        remove(&cgroup)?;
    }
    Ok(if ended? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs this program again, apart; whether it succeeded.
async fn inside(folder: &Path) -> Result<bool> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut child = tokio::process::Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--mount-proc"])
        .args(["--propagation", "private", "--kill-child"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(FOLDER, folder)
        .env("TMPDIR", folder)
        .spawn()
        .context("running unshare")?;
    let status = tokio::select! {
        status = child.wait() => return Ok(status?.success()),
        _ = interrupt.recv() => child.kill().await,
        _ = terminate.recv() => child.kill().await,
    };
    status?;
    bail!("interrupted")
}

/// Where a group of this name is or will be, in every hierarchy.
fn cgroups(name: &str) -> Vec<PathBuf> {
    if Path::new(CGROUPS).join("cgroup.controllers").exists() {
        return vec![Path::new(CGROUPS).join(name)];
    }
    let hierarchies = fs::read_dir(CGROUPS).into_iter().flatten().flatten();
    hierarchies
        // Two controllers in one hierarchy have a link each.
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path().join(name))
        .collect()
}

/// Removes a cgroup with all in it, as soon as their processes have ended.
fn remove(cgroup: &Path) -> Result<()> {
    let below = fs::read_dir(cgroup).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path())?;
    }
    let started = Instant::now();
    while let Err(error) = fs::remove_dir(cgroup) {
        if started.elapsed() > Duration::from_secs(10) {
            return Err(error).with_context(|| format!("removing {}", cgroup.display()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// What runs here keeps its state in folders of this machine's own, and has a network that reaches itself.
fn furnish(folder: &Path) -> Result<()> {
    let none = None::<&str>;
    for place in ["/run", "/var/log", "/var/lib/cni"] {
        if Path::new(place).is_dir() {
            mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), none)
                .with_context(|| format!("mounting over {place}"))?;
        }
    }
    let settings = folder.join("sysctls");
    fs::create_dir(&settings)?;
    for (name, value) in SYSCTLS {
        let file = settings.join(name.replace('/', "."));
        fs::write(&file, format!("{value}\n"))?;
        let place = Path::new("/proc/sys").join(name);
        mount(Some(&file), &place, none, MsFlags::MS_BIND, none)
            .with_context(|| format!("mounting over {}", place.display()))?;
    }
    ip(&["link", "set", "lo", "up"])?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("forwarding packets")
}

/// `ip` with these arguments.
pub(super) fn ip(arguments: &[&str]) -> Result<()> {
    let output = pack::run(Command::new("ip").args(arguments))?;
    if !output.success {
        bail!("ip {}: {}", arguments.join(" "), output.stderr);
    }
    Ok(())
}
