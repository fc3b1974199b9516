//! The cgroup of one container, version 1 or 2: who is in it, ending them, and how often the
//! kernel ran out of its memory. `stats` reads the numbers; libcontainer makes it.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) mod devices;
mod freezer;
mod oom;
mod removal;

pub(crate) use oom::OomWatch;
pub(crate) use removal::remove;

/// How often SIGKILL is sent to those who are still there, and how long it is given each time.
const KILL_PASSES: usize = 10;
const KILL_PAUSE: Duration = Duration::from_millis(10);

/// Whether this node has version 2 and nothing else.
pub(crate) fn is_version_2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Makes the kernel ready to move a process to another cgroup, beside what the caller does next. Before the first such
/// move the kernel waits for a grace period of RCU, some 8 ms, and not at all before the next ones if they follow within
/// some 10 ms. A thread made for this writes its own id into the cgroup that it is already in, which changes nothing, so
/// that the wait is over when the first process of a container is moved. Where it cannot, that process waits, as it would
/// have.
pub(crate) fn expect_moves() {
    // Not the process: somebody else may be moving it, and this would move it back. And not "0", which stands for the
    // thread itself: the kernel does not wait for that.
    let _ = std::thread::Builder::new().spawn(|| {
        let own = fs::read_to_string("/proc/self/cgroup").map(|text| Cgroup::locate(&text));
        let Ok(Ok(own)) = own else { return };
        let threads = match &own {
            Cgroup::V1(folders) => folders.values().next().map(|folder| folder.join("tasks")),
            Cgroup::V2(folder) => Some(folder.join("cgroup.threads")),
        };
        let file = threads.and_then(|path| OpenOptions::new().write(true).open(path).ok());
        if let Some(mut file) = file {
            let _ = file.write_all(nix::unistd::gettid().to_string().as_bytes());
        }
    });
}

/// Where a container's cgroup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cgroup {
    /// One folder per controller.
    V1(BTreeMap<String, PathBuf>),
    /// One folder.
    V2(PathBuf),
}

impl Cgroup {
    /// The cgroup that the text of a `/proc/<pid>/cgroup` names.
    pub(crate) fn locate(membership: &str) -> anyhow::Result<Cgroup> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading the mounts")?;
        Cgroup::parse(membership, &mounts)
    }

    fn parse(membership: &str, mountinfo: &str) -> anyhow::Result<Cgroup> {
        let mounts: Vec<CgroupMount> = mountinfo.lines().filter_map(CgroupMount::parse).collect();
        let mut controllers = BTreeMap::new();
        let mut unified = None;
        for line in membership.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(names), Some(path)) = (parts.next(), parts.next(), parts.next())
            else {
                bail!("unexpected line {line:?} in a process's list of cgroups");
            };
            if names.is_empty() {
                let mount = mounts.iter().find(|mount| mount.unified);
                unified = mount.map(|mount| mount.resolve(path));
                continue;
            }
            for name in names.split(',') {
                if let Some(mount) = mounts.iter().find(|mount| mount.controls(name)) {
                    controllers.insert(name.to_owned(), mount.resolve(path));
                }
            }
        }
        match (controllers.is_empty(), unified) {
            (false, _) => Ok(Cgroup::V1(controllers)),
            (true, Some(folder)) => Ok(Cgroup::V2(folder)),
            (true, None) => bail!("no cgroup file system is mounted"),
        }
    }

    /// The folder of one controller.
    pub(crate) fn folder(&self, controller: &str) -> Option<&Path> {
        match self {
            Cgroup::V1(folders) => folders.get(controller).map(PathBuf::as_path),
            Cgroup::V2(folder) => Some(folder),
        }
    }

    /// All processes in it and below it; none when it is gone.
    pub(crate) fn processes(&self) -> io::Result<Vec<i32>> {
        let folder = ["pids", "memory", "devices", "cpu", "freezer"]
            .into_iter()
            .find_map(|controller| self.folder(controller));
        let mut found = Vec::new();
        if let Some(folder) = folder {
            collect(folder, &mut found)?;
        }
        // Version 2 lists a process of a foreign PID namespace as 0, which would mean the
        // caller's own process group to kill(2).
        found.retain(|pid| *pid > 0);
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Sends a signal to all processes in it. Never to those of the cgroup that the shim itself
    /// is in, which the container's would be if it was never made. SIGKILL is repeated until
    /// nobody is left, for a list of processes misses those that are made meanwhile.
    pub(crate) async fn signal_all(&self, signal: Signal) -> anyhow::Result<()> {
        if signal != Signal::SIGKILL {
            return self.signal_once(signal).map(drop);
        }
        for _ in 0..KILL_PASSES {
            if self.signal_once(signal)? == 0 {
                return Ok(());
            }
            tokio::time::sleep(KILL_PAUSE).await;
        }
        // They have the signal; what keeps them, such as a disk, is not ours to wait for.
        tracing::warn!("processes of a container take long to end");
        Ok(())
    }

    /// Signals the processes that are in it now, and tells how many these are.
    fn signal_once(&self, signal: Signal) -> anyhow::Result<usize> {
        let own = std::process::id().cast_signed();
        let processes = self
            .processes()
            .context("listing the container's processes")?;
        if processes.contains(&own) {
            bail!("the container has no cgroup of its own");
        }
        if signal == Signal::SIGKILL && !processes.is_empty() && self.kill_whole() {
            return Ok(processes.len());
        }
        for &pid in &processes {
            match kill(Pid::from_raw(pid), signal) {
                Ok(()) | Err(nix::Error::ESRCH) => {}
                Err(error) => return Err(error).context(format!("sending {signal} to {pid}")),
            }
        }
        if signal == Signal::SIGKILL {
            // Those that stand still end only when they go on.
            self.thaw()?;
        }
        Ok(processes.len())
    }

    /// Lets the kernel end all processes at once; false where it cannot.
    fn kill_whole(&self) -> bool {
        let Cgroup::V2(folder) = self else {
            return false;
        };
        let file = OpenOptions::new()
            .write(true)
            .open(folder.join("cgroup.kill"));
        file.is_ok_and(|mut file| file.write_all(b"1").is_ok())
    }

    /// How many processes the kernel killed here for want of memory; `None` where it does not count, or does no longer,
    /// for the cgroup is gone.
    pub(crate) fn oom_kills(&self) -> anyhow::Result<Option<u64>> {
        let file = match self {
            Cgroup::V1(_) => "memory.oom_control",
            Cgroup::V2(_) => "memory.events",
        };
        let Some(folder) = self.folder("memory") else {
            return Ok(None);
        };
        let path = folder.join(file);
        let place = || format!("reading {}", path.display());
        match fs::read_to_string(&path) {
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error).with_context(place),
            Ok(text) => {
                let count = number(&text, "oom_kill").context("it does not count oom_kill");
                count.map(Some).with_context(place)
            }
        }
    }
}

/// Whether it says that a cgroup is not there, or not any more.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// The number behind `key` in a file of `key value` lines.
pub(crate) fn number(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        line.strip_prefix(key)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

fn collect(folder: &Path, found: &mut Vec<i32>) -> io::Result<()> {
    let entries = match fs::read_to_string(folder.join("cgroup.procs")) {
        Ok(text) => {
            found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
            fs::read_dir(folder)
        }
        Err(error) => Err(error),
    };
    let entries = match entries {
        Err(error) if is_gone(&error) => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), found)?;
        }
    }
    Ok(())
}

/// A mounted cgroup hierarchy.
struct CgroupMount {
    root: PathBuf,
    point: PathBuf,
    unified: bool,
    options: Vec<String>,
}

impl CgroupMount {
    /// Reads a line of mountinfo; `None` for other file systems.
    fn parse(line: &str) -> Option<CgroupMount> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let mut fields = filesystem.split(' ');
        let (kind, _source, options) = (fields.next()?, fields.next()?, fields.next()?);
        let unified = kind == "cgroup2";
        (unified || kind == "cgroup").then(|| CgroupMount {
            root: root.into(),
            point: point.into(),
            unified,
            options: options.split(',').map(str::to_owned).collect(),
        })
    }

    fn controls(&self, controller: &str) -> bool {
        !self.unified && self.options.iter().any(|option| option == controller)
    }

    /// The folder of the cgroup `path`, which may lie below what is mounted here.
    fn resolve(&self, path: &str) -> PathBuf {
        let path = Path::new(path);
        let below = path
            .strip_prefix(&self.root)
            .or_else(|_| path.strip_prefix("/"));
        self.point.join(below.unwrap_or(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1_MOUNTS: &str = "\
30 25 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 /pod /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";

    #[test]
    fn version_1_has_a_folder_per_controller() {
        let membership = "4:cpu,cpuacct:/ns/c\n3:memory:/pod/ns/c\n1:name=systemd:/x\n0::/\n";
        let cgroup = Cgroup::parse(membership, V1_MOUNTS).unwrap();
        assert_eq!(
            cgroup.folder("cpu").unwrap(),
            Path::new("/sys/fs/cgroup/cpu,cpuacct/ns/c")
        );
        assert_eq!(
            cgroup.folder("memory").unwrap(),
            Path::new("/sys/fs/cgroup/memory/ns/c")
        );
        assert_eq!(cgroup.folder("pids"), None);
    }

    #[test]
    fn version_2_has_one_folder() {
        let mounts = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let cgroup = Cgroup::parse("0::/kubepods/c\n", mounts).unwrap();
        assert_eq!(cgroup, Cgroup::V2("/sys/fs/cgroup/kubepods/c".into()));
    }

    #[test]
    fn processes_of_nested_cgroups_count_and_a_missing_one_has_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("cgroup.procs"), "7\n0\n9\n").unwrap();
        fs::write(folder.path().join("sub/cgroup.procs"), "8\n").unwrap();
        assert_eq!(
            Cgroup::V2(folder.path().into()).processes().unwrap(),
            [7, 8, 9]
        );
        assert!(
            Cgroup::V2(folder.path().join("no"))
                .processes()
                .unwrap()
                .is_empty()
        );
    }

    #[tokio::test]
    async fn the_shim_never_ends_itself() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("cgroup.procs"),
            std::process::id().to_string(),
        )
        .unwrap();
        assert!(
            Cgroup::V2(folder.path().into())
                .signal_all(Signal::SIGCONT)
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn the_kernel_ends_all_where_it_can() {
        let folder = tempfile::tempdir().unwrap();
        // Above the highest number that a process can have.
        fs::write(folder.path().join("cgroup.procs"), "2000000000").unwrap();
        fs::write(folder.path().join("cgroup.kill"), "").unwrap();
        let cgroup = Cgroup::V2(folder.path().into());
        cgroup.signal_all(Signal::SIGTERM).await.unwrap();
        let written = || fs::read_to_string(folder.path().join("cgroup.kill")).unwrap();
        assert_eq!(written(), "");
        cgroup.signal_all(Signal::SIGKILL).await.unwrap();
        assert_eq!(written(), "1");
    }

    #[test]
    fn oom_kills_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let events = folder.path().join("memory.events");
        let cgroup = Cgroup::V2(folder.path().into());
        assert_eq!(cgroup.oom_kills().unwrap(), None);
        fs::write(&events, "oom 3\noom_kill 2\n").unwrap();
        assert_eq!(cgroup.oom_kills().unwrap(), Some(2));
        // What cannot be understood is not nothing.
        fs::write(&events, "oom 3\n").unwrap();
        let error = format!("{:#}", cgroup.oom_kills().unwrap_err());
        assert!(
            error.contains("memory.events: it does not count"),
            "{error}"
        );
    }
}
