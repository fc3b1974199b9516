//! A node to install on: a root file system that holds nothing but a statically linked shell and what a test puts
//! there. The installer works on it as on a real one. It needs root.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

use crate::pack::{self, Output};
use crate::workspace;

/// Where the restarts of services are written down.
const RESTARTS: &str = "restarts";

/// The bundle of the binary under test, made once a program.
pub fn bundle() -> Result<PathBuf> {
    static MADE: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(out) = &*made {
        return Ok(out.clone());
    }
    let out = workspace::root().join("target/deploy-test");
    // One that a test of another binary has left.
    _ = fs::remove_dir_all(&out);
    make_bundle(&workspace::binary()?, &out, Path::new("/opt/catena"))?;
    *made = Some(out.clone());
    Ok(out)
}

/// Runs `deploy/bundle.sh`; the version's name.
pub fn make_bundle(binary: &Path, out: &Path, prefix: &Path) -> Result<String> {
    let mut script = Command::new(workspace::root().join("deploy/bundle.sh"));
    let said = succeed(script.arg(binary).arg(out).arg(prefix))?;
    Ok(said.trim().to_owned())
}

/// Runs `deploy/installer/image.sh`; the image's name.
pub fn make_image(bundle: &Path, out: &Path) -> Result<String> {
    let mut script = Command::new(workspace::root().join("deploy/installer/image.sh"));
    let said = succeed(script.arg(bundle).arg(out))?;
    Ok(said.trim().to_owned())
}

/// A run of the installer with busybox's shell, and with nothing in its environment but this.
pub fn install_sh(action: &str, settings: &[(&str, &OsStr)]) -> Result<Output> {
    let mut shell = Command::new("busybox");
    shell.arg("sh");
    shell.arg(workspace::root().join("deploy/installer/install.sh"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    shell.arg(action).env_clear().env("PATH", path);
    pack::run(shell.envs(settings.iter().copied()))
}

/// A command's output, which has to succeed.
fn succeed(command: &mut Command) -> Result<String> {
    let output = pack::run(command)?;
    if !output.success {
        bail!("{:?}:\n{}{}", command, output.stdout, output.stderr);
    }
    Ok(output.stdout)
}

/// The node.
pub struct Node {
    root: TempDir,
}

impl Node {
    /// A node on which nothing is installed.
    pub fn new() -> Result<Self> {
        let root = tempfile::Builder::new().prefix("catena-node-").tempdir()?;
        let node = Self { root };
        for folder in ["bin", "proc", "tmp"] {
            fs::create_dir(node.path(folder))?;
        }
        let found = succeed(Command::new("sh").args(["-c", "command -v busybox"]))?;
        fs::copy(found.trim(), node.path("bin/busybox")).context("copying busybox")?;
        for applet in ["sh", "cat", "echo"] {
            symlink("busybox", node.path("bin").join(applet))?;
        }
        let none = None::<&str>;
        mount(
            Some("/proc"),
            &node.path("proc"),
            none,
            MsFlags::MS_BIND | MsFlags::MS_REC,
            none,
        )
        .context("mounting the node's /proc: is this root?")?;
        Ok(node)
    }

    /// A path of the node, without its first slash, as this machine sees it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes a file, with its folders.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        fs::create_dir_all(path.parent().context("a file in no folder")?)?;
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.path(name)).with_context(|| format!("reading the node's {name}"))
    }

    /// Gives it a service, and a systemctl that writes down what it is told.
    pub fn with_service(&self, name: &str) -> Result<()> {
        self.write(&format!("etc/systemd/system/{name}.service"), "")?;
        self.write(
            "bin/systemctl",
            &format!("#!/bin/sh\necho \"$@\" >> /{RESTARTS}\n"),
        )?;
        let mode = fs::Permissions::from_mode(0o755);
        Ok(fs::set_permissions(self.path("bin/systemctl"), mode)?)
    }

    /// What systemctl was told, a line each.
    pub fn restarts(&self) -> Vec<String> {
        let told = self.read(RESTARTS).unwrap_or_default();
        told.lines().map(str::to_owned).collect()
    }

    /// The installer on this node.
    pub fn run(&self, action: &str, settings: &[(&str, &str)]) -> Result<Output> {
        let bundle = bundle()?;
        let mut all = vec![
            ("HOST_ROOT", self.root.path().as_os_str()),
            ("BUNDLE", bundle.as_os_str()),
        ];
        all.extend(
            settings
                .iter()
                .map(|(name, value)| (*name, OsStr::new(*value))),
        );
        install_sh(action, &all)
    }

    /// The same, and it has to succeed; what it said.
    pub fn run_ok(&self, action: &str, settings: &[(&str, &str)]) -> Result<String> {
        let output = self.run(action, settings)?;
        if !output.success {
            bail!("{action}:\n{}{}", output.stdout, output.stderr);
        }
        Ok(output.stdout)
    }

    /// The version that the link in the usual place leads to.
    pub fn installed(&self) -> Result<String> {
        let link = fs::read_link(self.path("usr/local/bin/containerd-shim-catena-v1"))?;
        let version = link.components().nth(3).context("a link to elsewhere")?;
        Ok(version.as_os_str().to_string_lossy().into_owned())
    }

    /// A command in the node's root file system.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(self.root.path()).arg(program).env_clear();
        command.env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// All files and links of it, by path; a link by where it leads.
    pub fn files(&self) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.root.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let kind = fs::symlink_metadata(&path)?.file_type();
                if kind.is_symlink() {
                    let to = fs::read_link(&path)?;
                    found.insert(path, to.into_os_string().into_encoded_bytes());
                } else if kind.is_file() {
                    let bytes = fs::read(&path)?;
                    found.insert(path, bytes);
                } else if path != self.path("proc") {
                    folders.push(path);
                }
            }
        }
        found.remove(&self.path(RESTARTS));
        Ok(found)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Before the folder is removed, and with all that lies in it.
        _ = umount2(&self.path("proc"), MntFlags::MNT_DETACH);
    }
}
