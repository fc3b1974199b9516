//! Images of a daemon, imported or moved to a registry, and the root file system of its Linux containers.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Containerd;
use crate::workspace;

impl Containerd {
    /// Imports an archive; the image's name.
    pub fn import(&self, archive: &Path) -> Result<String> {
        let path = archive.to_str().context("a path that is no text")?;
        self.ctr_ok(&["images", "import", path])?;
        image_name(archive)
    }

    /// Imports an archive into the content store and unpacks nothing; the image's name.
    pub fn import_content(&self, archive: &Path) -> Result<String> {
        self.import_with(archive, &["--no-unpack"])
    }

    fn import_with(&self, archive: &Path, flags: &[&str]) -> Result<String> {
        let archive = archive.to_str().context("a path that is no text")?;
        let listed = || self.ctr_ok(&["images", "list", "--quiet"]);
        let before = listed()?;
        self.ctr_ok(&[&["images", "import"], flags, &[archive]].concat())?;
        let after = listed()?;
        let mut new = after
            .lines()
            .filter(|name| !before.lines().any(|old| old == *name));
        new.next()
            .map(str::to_owned)
            .with_context(|| format!("no new image among: {after}"))
    }

    /// Moves an archive's image to a registry of plain HTTP, so that nothing of it is left here; the image's name there.
    pub fn push(&self, archive: &Path, registry: SocketAddr) -> Result<String> {
        // What is pushed has to be there whole.
        let image = self.import_with(archive, &["--no-unpack", "--all-platforms"])?;
        let (_, name) = image.rsplit_once('/').context("a name without a place")?;
        let there = format!("{registry}/{name}");
        self.ctr_ok(&["images", "tag", &image, &there])?;
        self.ctr_ok(&["images", "push", "--plain-http", &there])?;
        self.ctr_ok(&["images", "delete", "--sync", &image, &there])?;
        Ok(there)
    }

    /// A root file system with busybox in it, for Linux containers: `ctr run --rootfs`.
    pub fn busybox(&self) -> Result<String> {
        let root = self.path("busybox");
        for folder in ["bin", "dev", "proc", "tmp"] {
            fs::create_dir_all(root.join(folder))?;
        }
        if !root.join("bin/busybox").exists() {
            fs::copy(workspace::busybox()?, root.join("bin/busybox"))?;
        }
        for name in ["cat", "false", "sh", "sleep", "stty", "tail", "true"] {
            let link = root.join("bin").join(name);
            if !link.exists() {
                std::os::unix::fs::symlink("busybox", link)?;
            }
        }
        Ok(root.display().to_string())
    }
}

/// The name that an archive gives to its image.
fn image_name(archive: &Path) -> Result<String> {
    let mut entries = tar::Archive::new(File::open(archive)?);
    for entry in entries.entries()? {
        let mut entry = entry?;
        if entry.path()?.file_name() != Some("index.json".as_ref()) {
            continue;
        }
        let mut text = String::new();
        entry.read_to_string(&mut text)?;
        let index: serde_json::Value = serde_json::from_str(&text)?;
        let name = index["manifests"][0]["annotations"]["io.containerd.image.name"].as_str();
        return Ok(name.context("an image without a name")?.to_owned());
    }
    bail!("{} is no image", archive.display());
}
