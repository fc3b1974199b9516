//! Who manages the cgroups of pods: the runtime itself, in folders, or systemd, in units.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The two ways that a kubelet can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// A pod has a folder, and each of its containers one below.
    Cgroupfs,
    /// A pod has a slice, and each of its containers a scope in it.
    Systemd,
}

impl Driver {
    /// The one that `TEST_CGROUPS` names, which `make test-cgroup2` sets; else folders, which every machine has.
    pub fn asked() -> Result<Self> {
        match std::env::var("TEST_CGROUPS").as_deref() {
            Err(std::env::VarError::NotPresent) | Ok("cgroupfs") => Ok(Self::Cgroupfs),
            Ok("systemd") if Path::new("/run/systemd/system").exists() => Ok(Self::Systemd),
            Ok("systemd") => bail!("TEST_CGROUPS asks for systemd, which does not run here"),
            other => bail!("TEST_CGROUPS is {other:?}: it may be cgroupfs or systemd"),
        }
    }

    /// The cgroup of a pod, as a kubelet names it. A slice `a-b.slice` lies in `a.slice`.
    pub(super) fn parent(self, group: &str) -> String {
        match self {
            Self::Cgroupfs => format!("/{group}"),
            Self::Systemd => {
                let dashes = group.match_indices('-').map(|(at, _)| at);
                let ends = dashes.chain([group.len()]);
                ends.map(|end| format!("/{}.slice", &group[..end]))
                    .collect()
            }
        }
    }

    /// Where the container `id` of such a pod is.
    pub fn place(self, parent: &str, id: &str) -> String {
        match self {
            Self::Cgroupfs => format!("{parent}/{id}"),
            Self::Systemd => format!("{parent}/cri-containerd-{id}.scope"),
        }
    }

    /// Writes the shim's options into `folder`, where there are any to write.
    pub(super) fn options(self, folder: &Path) -> Result<Option<PathBuf>> {
        if self == Self::Cgroupfs {
            return Ok(None);
        }
        let path = folder.join("shim.toml");
        std::fs::write(&path, "SystemdCgroup = true\n").context("writing the shim's options")?;
        Ok(Some(path))
    }
}
