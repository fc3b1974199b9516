//! A volume as a kubelet writes ConfigMaps, Secrets and projected tokens: every file is a link into `..data`, which is
//! a link to a folder of a name of its own, so that all files change at once.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use anyhow::Result;

/// A folder of the node.
pub struct Volume {
    folder: PathBuf,
    mode: u32,
    group: Option<u32>,
    versions: u32,
}

impl Volume {
    /// An empty one in `folder`, which is made.
    pub fn new(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self {
            folder,
            mode: 0o644,
            group: None,
            versions: 0,
        })
    }

    /// Its files get this mode (`defaultMode`).
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// It belongs to this group (`fsGroup`), and nobody else may look into it.
    pub fn of_group(mut self, group: u32) -> Result<Self> {
        self.group = Some(group);
        chown(&self.folder, Some(0), Some(group))?;
        fs::set_permissions(&self.folder, Permissions::from_mode(0o2750))?;
        Ok(self)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Replaces all that is in it.
    pub fn write(&mut self, files: &[(&str, &str)]) -> Result<()> {
        self.versions += 1;
        let data = self.folder.join("..data");
        let old = fs::read_link(&data).ok();
        let version = format!("..2026_11_21_12_00_00.{}", self.versions);
        let folder = self.folder.join(&version);
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
        for (name, text) in files {
            let file = folder.join(name);
            fs::write(&file, text)?;
            chown(&file, Some(0), self.group)?;
            fs::set_permissions(&file, Permissions::from_mode(self.mode))?;
        }
        let next = self.folder.join("..data_tmp");
        symlink(&version, &next)?;
        fs::rename(&next, &data)?;
        for (name, _) in files {
            let shown = self.folder.join(name);
            if fs::symlink_metadata(&shown).is_err() {
                symlink(Path::new("..data").join(name), &shown)?;
            }
        }
        if let Some(old) = old {
            fs::remove_dir_all(self.folder.join(old))?;
        }
        Ok(())
    }
}
