//! Stops all processes of a cgroup, and lets them go on: `freezer.state` in version 1,
//! `cgroup.freeze` in version 2.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::{Cgroup, is_gone, number};

/// How long the kernel may take to stop all processes. One that waits for a disk stops later.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(5);
const FREEZE_PAUSE: Duration = Duration::from_millis(5);

impl Cgroup {
    /// Stops all processes in it, and returns when they stand still. When that fails they go on.
    pub(crate) async fn freeze(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            // Version 1 misses processes that are made meanwhile, so it is told again.
            self.tell_freezer(true)
                .context("stopping the container's processes")?;
            if self.is_frozen()? {
                return Ok(());
            }
            if started.elapsed() > FREEZE_TIMEOUT {
                let limit = FREEZE_TIMEOUT.as_secs();
                self.thaw()?;
                bail!("the container's processes did not stand still within {limit} seconds");
            }
            tokio::time::sleep(FREEZE_PAUSE).await;
        }
    }

    /// Lets all processes in it go on. That they never stood still, or that there is no freezer,
    /// is fine.
    pub(crate) fn thaw(&self) -> anyhow::Result<()> {
        match self.tell_freezer(false) {
            Err(error) if is_gone(&error) => Ok(()),
            other => other.context("letting the container's processes go on"),
        }
    }

    fn tell_freezer(&self, freeze: bool) -> io::Result<()> {
        let (file, word) = match (self, freeze) {
            (Cgroup::V1(_), true) => ("freezer.state", "FROZEN"),
            (Cgroup::V1(_), false) => ("freezer.state", "THAWED"),
            (Cgroup::V2(_), true) => ("cgroup.freeze", "1"),
            (Cgroup::V2(_), false) => ("cgroup.freeze", "0"),
        };
        let mut file = OpenOptions::new()
            .write(true)
            .open(self.freezer()?.join(file))?;
        file.write_all(word.as_bytes())
    }

    fn is_frozen(&self) -> anyhow::Result<bool> {
        let file = match self {
            Cgroup::V1(_) => "freezer.state",
            Cgroup::V2(_) => "cgroup.events",
        };
        let path = self.freezer()?.join(file);
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(text.trim() == "FROZEN" || number(&text, "frozen") == Some(1))
    }

    fn freezer(&self) -> io::Result<&Path> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "this node has no freezer cgroup");
        self.folder("freezer").ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn version_2_is_told_by_a_number_and_tells_by_an_event() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("cgroup.freeze", "0");
        write("cgroup.events", "populated 1\nfrozen 1\n");
        let cgroup = Cgroup::V2(folder.path().into());
        let told = || fs::read_to_string(folder.path().join("cgroup.freeze")).unwrap();
        cgroup.freeze().await.unwrap();
        assert_eq!(told(), "1");
        cgroup.thaw().unwrap();
        assert_eq!(told(), "0");
    }

    #[tokio::test]
    async fn a_cgroup_that_is_gone_cannot_be_stopped_but_let_go() {
        let cgroup = Cgroup::V2("/nowhere".into());
        assert!(cgroup.freeze().await.is_err());
        cgroup.thaw().unwrap();
    }
}
