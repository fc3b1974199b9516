//! `delete`: what containerd calls when a shim is gone. It ends and removes whatever is left of
//! the container, tolerates what is missing, and answers as if it had been killed.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use containerd_shim::Flags;
use containerd_shim::protos::protobuf::{Message as _, MessageField};
use containerd_shim::protos::shim::shim::DeleteResponse;

use crate::cgroup::{self, Cgroup};
use crate::container::{remove_folder, state_folder, timestamp, work_folder};
use crate::start::socket_path;
use crate::{helper, log, rootfs};

/// As if ended by SIGKILL.
const KILLED: u32 = 137;

/// Answers `delete` on standard output.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<()> {
    // containerd takes what stands there as warnings.
    log::to_stderr(Some("error"), false);
    let bundle = match flags.bundle.as_str() {
        "" => std::env::current_dir().context("finding the bundle")?,
        bundle => PathBuf::from(bundle),
    };
    let pid = remove_container(&bundle, &flags.id)?;
    rootfs::unmount(&bundle.join("rootfs")).context("unmounting the root file system")?;
    remove_folder(&work_folder(&bundle))?;
    remove_dead_socket(&bundle);

    let response = DeleteResponse {
        pid: pid.cast_unsigned(),
        exit_status: KILLED,
        exited_at: MessageField::some(timestamp(SystemTime::now())),
        ..Default::default()
    };
    io::stdout().write_all(&response.write_to_bytes()?)?;
    Ok(())
}

/// Ends all processes of the container and removes its cgroup.
fn remove_container(bundle: &Path, id: &str) -> anyhow::Result<i32> {
    let state = state_folder(bundle, id);
    if !state.exists() {
        return Ok(0);
    }
    let mut container = match helper::load(state.clone()) {
        Ok(container) => container,
        Err(error) => {
            // A shim ended while it was written. The rest has to go all the same: no later try
            // would know more.
            tracing::error!("container {id}: its state cannot be read: {error:#}");
            cgroup::remove(&state)?;
            return Ok(0);
        }
    };
    let pid = container.pid().map_or(0, |pid| pid.as_raw());
    // A container that was paused ends only when it goes on.
    if let Ok(cgroups) = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))
        && let Err(error) = Cgroup::locate(&cgroups).and_then(|cgroup| cgroup.thaw())
    {
        tracing::error!("container {id}: {error:#}");
    }
    cgroup::remove(&state)?;
    container
        .delete(true)
        .map_err(helper::describe)
        .context("removing the container")?;
    Ok(pid)
}

/// The socket that the bundle names, if nobody serves it any more.
fn remove_dead_socket(bundle: &Path) {
    let Ok(address) = std::fs::read_to_string(bundle.join("address")) else {
        return;
    };
    let path = socket_path(address.trim());
    let refused = UnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if refused {
        let _ = std::fs::remove_file(path);
    }
}
