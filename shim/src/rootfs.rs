//! The root file system of a container: mounted from what containerd's snapshotter prepared, and
//! taken away again. A [`Rootfs`] that is dropped without [`Rootfs::keep`] undoes itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use containerd_shim::mount::mount_rootfs;
use containerd_shim::protos::api::Mount;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// `<bundle>/rootfs`, mounted.
#[derive(Debug)]
pub(crate) struct Rootfs {
    path: PathBuf,
    undo: bool,
}

impl Rootfs {
    /// Mounts `mounts` over each other at `<bundle>/rootfs`; with no mounts the folder stays as
    /// it is. Blocks.
    pub(crate) fn mount(bundle: &Path, mounts: &[Mount]) -> anyhow::Result<Rootfs> {
        let path = bundle.join("rootfs");
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("making {}", path.display()));
            }
            _ => {}
        }
        let rootfs = Rootfs { path, undo: true };
        for mount in mounts {
            let text = |text: &'_ str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let (kind, source) = (text(&mount.type_), text(&mount.source));
            let options: Vec<String> = mount.options.to_vec();
            mount_rootfs(kind.as_deref(), source.as_deref(), &options, &rootfs.path).with_context(
                || format!("mounting {} at {}", mount.source, rootfs.path.display()),
            )?;
        }
        Ok(rootfs)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts an empty file system there, for an application that has no root file system because
    /// containerd did not unpack its image. What a container's mounts need is made in it and goes
    /// with it: containerd removes the bundle only when this folder is empty.
    pub(crate) fn cover(&self) -> anyhow::Result<()> {
        let (kind, options) = (Some("tmpfs"), Some("mode=755,size=1m"));
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(kind, &self.path, kind, flags, options)
            .with_context(|| format!("mounting an empty root at {}", self.path.display()))
    }

    /// From here on somebody else unmounts it, with [`unmount`].
    pub(crate) fn keep(mut self) {
        self.undo = false;
    }
}

impl Drop for Rootfs {
    fn drop(&mut self) {
        if self.undo
            && let Err(error) = unmount(&self.path)
        {
            tracing::error!(path = %self.path.display(), %error, "unmounting a root file system");
        }
    }
}

/// Takes all mounts from `path`; that there are none is fine.
pub(crate) fn unmount(path: &Path) -> nix::Result<()> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => continue,
            // EINVAL: nothing is mounted there.
            Err(nix::Error::EINVAL | nix::Error::ENOENT) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
