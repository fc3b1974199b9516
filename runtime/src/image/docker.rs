//! The archive that `docker save` and its kin write: `manifest.json`, a
//! configuration, and one tar per layer, none of them named by a descriptor.
//!
//! An image manifest is made up from it: a layer's digest is that of its tar
//! (the configuration's `diff_ids`), whether or not the archive compresses it.

use std::collections::BTreeMap;
use std::io::{self, Read};

use oci_spec::image::{Descriptor, ImageConfiguration, MediaType};
use serde::Deserialize;
use serde_json::json;

use super::archive::{Entries, Held};
use super::blob::Limits;
use super::digest::Digest;
use super::error::LoadError;
use super::media;
use super::unpack;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Reads the archive's own index; answers the manifest and where its blobs are.
pub(super) fn read(
    entries: &Entries,
    place: &str,
) -> Result<(Descriptor, BTreeMap<Digest, Held>), LoadError> {
    let limits = Limits::default();
    let saved: Vec<Saved> = parse(entries, "manifest.json", limits.manifest, place)?.0;
    let [saved] = saved.as_slice() else {
        let names = saved
            .iter()
            .flat_map(|one| one.repo_tags.iter().flatten().cloned())
            .collect::<Vec<_>>()
            .join(", ");
        return Err(LoadError::unmet(format!(
            "{place} holds {} images ({names}); save one of them alone",
            saved.len()
        )));
    };
    let (config, config_bytes): (ImageConfiguration, _) =
        parse(entries, &saved.config, limits.config, place)?;
    let diff_ids = config.rootfs().diff_ids();
    if diff_ids.len() != saved.layers.len() {
        return Err(LoadError::corrupt(
            place,
            format!(
                "its manifest.json lists {} layers and its configuration {}",
                saved.layers.len(),
                diff_ids.len()
            ),
        ));
    }
    let mut held = BTreeMap::new();
    let mut layers = Vec::new();
    for (name, diff_id) in saved.layers.iter().zip(diff_ids) {
        let what = format!("layer `{name}` of {place}");
        let digest: Digest = diff_id
            .parse()
            .map_err(|error| LoadError::corrupt(&*what, format!("{error}")))?;
        let size = size_of(entries, name, limits.unpacked)
            .map_err(|error| LoadError::reading(&*what, error))?;
        layers.push(
            json!({ "mediaType": media::OCI_LAYER, "digest": digest.to_string(), "size": size }),
        );
        held.insert(digest, Held::Entry(name.clone()));
    }
    let config_digest = Digest::of(&config_bytes);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "config": { "mediaType": media::OCI_CONFIG, "digest": config_digest.to_string(), "size": config_bytes.len() },
        "layers": layers,
    })
    .to_string()
    .into_bytes();
    let digest = Digest::of(&manifest);
    let size = manifest.len() as u64;
    held.insert(config_digest, Held::Bytes(config_bytes));
    held.insert(digest, Held::Bytes(manifest));
    let digest = digest
        .to_string()
        .parse::<oci_spec::image::Digest>()
        .map_err(|error| LoadError::corrupt(place, error.to_string()))?;
    Ok((
        Descriptor::new(MediaType::ImageManifest, size, digest),
        held,
    ))
}

fn parse<T: serde::de::DeserializeOwned>(
    entries: &Entries,
    name: &str,
    limit: u64,
    place: &str,
) -> Result<(T, Vec<u8>), LoadError> {
    let what = format!("`{name}` in {place}");
    let slice = entries
        .find(name)
        .map_err(|error| LoadError::reading(&*what, error))?;
    if slice.length() > limit {
        return Err(LoadError::corrupt(
            what,
            format!("is larger than {limit} bytes"),
        ));
    }
    let mut bytes = Vec::new();
    slice
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| LoadError::reading(&*what, error))?;
    let value = serde_json::from_slice(&bytes)
        .map_err(|error| LoadError::corrupt(what, error.to_string()))?;
    Ok((value, bytes))
}

/// The size of a layer's tar, which may be compressed in the archive.
fn size_of(entries: &Entries, name: &str, limit: u64) -> io::Result<u64> {
    io::copy(
        &mut unpack::decompress(entries.find(name)?)?.take(limit.saturating_add(1)),
        &mut io::sink(),
    )
}
