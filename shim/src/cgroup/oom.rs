//! Hears of it when the kernel runs out of a cgroup's memory: by an eventfd in version 1, by
//! changes of `memory.events` in version 2.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use anyhow::Context as _;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Cgroup;

/// A watch over one cgroup.
#[derive(Debug)]
pub(crate) struct OomWatch {
    /// Readable when something has happened.
    told: AsyncFd<File>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Something happens when memory runs out, and when the cgroup goes, with this file.
    V1 { file: PathBuf },
    /// Something happens whenever the kernel has counted; it counts other things too.
    V2 { cgroup: Cgroup, seen: u64 },
}

impl OomWatch {
    /// Begins to watch; `None` where the cgroup's memory is not accounted for.
    pub(crate) fn start(cgroup: &Cgroup) -> anyhow::Result<Option<OomWatch>> {
        let Some(folder) = cgroup.folder("memory") else {
            return Ok(None);
        };
        let (descriptor, kind) = match cgroup {
            Cgroup::V1(_) => {
                let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
                let control = File::open(folder.join("memory.oom_control"))
                    .context("opening memory.oom_control")?;
                let file = folder.join("cgroup.event_control");
                let request = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
                fs::write(&file, request).context("asking to be told when memory is short")?;
                (OwnedFd::from(event), Kind::V1 { file })
            }
            Cgroup::V2(_) => {
                let file = folder.join("memory.events");
                if !file.exists() {
                    return Ok(None);
                }
                let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
                inotify
                    .add_watch(&file, AddWatchFlags::IN_MODIFY)
                    .context("watching memory.events")?;
                let Some(seen) = cgroup.oom_kills()? else {
                    return Ok(None);
                };
                let cgroup = cgroup.clone();
                (OwnedFd::from(inotify), Kind::V2 { cgroup, seen })
            }
        };
        #[expect(
            unsafe_code,
            reason = "the runtime must be able to trust the descriptor"
        )]
        // SAFETY: a `File` owns one descriptor, always the same, until it is dropped.
        let told =
            unsafe { AsyncFd::register_with_interest(File::from(descriptor), Interest::READABLE)? };
        Ok(Some(OomWatch { told, kind }))
    }

    /// Waits until memory has run out once more; `None` when the cgroup is gone.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<()>> {
        loop {
            let mut buffer = [0; 4096];
            let mut ready = self.told.readable().await?;
            let read = ready.try_io(|file| {
                let mut file: &File = file.get_ref();
                file.read(&mut buffer)
            });
            match read {
                Err(_) => continue,
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(read) => read.context("hearing of the end of memory")?,
            };
            let (cgroup, seen) = match &mut self.kind {
                Kind::V1 { file } => return Ok(file.exists().then_some(())),
                Kind::V2 { cgroup, seen } => (cgroup, seen),
            };
            let Some(now) = cgroup.oom_kills()? else {
                return Ok(None);
            };
            if now > std::mem::replace(seen, now) {
                return Ok(Some(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn version_2_tells_when_a_process_was_killed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("memory.events");
        fs::write(&file, "oom 0\noom_kill 0\n").unwrap();
        let cgroup = Cgroup::V2(folder.path().into());
        let mut watch = OomWatch::start(&cgroup).unwrap().unwrap();
        fs::write(&file, "oom 1\noom_kill 1\n").unwrap();
        watch.next().await.unwrap().unwrap();
        fs::write(&file, "oom 2\n").unwrap();
        assert!(watch.next().await.is_err());
        fs::remove_file(&file).unwrap();
        assert!(OomWatch::start(&cgroup).unwrap().is_none());
    }
}
