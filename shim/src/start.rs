//! `start`: what containerd calls for every container. It answers with the address of the pod's
//! shim, and starts that shim when there is none yet. The socket is bound here and handed over, so
//! that containerd can connect while the daemon is still starting.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use containerd_shim::{Flags, socket_address};

use crate::spec;

/// Answers `start` on standard output.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<()> {
    let bundle = Path::new(".");
    let group = spec::group(bundle, &flags.id)?;
    let address = socket_address(&flags.address, &flags.namespace, &group);
    if let Some(listener) = bind(socket_path(&address))? {
        let started = spawn_daemon(flags, &address, listener);
        if started.is_err() {
            let _ = std::fs::remove_file(socket_path(&address));
        }
        started?;
    }
    // containerd 1.6 finds the shim through this file after a restart.
    write_address(bundle, &address).context("writing the shim's address into the bundle")?;
    let mut stdout = io::stdout();
    stdout.write_all(address.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// The path in a socket's address.
pub(crate) fn socket_path(address: &str) -> &Path {
    Path::new(address.strip_prefix("unix://").unwrap_or(address))
}

/// A new socket at `path`, or `None` when a shim serves there already.
fn bind(path: &Path) -> anyhow::Result<Option<UnixListener>> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("making the folder {}", folder.display()))?;
    }
    // Twice: what a dead shim left is removed once.
    for _ in 0..2 {
        match UnixListener::bind(path) {
            Ok(listener) => {
                // Whoever can connect commands the pod.
                std::fs::set_permissions(path, Permissions::from_mode(0o600))
                    .with_context(|| format!("restricting {}", path.display()))?;
                return Ok(Some(listener));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => {
                return Err(error).with_context(|| format!("binding {}", path.display()));
            }
        }
        if UnixStream::connect(path).is_ok() {
            return Ok(None);
        }
        let _ = std::fs::remove_file(path);
    }
    bail!("the socket {} is neither served nor free", path.display())
}

fn spawn_daemon(flags: &Flags, address: &str, listener: UnixListener) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([
            "-namespace",
            &flags.namespace,
            "-id",
            &flags.id,
            "-address",
            &flags.address,
        ])
        .args(["-socket", address])
        .stdin(Stdio::from(OwnedFd::from(listener)))
        // containerd waits until nobody holds these.
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if flags.debug {
        command.arg("-debug");
    }
    let child = command.spawn().context("starting the shim")?;
    containerd_shim::cgroup::set_cgroup_and_oom_score(child.id())
        .context("placing the shim in its cgroup")?;
    Ok(())
}

fn write_address(bundle: &Path, address: &str) -> io::Result<()> {
    let partial = bundle.join(".address");
    std::fs::write(&partial, address)?;
    std::fs::rename(partial, bundle.join("address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_served_socket_is_joined_and_a_dead_one_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s/socket");
        let listener = bind(&path).unwrap().unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(bind(&path).unwrap().is_none());
        drop(listener);
        assert!(bind(&path).unwrap().is_some());
    }
}
