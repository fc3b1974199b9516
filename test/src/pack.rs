//! Apps packed into images by `catena pack`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::workspace;

/// The form of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Ordinary tar layers that hold the lockfile and the wasm files.
    Rootfs,
    /// As `spin registry push` writes it.
    Spin,
    /// The CNCF's wasm artefact: one component, no lockfile.
    Wasm,
}

impl Form {
    /// As `--format` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rootfs => "rootfs",
            Self::Spin => "spin",
            Self::Wasm => "wasm",
        }
    }
}

/// An image in a temporary folder, as long as this lives.
pub struct Packed {
    folder: TempDir,
    tar: PathBuf,
}

impl Packed {
    /// Packs an app of `images/` or `test/apps/`.
    pub fn app(name: &str, form: Form) -> Result<Self> {
        Self::manifest(&workspace::manifest(name)?, form)
    }

    /// Packs what `manifest` describes.
    pub fn manifest(manifest: &Path, form: Form) -> Result<Self> {
        let folder = TempDir::new().context("making a folder for an image")?;
        let tar = folder.path().join("image.tar");
        let output = pack(&[
            OsStr::new("-f"),
            manifest.as_os_str(),
            OsStr::new("-o"),
            tar.as_os_str(),
            OsStr::new("--format"),
            OsStr::new(form.name()),
        ])?;
        if !output.success {
            bail!("packing {}:\n{}", manifest.display(), output.stderr);
        }
        Ok(Self { folder, tar })
    }

    /// Packs the manifest with this text, in which `GUESTS` stands for the folder of the built guests.
    pub fn text(manifest: &str, form: Form) -> Result<Self> {
        let (folder, path) = write_manifest(manifest)?;
        let packed = Self::manifest(&path, form);
        drop(folder);
        packed
    }

    /// The archive.
    pub fn path(&self) -> &Path {
        &self.tar
    }

    /// The lockfile in it: of the form [`Form::Spin`], where it is a layer of its own.
    pub fn lockfile(&self) -> Result<Value> {
        let mut archive = tar::Archive::new(File::open(&self.tar)?);
        for entry in archive.entries()? {
            let mut bytes = Vec::new();
            entry?.read_to_end(&mut bytes)?;
            let parsed = serde_json::from_slice::<Value>(&bytes);
            if let Some(lockfile) = parsed.ok().filter(|v| v["spin_lock_version"].is_number()) {
                return Ok(lockfile);
            }
        }
        bail!("no lockfile in {}", self.tar.display());
    }

    /// The archive unpacked: a layout folder.
    pub fn unpacked(&self) -> Result<PathBuf> {
        let folder = self.folder.path().join("layout");
        tar::Archive::new(File::open(&self.tar)?).unpack(&folder)?;
        Ok(folder)
    }
}

/// Writes a manifest into a folder of its own. `GUESTS` in it stands for the folder of the built guests.
pub fn write_manifest(text: &str) -> Result<(TempDir, PathBuf)> {
    let guests = workspace::root().join("target/guests/wasm32-wasip2/release");
    let folder = TempDir::new()?;
    let path = folder.path().join("spin.toml");
    std::fs::write(&path, text.replace("GUESTS", &guests.display().to_string()))?;
    Ok((folder, path))
}

/// How a run of the command line ended.
#[derive(Debug)]
pub struct Output {
    /// It exited with 0.
    pub success: bool,
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it printed for people.
    pub stderr: String,
}

/// `catena pack` with these arguments.
pub fn pack(arguments: &[&OsStr]) -> Result<Output> {
    let mut all = vec![OsStr::new("pack")];
    all.extend(arguments);
    command(&all)
}

/// `catena` with these arguments, to its end.
pub fn command(arguments: &[&OsStr]) -> Result<Output> {
    run(Command::new(workspace::binary()?).args(arguments))
}

/// Any command to its end.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = command
        .output()
        .with_context(|| format!("running {}", command.get_program().display()))?;
    Ok(Output {
        success: output.status.success(),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
