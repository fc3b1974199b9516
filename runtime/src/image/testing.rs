//! Images made byte by byte, for tests.

use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Blobs, Descriptor, Digest, Image, LoadError, Loaded, media};

/// A component that claims to answer HTTP; it would not link.
pub(crate) fn http_component() -> Vec<u8> {
    exporting("wasi:http/incoming-handler@0.2.0")
}

/// A component that exports an empty instance of this name.
pub(crate) fn exporting(name: &str) -> Vec<u8> {
    let mut bytes = b"\0asm\x0d\0\x01\0\x05\x03\x01\x01\x00".to_vec();
    let name = name.as_bytes();
    let section = name.len() + 6;
    bytes.extend([
        0x0b,
        u8::try_from(section).unwrap(),
        1,
        0,
        u8::try_from(name.len()).unwrap(),
    ]);
    bytes.extend(name);
    bytes.extend([5, 0, 0]);
    bytes
}

/// A core module that exports `_start` and a memory, and does nothing.
pub(crate) fn command_module() -> Vec<u8> {
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    bytes.extend(b"\x01\x04\x01\x60\x00\x00"); // type 0: () -> ()
    bytes.extend(b"\x03\x02\x01\x00"); // function 0 of type 0
    bytes.extend(b"\x05\x03\x01\x00\x01"); // a memory of one page
    bytes.extend(b"\x07\x13\x02\x06_start\x00\x00\x06memory\x02\x00");
    bytes.extend(b"\x0a\x04\x01\x02\x00\x0b"); // its body is empty
    bytes
}

/// Blobs in memory, and an image put together from them.
#[derive(Default)]
pub(crate) struct Memory {
    blobs: Mutex<BTreeMap<Digest, Vec<u8>>>,
}

impl Memory {
    pub(crate) fn add(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        self.blobs.lock().unwrap().insert(digest, bytes.to_vec());
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    }

    pub(crate) fn add_json(&self, media_type: &str, value: &Value) -> Value {
        self.add(media_type, value.to_string().as_bytes())
    }

    /// Adds a manifest; answers its descriptor.
    pub(crate) fn manifest(&self, config: Value, layers: &[Value]) -> Value {
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        self.add_json(media::OCI_MANIFEST, &manifest)
    }

    /// A Spin image of this lockfile and these other layers.
    pub(crate) fn spin(&self, lockfile: &Value, layers: &[Value]) -> Value {
        let config = self.add_json(
            media::OCI_CONFIG,
            &json!({ "architecture": "wasm", "os": "Wasip1" }),
        );
        let mut layers = layers.to_vec();
        layers.push(self.add_json(media::LOCKFILE, lockfile));
        self.manifest(config, &layers)
    }

    /// An image of ordinary layers with this entrypoint.
    pub(crate) fn linux(&self, entrypoint: &[&str], layers: &[(&str, Vec<u8>)]) -> Value {
        let diff_ids: Vec<_> = layers
            .iter()
            .map(|(_, tar)| Digest::of(tar).to_string())
            .collect();
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "config": { "Entrypoint": entrypoint },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = self.add_json(media::OCI_CONFIG, &config);
        let layers: Vec<_> = layers
            .iter()
            .map(|(media_type, tar)| self.add(media_type, &compress(media_type, tar)))
            .collect();
        self.manifest(config, &layers)
    }

    /// Replaces what is stored under a descriptor's digest.
    pub(crate) fn spoil(&self, descriptor: &Value, with: Option<&[u8]>) {
        let digest = descriptor["digest"].as_str().unwrap().parse().unwrap();
        let mut blobs = self.blobs.lock().unwrap();
        match with {
            Some(bytes) => blobs.insert(digest, bytes.to_vec()),
            None => blobs.remove(&digest),
        };
    }

    pub(crate) fn get(&self, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap().parse().unwrap();
        self.blobs.lock().unwrap()[&digest].clone()
    }

    /// All blobs, for writing them somewhere.
    pub(crate) fn blobs(&self) -> Vec<(Digest, Vec<u8>)> {
        self.blobs
            .lock()
            .unwrap()
            .iter()
            .map(|(digest, bytes)| (*digest, bytes.clone()))
            .collect()
    }

    /// Loads what this descriptor points at, as the shim does.
    pub(crate) fn load(self: &Arc<Self>, root: &Value) -> Result<Loaded, LoadError> {
        let root: Descriptor = serde_json::from_value(root.clone()).unwrap();
        Image::from_blobs(self.clone(), &root)
    }

    /// Loads an application.
    pub(crate) fn app(self: &Arc<Self>, root: &Value) -> Result<Image, LoadError> {
        match self.load(root)? {
            Loaded::App(image) => Ok(*image),
            Loaded::Rootfs(manifest) => panic!("ordinary layers: {manifest:?}"),
        }
    }
}

impl Blobs for Memory {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        let bytes = self.blobs.lock().unwrap().get(digest).cloned();
        Ok(Box::new(io::Cursor::new(
            bytes.ok_or(io::ErrorKind::NotFound)?,
        )))
    }
}

/// A lockfile of one component `a` that answers every path.
pub(crate) fn lockfile(source: Value, files: Value) -> Value {
    json!({
        "spin_lock_version": 0,
        "metadata": { "name": "test" },
        "triggers": [{
            "id": "t", "trigger_type": "http",
            "trigger_config": { "component": "a", "route": "/..." },
        }],
        "components": [{ "id": "a", "source": source, "files": files }],
    })
}

/// An entry of a tar that a test makes.
pub(crate) enum Entry<'e> {
    Dir(&'e str),
    File(&'e str, &'e [u8]),
    Link(&'e str, &'e str),
    Hard(&'e str, &'e str),
    Device(&'e str),
}

/// A tar of these entries; their names are written unchecked.
pub(crate) fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let (kind, path, link, bytes): (_, _, _, &[u8]) = match entry {
            Entry::Dir(path) => (tar::EntryType::Directory, path, "", b""),
            Entry::File(path, bytes) => (tar::EntryType::Regular, path, "", bytes),
            Entry::Link(path, target) => (tar::EntryType::Symlink, path, target, b""),
            Entry::Hard(path, target) => (tar::EntryType::Link, path, target, b""),
            Entry::Device(path) => (tar::EntryType::Char, path, "", b""),
        };
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // Past the checks of the library: hostile names are what is tested.
        let old = header.as_old_mut();
        old.name[..path.len()].copy_from_slice(path.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        builder.append(&header, bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn compress(media_type: &str, tar: &[u8]) -> Vec<u8> {
    match media_type {
        gz if gz.ends_with("gzip") => gzip(tar),
        zst if zst.ends_with("zstd") => zstd::encode_all(tar, 1).unwrap(),
        _ => tar.to_vec(),
    }
}
