//! Writes an OCI archive: a tar of an image layout. The same contents give the
//! same bytes, whenever and wherever they are packed.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::image::Digest;
use crate::image::media;

use super::mistakes::PackError;

/// The blobs of an image that is being made.
#[derive(Debug, Default)]
pub(super) struct Archive {
    blobs: BTreeMap<Digest, Vec<u8>>,
}

/// A blob in the archive.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub(super) media_type: &'static str,
    pub(super) digest: Digest,
    pub(super) size: usize,
}

impl Archive {
    pub(super) fn add(&mut self, media_type: &'static str, bytes: Vec<u8>) -> Blob {
        let blob = Blob {
            media_type,
            digest: Digest::of(&bytes),
            size: bytes.len(),
        };
        self.blobs.insert(blob.digest, bytes);
        blob
    }

    pub(super) fn add_json(&mut self, media_type: &'static str, value: &Value) -> Blob {
        self.add(media_type, value.to_string().into_bytes())
    }

    /// Adds an image manifest.
    pub(super) fn add_manifest(
        &mut self,
        config: &Blob,
        layers: &[Value],
        annotations: Value,
    ) -> Blob {
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": media::OCI_MANIFEST,
            "config": config.descriptor(),
            "layers": layers,
        });
        if annotations.as_object().is_some_and(|all| !all.is_empty()) {
            manifest["annotations"] = annotations;
        }
        self.add_json(media::OCI_MANIFEST, &manifest)
    }

    /// Writes the archive with `target` as its image. The file appears whole:
    /// it is written beside its place and then renamed.
    pub(super) fn save(
        &self,
        target: &Blob,
        reference: &str,
        output: &Path,
    ) -> Result<(), PackError> {
        let writing = |source| PackError::Io {
            act: format!("writing {}", output.display()),
            source,
        };
        let folder = match output.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut temporary = tempfile::Builder::new()
            .prefix(".catena-pack-")
            .permissions(std::fs::Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(writing)?;
        self.write(target, reference, BufWriter::new(temporary.as_file_mut()))
            .map_err(writing)?;
        temporary
            .persist(output)
            .map_err(|error| writing(error.error))?;
        Ok(())
    }

    fn write(&self, target: &Blob, reference: &str, to: impl Write) -> io::Result<()> {
        let mut descriptor = target.descriptor();
        let after_colon = reference
            .rsplit_once(':')
            .map(|(_, tag)| tag)
            .filter(|tag| !tag.contains('/'));
        descriptor["annotations"] = json!({
            media::CONTAINERD_NAME: reference,
            media::REF_NAME: after_colon.unwrap_or(reference),
        });
        let index =
            json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [descriptor] });
        let mut tar = Tar::new(to);
        tar.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        tar.file("index.json", index.to_string().as_bytes())?;
        tar.folder("blobs/")?;
        tar.folder("blobs/sha256/")?;
        for (digest, bytes) in &self.blobs {
            tar.file(&format!("blobs/sha256/{}", digest.hex()), bytes)?;
        }
        tar.finish()
    }
}

impl Blob {
    pub(super) fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest.to_string(), "size": self.size })
    }

    /// A descriptor that says what its content is called.
    pub(super) fn titled(&self, title: &str) -> Value {
        let mut descriptor = self.descriptor();
        descriptor["annotations"] = json!({ media::TITLE: title });
        descriptor
    }
}

/// A tar whose entries have no owner and no time.
pub(super) struct Tar<W: Write> {
    builder: tar::Builder<W>,
}

impl<W: Write> Tar<W> {
    pub(super) fn new(to: W) -> Self {
        Tar {
            builder: tar::Builder::new(to),
        }
    }

    pub(super) fn file(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut header = header(tar::EntryType::Regular, 0o644);
        header.set_size(bytes.len() as u64);
        self.builder.append_data(&mut header, path, bytes)
    }

    pub(super) fn folder(&mut self, path: &str) -> io::Result<()> {
        let mut header = header(tar::EntryType::Directory, 0o755);
        header.set_size(0);
        self.builder.append_data(&mut header, path, io::empty())
    }

    pub(super) fn finish(self) -> io::Result<()> {
        self.builder.into_inner()?.flush()
    }
}

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}
