//! Removes a container's cgroup. libcontainer gives up after a tenth of a second, which the memory of a big process
//! outlives on a busy node, and takes what it cannot list for removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use libcontainer::config::YoukiConfig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{CgroupMount, collect, is_gone};

/// How long the kernel is given to let go of processes that were killed, and how often it is asked. containerd gives
/// `delete` 5 s for everything.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(10);

/// Ends whatever is left in the cgroup of the container with this state folder and removes it with those below it; that
/// it is gone is fine. Blocks for up to 3 s, and fails if processes stay longer. What systemd made is systemd's.
pub(crate) fn remove(state: &Path) -> anyhow::Result<()> {
    // A container whose making was cut short has no cgroup yet.
    let Ok(config) = YoukiConfig::load(state) else {
        return Ok(());
    };
    let Ok(path) = config.cgroup_path.strip_prefix("/") else {
        return Ok(());
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading the mounts")?;
    let deadline = Instant::now() + PATIENCE;
    for folder in folders(path, &mounts)? {
        while let Err(error) = remove_tree(&folder) {
            let busy = error.raw_os_error() == Some(libc::EBUSY);
            if !busy || Instant::now() > deadline {
                return Err(error)
                    .with_context(|| format!("removing the cgroup {}", folder.display()));
            }
            end(&folder)?;
            sleep(PAUSE);
        }
    }
    Ok(())
}

/// Where a cgroup is in each hierarchy, as libcontainer places it.
fn folders(path: &Path, mountinfo: &str) -> anyhow::Result<Vec<PathBuf>> {
    let named = path.file_name().is_some();
    if !named || path.iter().any(|part| part == "..") {
        bail!(
            "{:?} is not the path of a container's cgroup",
            path.display()
        );
    }
    let mounts = mountinfo.lines().filter_map(CgroupMount::parse);
    Ok(mounts.map(|mount| mount.point.join(path)).collect())
}

/// Sends SIGKILL to those in a cgroup and below it.
fn end(folder: &Path) -> anyhow::Result<()> {
    let mut processes = Vec::new();
    collect(folder, &mut processes).context("listing the container's processes")?;
    if processes.contains(&std::process::id().cast_signed()) {
        bail!("the container has no cgroup of its own");
    }
    // Version 2 ends them all at once, also those that are made meanwhile.
    if fs::write(folder.join("cgroup.kill"), "1").is_ok() {
        return Ok(());
    }
    // What has a foreign PID namespace is listed as 0.
    for pid in processes.into_iter().filter(|pid| *pid > 0) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    Ok(())
}

/// Removes a cgroup after those below it.
fn remove_tree(folder: &Path) -> io::Result<()> {
    let gone = |error: io::Error| {
        if is_gone(&error) { Ok(()) } else { Err(error) }
    };
    let entries = match fs::read_dir(folder) {
        Err(error) => return gone(error),
        Ok(entries) => entries,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(folder).or_else(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 25 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
";

    #[test]
    fn it_is_looked_for_in_every_hierarchy_and_is_never_a_whole_one() {
        let found = folders(Path::new("pod/it"), MOUNTS).unwrap();
        let expected = [
            "/sys/fs/cgroup/unified/pod/it",
            "/sys/fs/cgroup/pids/pod/it",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
        for path in ["", ".", "..", "pod/../.."] {
            assert!(folders(Path::new(path), MOUNTS).is_err(), "{path}");
        }
    }

    #[test]
    fn the_groups_below_go_first_and_a_missing_one_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        let group = folder.path().join("group");
        fs::create_dir_all(group.join("a/b")).unwrap();
        remove_tree(&group).unwrap();
        assert!(!group.exists());
        remove_tree(&group).unwrap();
    }
}
