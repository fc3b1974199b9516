//! Images made by hand: what no packer would write, and every byte as the test wants it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::workspace;

/// The config of a Spin image.
pub const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A Spin image's lockfile layer.
pub const LOCKFILE: &str = "application/vnd.fermyon.spin.application.v1+config";
/// A Spin image's layer of wasm.
pub const WASM: &str = "application/vnd.wasm.content.layer.v1+wasm";
/// A Spin image's layer of an asset.
pub const DATA: &str = "application/vnd.wasm.content.layer.v1+data";
/// An ordinary layer.
pub const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// An OCI layout folder under construction.
pub struct Layout {
    folder: TempDir,
    layers: Vec<Value>,
}

impl Layout {
    /// An empty one.
    pub fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        fs::create_dir_all(folder.path().join("blobs/sha256"))?;
        fs::write(
            folder.path().join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )?;
        Ok(Self {
            folder,
            layers: Vec::new(),
        })
    }

    /// A Spin image of `lockfile` and the wasm that it names. `WASM` in the lockfile's text stands for the
    /// digest of `wasm`.
    pub fn spin(lockfile: &Value, wasm: &[u8]) -> Result<Self> {
        Self::spin_of(lockfile, &[("WASM", wasm)])
    }

    /// The same of several: each word in the lockfile's text stands for the digest of its wasm.
    pub fn spin_of(lockfile: &Value, parts: &[(&str, &[u8])]) -> Result<Self> {
        let mut layout = Self::new()?;
        let mut text = lockfile.to_string();
        for (word, wasm) in parts {
            let digest = layout.layer(WASM, wasm)?;
            text = text.replace(&format!("\"{word}\""), &format!("\"{digest}\""));
        }
        layout.layer(LOCKFILE, text.as_bytes())?;
        layout.finish()?;
        Ok(layout)
    }

    /// An ordinary Linux image of one layer, which holds `lockfile` and these files.
    pub fn rootfs(name: &str, lockfile: &Value, files: &[(&str, &[u8])]) -> Result<Self> {
        let lockfile = lockfile.to_string();
        let mut all = vec![("spin.json", lockfile.as_bytes())];
        all.extend(files);
        let mut layout = Self::new()?;
        let digest = layout.layer(TAR, &tar_of(&all)?)?;
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {"Entrypoint": ["/spin.json"]},
            "rootfs": {"type": "layers", "diff_ids": [digest]},
        });
        layout.finish_as(name, &config)?;
        Ok(layout)
    }

    /// Writes a blob; its digest.
    pub fn blob(&self, bytes: &[u8]) -> Result<String> {
        let digest = sha256(bytes);
        fs::write(self.blob_path(&digest), bytes).context("writing a blob")?;
        Ok(digest)
    }

    /// Where a blob lies.
    pub fn blob_path(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.folder.path().join("blobs/sha256").join(hex)
    }

    /// Adds a layer; its digest.
    pub fn layer(&mut self, media_type: &str, bytes: &[u8]) -> Result<String> {
        let digest = self.blob(bytes)?;
        self.layer_described(json!({
            "mediaType": media_type, "digest": digest, "size": bytes.len(),
        }));
        Ok(digest)
    }

    /// Adds the description of a layer, whether it is true or not.
    pub fn layer_described(&mut self, descriptor: Value) {
        self.layers.push(descriptor);
    }

    /// Writes the manifest and the index that names it.
    pub fn finish(&mut self) -> Result<()> {
        let config = json!({
            "architecture": "wasm", "os": "Wasip1", "rootfs": {"type": "layers", "diff_ids": []},
        });
        self.finish_as("localhost/by-hand:latest", &config)
    }

    /// The same with this name and this config.
    pub fn finish_as(&mut self, name: &str, config: &Value) -> Result<()> {
        let config = config.to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": IMAGE_CONFIG,
                "digest": self.blob(config.as_bytes())?,
                "size": config.len(),
            },
            "layers": self.layers,
        })
        .to_string();
        let digest = self.blob(manifest.as_bytes())?;
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest,
                "size": manifest.len(),
                "annotations": {"io.containerd.image.name": name},
            }],
        });
        fs::write(self.folder.path().join("index.json"), index.to_string())?;
        Ok(())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The same as an archive.
    pub fn archive(&self) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_dir_all(".", self.path())?;
        Ok(archive.into_inner()?)
    }
}

/// An ordinary Linux image: busybox, which runs as `entrypoint` says or as its container does.
pub fn busybox(name: &str, entrypoint: &[&str]) -> Result<Layout> {
    linux(name, &workspace::busybox()?, entrypoint)
}

/// An ordinary Linux image of one program, which is in `/bin` and needs no library.
pub fn linux(name: &str, program: &Path, entrypoint: &[&str]) -> Result<Layout> {
    let mut archive = tar::Builder::new(Vec::new());
    for folder in ["bin/", "dev/", "etc/", "proc/", "sys/", "tmp/"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(0o755);
        archive.append_data(&mut header, folder, std::io::empty())?;
    }
    let file = program.file_name().context("a program without a name")?;
    archive.append_path_with_name(program, Path::new("bin").join(file))?;
    let layer = archive.into_inner()?;
    let mut layout = Layout::new()?;
    let digest = layout.layer(TAR, &layer)?;
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {"Entrypoint": entrypoint, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    });
    layout.finish_as(name, &config)?;
    Ok(layout)
}

/// This machine's, as images have it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `sha256:` and 64 digits.
pub fn sha256(bytes: &[u8]) -> String {
    let digits: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{digits}")
}

/// A lockfile of one HTTP component at `/...`, whose wasm is the layer that [`Layout::spin`] adds.
pub fn lockfile() -> Value {
    json!({
        "spin_lock_version": 0,
        "metadata": {"name": "by-hand", "version": "0.1.0"},
        "triggers": [{
            "id": "trigger-a", "trigger_type": "http",
            "trigger_config": {"component": "a", "route": "/..."},
        }],
        "components": [{
            "id": "a",
            "source": {"content_type": "application/wasm", "digest": "WASM"},
        }],
    })
}

/// An archive of these files, their names taken as they are: also those that no honest tool writes.
pub fn tar_of(files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // Not `set_path`: it refuses what a test of escapes needs.
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        archive.append(&header, *bytes)?;
    }
    Ok(archive.into_inner()?)
}
