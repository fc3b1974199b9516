//! Which image of an index runs here.
//!
//! First one made for WebAssembly, then one for Linux on this machine's
//! processor, then the only one that names no platform. An index from which
//! nothing can be chosen is refused with what it offers.

use oci_spec::image::Descriptor;

use super::error::LoadError;
use super::media;

/// Chooses from the entries of the index that `place` names.
pub(crate) fn choose<'d>(
    entries: &'d [Descriptor],
    place: &str,
) -> Result<&'d Descriptor, LoadError> {
    // Entries of other kinds (attestations, signatures) are for others.
    let images = || {
        entries.iter().filter(|entry| {
            let media_type = entry.media_type().to_string();
            media::is_manifest(&media_type) || media::is_index(&media_type)
        })
    };
    let on = |wanted: &dyn Fn(&str, &str) -> bool| {
        images().find(|entry| {
            entry.platform().as_ref().is_some_and(|platform| {
                wanted(
                    &platform.os().to_string().to_lowercase(),
                    &platform.architecture().to_string().to_lowercase(),
                )
            })
        })
    };
    let wasm = |os: &str, arch: &str| matches!(arch, "wasm" | "wasm32") || os.starts_with("wasi");
    let linux = |os: &str, arch: &str| os == "linux" && arch == host_architecture();
    if let Some(found) = on(&wasm).or_else(|| on(&linux)) {
        return Ok(found);
    }
    let mut unnamed: Vec<_> = images()
        .filter(|entry| entry.platform().is_none())
        .collect();
    unnamed.dedup_by_key(|entry| entry.digest().to_string());
    match unnamed.as_slice() {
        [only] => Ok(only),
        [] => Err(LoadError::unmet(format!(
            "{place} has no image for wasm or for linux/{}; it has: {}",
            host_architecture(),
            list(images().map(platform_of))
        ))),
        several => Err(LoadError::unmet(format!(
            "{place} has {} images that name no platform, so that none can be chosen: {}; keep one of them",
            several.len(),
            list(several.iter().map(|entry| name_of(entry)))
        ))),
    }
}

/// This machine's processor as images name it.
pub(crate) fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        "x86" => "386",
        other => other,
    }
}

fn platform_of(entry: &Descriptor) -> String {
    entry.platform().as_ref().map_or_else(
        || "no platform".to_owned(),
        |platform| format!("{}/{}", platform.os(), platform.architecture()),
    )
}

fn name_of(entry: &Descriptor) -> String {
    let annotations = entry.annotations().as_ref();
    annotations
        .and_then(|all| {
            all.get(media::CONTAINERD_NAME)
                .or_else(|| all.get(media::REF_NAME))
        })
        .cloned()
        .unwrap_or_else(|| entry.digest().to_string())
}

fn list(names: impl Iterator<Item = String>) -> String {
    let names: Vec<_> = names.take(10).collect();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::image::{Arch, DescriptorBuilder, MediaType, Os, PlatformBuilder};

    use super::*;

    fn entry(seed: u8, platform: Option<(&str, &str)>) -> Descriptor {
        let digest = super::super::Digest::of(&[seed]).to_string();
        let digest = digest.parse::<oci_spec::image::Digest>().unwrap();
        let mut builder = DescriptorBuilder::default()
            .media_type(MediaType::ImageManifest)
            .digest(digest)
            .size(1u64);
        if let Some((os, arch)) = platform {
            builder = builder.platform(
                PlatformBuilder::default()
                    .os(Os::from(os))
                    .architecture(Arch::from(arch))
                    .build()
                    .unwrap(),
            );
        }
        builder.build().unwrap()
    }

    #[test]
    fn wasm_comes_before_linux_before_no_platform() {
        let here = host_architecture();
        let all = [
            entry(1, None),
            entry(2, Some(("linux", here))),
            entry(3, Some(("wasip1", "wasm"))),
        ];
        assert_eq!(choose(&all, "index").unwrap().digest(), all[2].digest());
        assert_eq!(
            choose(&all[..2], "index").unwrap().digest(),
            all[1].digest()
        );
        assert_eq!(
            choose(&all[..1], "index").unwrap().digest(),
            all[0].digest()
        );
    }

    #[test]
    fn the_refusal_says_what_is_there() {
        let all = [
            entry(1, Some(("windows", "amd64"))),
            entry(2, Some(("unknown", "unknown"))),
        ];
        let error = choose(&all, "index x").unwrap_err().to_string();
        assert!(
            error.contains("index x has no image for wasm") && error.contains("windows/amd64"),
            "{error}"
        );
        let error = choose(&[entry(1, None), entry(2, None)], "index x")
            .unwrap_err()
            .to_string();
        assert!(error.contains("2 images that name no platform"), "{error}");
    }
}
