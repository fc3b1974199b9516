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

use super::{Cgroup, number};

/// A watch over one cgroup.
#[derive(Debug)]
pub(crate) struct OomWatch {
    /// Readable when something has happened.
    told: AsyncFd<File>,
    /// Version 1: gone when the cgroup is, which also counts as something that happens.
    /// Version 2: where the kernel counts.
    file: PathBuf,
    /// Version 2: how many processes were killed when last looked.
    seen: Option<u64>,
}

impl OomWatch {
    /// Begins to watch; `None` where the cgroup's memory is not accounted for.
    pub(crate) fn start(cgroup: &Cgroup) -> anyhow::Result<Option<OomWatch>> {
        let Some(folder) = cgroup.folder("memory") else {
            return Ok(None);
        };
        let (descriptor, file, seen) = match cgroup {
            Cgroup::V1(_) => {
                let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
                let control = File::open(folder.join("memory.oom_control"))
                    .context("opening memory.oom_control")?;
                let file = folder.join("cgroup.event_control");
                let request = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
                fs::write(&file, request).context("asking to be told when memory is short")?;
                (OwnedFd::from(event), file, None)
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
                (OwnedFd::from(inotify), file, Some(cgroup.oom_kills()))
            }
        };
        #[expect(
            unsafe_code,
            reason = "the runtime must be able to trust the descriptor"
        )]
        // SAFETY: a `File` owns one descriptor, always the same, until it is dropped.
        let told =
            unsafe { AsyncFd::register_with_interest(File::from(descriptor), Interest::READABLE)? };
        Ok(Some(OomWatch { told, file, seen }))
    }

    /// Waits until memory has run out once more; `None` when the cgroup is gone.
    pub(crate) async fn next(&mut self) -> Option<()> {
        loop {
            let mut buffer = [0; 4096];
            let mut ready = self.told.readable().await.ok()?;
            let read = ready.try_io(|file| {
                let mut file: &File = file.get_ref();
                file.read(&mut buffer)
            });
            match read {
                Err(_) => continue,
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(Err(_)) => return None,
                Ok(Ok(_)) => {}
            }
            let Some(seen) = self.seen else {
                return self.file.exists().then_some(());
            };
            let text = fs::read_to_string(&self.file).ok()?;
            let now = number(&text, "oom_kill").unwrap_or(0);
            self.seen = Some(now);
            if now > seen {
                return Some(());
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
        watch.next().await.unwrap();
        fs::remove_file(&file).unwrap();
        assert!(OomWatch::start(&cgroup).unwrap().is_none());
    }
}
