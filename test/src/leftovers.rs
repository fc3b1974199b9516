//! What a container leaves behind when it should leave nothing.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Where one container's traces would be.
pub struct Leftovers {
    /// containerd's namespace: unique to its daemon.
    pub namespace: String,
    /// The cgroup of all its containers.
    pub group: String,
    /// containerd's socket.
    pub address: PathBuf,
    /// containerd's `state` folder.
    pub state: PathBuf,
}

impl Leftovers {
    /// Everything that is still there of `id`, a line each.
    pub fn of(&self, id: &str) -> Vec<String> {
        let mut found = Vec::new();
        found.extend(self.processes(id));
        found.extend(self.mounts(id));
        found.extend(self.cgroups(id));
        found.extend(self.socket(id));
        found.extend(self.bundle(id));
        found
    }

    /// Processes of the container, or of its shim.
    fn processes(&self, id: &str) -> Vec<String> {
        processes()
            .into_iter()
            .filter(|process| {
                let of_shim = process
                    .command
                    .contains(&self.address.display().to_string())
                    && process.command.contains(&self.namespace)
                    && process.command.contains(id)
                    && process.command.contains("shim");
                of_shim || process.cgroups.contains(&format!("/{}/{id}", self.group))
            })
            .map(|process| format!("process {}: {}", process.pid, process.command))
            .collect()
    }

    /// Groups of that name in the daemon's, in any hierarchy: what another daemon's container of this name has is its own.
    fn cgroups(&self, id: &str) -> Vec<String> {
        let mut found = Vec::new();
        self.search(Path::new("/sys/fs/cgroup"), id, 5, &mut found);
        found
    }

    fn search(&self, folder: &Path, id: &str, depth: usize, found: &mut Vec<String>) {
        let own = folder.display().to_string().contains(&self.group);
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if own && entry.file_name().to_string_lossy().contains(id) {
                found.push(format!("cgroup {}", entry.path().display()));
            }
            if depth > 0 {
                self.search(&entry.path(), id, depth - 1, found);
            }
        }
    }

    fn mounts(&self, id: &str) -> Vec<String> {
        let part = format!("/{}/{id}/", self.namespace);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        mounts
            .lines()
            .filter(|line| line.contains(&part))
            .map(|line| format!("mount {line}"))
            .collect()
    }

    /// The shim's socket, named as every shim names it: by containerd's address, the namespace and the id.
    fn socket(&self, id: &str) -> Option<String> {
        let named = self.address.join(&self.namespace).join(id);
        let digits: String = Sha256::digest(named.display().to_string())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let socket = Path::new("/run/containerd/s").join(digits);
        socket
            .exists()
            .then(|| format!("socket {}", socket.display()))
    }

    fn bundle(&self, id: &str) -> Option<String> {
        let bundle = self
            .state
            .join("io.containerd.runtime.v2.task")
            .join(&self.namespace)
            .join(id);
        bundle
            .exists()
            .then(|| format!("bundle {}", bundle.display()))
    }
}

/// A process, as /proc tells it.
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its command line.
    pub command: String,
    /// Its cgroups.
    pub cgroups: String,
}

/// All processes.
pub fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace('\0', " ");
            Some(Process {
                pid,
                command: text(read("cmdline")),
                cgroups: text(read("cgroup")),
            })
        })
        .collect()
}
