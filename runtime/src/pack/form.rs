//! The forms of an image, and how an application becomes one of each.

use std::fmt;
use std::io::{self, Write as _};
use std::str::FromStr;

use serde_json::{Value, json};

use crate::image::{Digest, Purpose, media, rootfs};

use super::archive::{Archive, Blob, Tar};
use super::contents::Contents;
use super::lockfile::{INLINE_LIMIT, Lockfile};
use super::manifest::Manifest;
use super::mistakes::Mistakes;

/// The time that images say they were made: always the same, so that the same
/// application always has the same digest.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// The form of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// An index of Linux images whose root file system holds the application.
    /// Every containerd from 1.6 on unpacks it.
    #[default]
    Rootfs,
    /// What `spin registry push` makes: a layer for each content.
    Spin,
    /// The CNCF wasm artifact: one component and nothing else.
    Wasm,
}

impl FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "rootfs" => Ok(Form::Rootfs),
            "spin" => Ok(Form::Spin),
            "wasm" => Ok(Form::Wasm),
            other => Err(format!(
                "there is no image form `{other}`; the forms are rootfs, spin and wasm"
            )),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Rootfs => "rootfs",
            Form::Spin => "spin",
            Form::Wasm => "wasm",
        })
    }
}

/// Where a component stands in a root file system.
pub(super) fn component_path(id: &str) -> String {
    format!("/components/{id}.wasm")
}

/// Where a dependency that is no component itself stands in a root file system.
pub(super) fn dependency_path(digest: &Digest) -> String {
    format!("/dependencies/{}.wasm", digest.hex())
}

/// Where a file's content stands in a root file system.
pub(super) fn asset_path(digest: &Digest) -> String {
    format!("/assets/{}", digest.hex())
}

/// Checks that the triggers fit the components, and that the form can carry
/// what the manifest asks for.
pub(super) fn check(form: Form, manifest: &Manifest, contents: &Contents, mistakes: &mut Mistakes) {
    for trigger in &manifest.triggers {
        let Some(id) = trigger
            .component
            .as_ref()
            .map(|component| component.value.as_str())
        else {
            continue;
        };
        let (Some(packed), Some(component)) = (contents.component(id), manifest.component(id))
        else {
            continue;
        };
        let is_wagi = trigger.config["executor"]["type"] == "wagi";
        let (fits, wanted) = match trigger.kind.as_str() {
            "http" if !is_wagi => (
                packed.interface.answers_http(),
                "an HTTP handler (`wasi:http/incoming-handler` or `wasi:http/handler`)",
            ),
            "redis" => (
                packed
                    .interface
                    .exports_any(&["fermyon:spin/inbound-redis", "spin:redis/inbound-redis@"]),
                "a handler of Redis messages (`fermyon:spin/inbound-redis`, `spin:redis/inbound-redis`)",
            ),
            "mqtt" => (
                packed.interface.exports_any(&["handle-message"]),
                "a handler of MQTT messages (`handle-message` of `spin:mqtt-trigger`)",
            ),
            "cron" => (
                packed.interface.exports_any(&["handle-cron-event"]),
                "a handler of ticks (`handle-cron-event` of `spin:cron`)",
            ),
            "sqs" => (
                packed.interface.exports_any(&["handle-queue-message"]),
                "a handler of SQS messages (`handle-queue-message` of `spin:sqs`)",
            ),
            _ => (packed.interface.runs(), "a command (`wasi:cli/run`)"),
        };
        if !fits {
            mistakes.push(
                component.source.span.clone(),
                format!(
                    "component \"{id}\": the trigger \"{}\" needs {wanted}, and `{}` exports {}",
                    trigger.id,
                    component.source.value,
                    packed.interface.exports_shown()
                ),
            );
        }
    }
    if form == Form::Wasm {
        check_wasm(manifest, contents, mistakes);
    }
}

/// A wasm artifact carries no lockfile, so nothing may need one.
fn check_wasm(manifest: &Manifest, contents: &Contents, mistakes: &mut Mistakes) {
    const ADVICE: &str = "the form `wasm` cannot carry that; use `rootfs` or `spin`";
    if manifest.components.len() != 1 {
        mistakes.push_at(None, format!("the application has {} components; the form `wasm` carries exactly one; use `rootfs` or `spin`", manifest.components.len()));
    }
    if !manifest.variables.is_empty() {
        mistakes.push_at(
            manifest.variables.first().map(|variable| variable.line),
            format!("the application has variables; {ADVICE}"),
        );
    }
    if !manifest.must_understand.is_empty() {
        mistakes.push_at(
            None,
            format!("the application has words that a host must understand; {ADVICE}"),
        );
    }
    for component in &manifest.components {
        let lost = [
            ("files", !component.files.is_empty()),
            ("an environment", !component.environment.is_empty()),
            ("variables", !component.variables.is_empty()),
            (
                "allowed outbound hosts",
                !component.allowed_outbound_hosts.is_empty(),
            ),
            ("key-value stores", !component.key_value_stores.is_empty()),
            ("SQLite databases", !component.sqlite_databases.is_empty()),
            ("AI models", !component.ai_models.is_empty()),
            ("dependencies", !component.dependencies.is_empty()),
        ];
        for (what, _) in lost.into_iter().filter(|(_, is_lost)| *is_lost) {
            mistakes.push_at(
                Some(component.line),
                format!("component \"{}\" has {what}; {ADVICE}", component.id),
            );
        }
    }
    let [trigger] = manifest.triggers.as_slice() else {
        mistakes.push_at(None, format!("the application has {} triggers; the form `wasm` implies exactly one; use `rootfs` or `spin`", manifest.triggers.len()));
        return;
    };
    if trigger.kind == "http" && trigger.config.get("route") != Some(&json!("/...")) {
        mistakes.push_at(Some(trigger.line), format!("the trigger \"{}\" has a route of its own, and a wasm artifact answers at \"/...\"; {ADVICE}", trigger.id));
    }
    if !matches!(trigger.kind.as_str(), "http" | "command") {
        mistakes.push_at(
            Some(trigger.line),
            format!(
                "the trigger \"{}\" is of the type {}; {ADVICE}",
                trigger.id, trigger.kind
            ),
        );
    }
    if trigger.kind == "command"
        && contents
            .components
            .iter()
            .any(|one| one.interface.purpose() == Ok(Purpose::Http))
    {
        mistakes.push_at(Some(trigger.line), format!("the trigger \"{}\" runs a component that also answers HTTP, and as a wasm artifact it would do only that; {ADVICE}", trigger.id));
    }
}

/// Adds the image's blobs to the archive; answers its target.
pub(super) fn write(
    form: Form,
    lockfile: &Lockfile,
    manifest: &Manifest,
    contents: &Contents,
    archive: &mut Archive,
) -> io::Result<Blob> {
    match form {
        Form::Rootfs => write_rootfs(lockfile, contents, archive),
        Form::Spin => Ok(write_spin(lockfile, manifest, contents, archive)),
        Form::Wasm => Ok(write_wasm(manifest, contents, archive)),
    }
}

fn write_rootfs(
    lockfile: &Lockfile,
    contents: &Contents,
    archive: &mut Archive,
) -> io::Result<Blob> {
    let mut layers = Vec::new();
    let components = contents
        .components
        .iter()
        .map(|one| (component_path(&one.id), one.wasm.bytes.as_slice()));
    layers.push(("components", layer("components/", components.collect())?));
    if !contents.dependencies.is_empty() {
        let dependencies = contents
            .dependencies
            .iter()
            .map(|(digest, wasm)| (dependency_path(digest), wasm.bytes.as_slice()));
        layers.push((
            "dependencies",
            layer("dependencies/", dependencies.collect())?,
        ));
    }
    if !contents.assets.is_empty() {
        let assets = contents
            .assets
            .iter()
            .map(|(digest, bytes)| (asset_path(digest), bytes.as_slice()));
        layers.push(("files", layer("assets/", assets.collect())?));
    }
    layers.push((
        "lockfile",
        layer("", vec![(rootfs::LOCKFILE.to_owned(), &lockfile.json)])?,
    ));

    let diff_ids: Vec<_> = layers
        .iter()
        .map(|(_, tar)| Digest::of(tar).to_string())
        .collect();
    let history: Vec<_> = layers
        .iter()
        .map(
            |(what, _)| json!({ "created": CREATED, "created_by": format!("catena pack: {what}") }),
        )
        .collect();
    let mut blobs = Vec::new();
    for (_, tar) in &layers {
        blobs.push(archive.add(media::OCI_LAYER_GZIP, gzip(tar)?).descriptor());
    }
    let manifests = ["amd64", "arm64"].map(|architecture| {
        let config = json!({
            "created": CREATED,
            "architecture": architecture,
            "os": "linux",
            "config": { "Entrypoint": [rootfs::LOCKFILE], "WorkingDir": "/" },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": history,
        });
        let config = archive.add_json(media::OCI_CONFIG, &config);
        let mut descriptor = archive
            .add_manifest(&config, &blobs, json!({}))
            .descriptor();
        descriptor["platform"] = json!({ "architecture": architecture, "os": "linux" });
        descriptor
    });
    let index =
        json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": manifests });
    Ok(archive.add_json(media::OCI_INDEX, &index))
}

fn write_spin(
    lockfile: &Lockfile,
    manifest: &Manifest,
    contents: &Contents,
    archive: &mut Archive,
) -> Blob {
    let mut layers: Vec<Value> = Vec::new();
    let mut push = |layer: Value| {
        // Components of one source share a layer.
        if !layers.contains(&layer) {
            layers.push(layer);
        }
    };
    let components = contents.components.iter().map(|one| &one.wasm);
    for wasm in components
        .chain(contents.dependencies.values())
        .filter(|wasm| wasm.bytes.len() > INLINE_LIMIT)
    {
        push(
            archive
                .add(media::SPIN_WASM, wasm.bytes.clone())
                .descriptor(),
        );
    }
    for bytes in contents
        .assets
        .values()
        .filter(|bytes| bytes.len() > INLINE_LIMIT)
    {
        push(archive.add(media::SPIN_DATA, bytes.clone()).descriptor());
    }
    push(
        archive
            .add(media::LOCKFILE, lockfile.json.clone())
            .descriptor(),
    );
    let config = json!({
        "created": CREATED,
        "architecture": "wasm",
        "os": "Wasip1",
        "rootfs": { "type": "layers", "diff_ids": [] },
    });
    let config = archive.add_json(media::OCI_CONFIG, &config);
    let mut annotations = json!({ media::TITLE: manifest.name });
    if let Some(version) = &manifest.version {
        annotations["org.opencontainers.image.version"] = json!(version);
    }
    archive.add_manifest(&config, &layers, annotations)
}

fn write_wasm(manifest: &Manifest, contents: &Contents, archive: &mut Archive) -> Blob {
    let mut layers = Vec::new();
    let mut config =
        json!({ "created": CREATED, "architecture": "wasm", "os": "wasip2", "layerDigests": [] });
    // Checked before: there is exactly one.
    if let Some(component) = contents.components.first() {
        let layer = archive.add(media::WASM, component.wasm.bytes.clone());
        config["layerDigests"] = json!([layer.digest.to_string()]);
        config["component"] = json!({
            "exports": component.interface.exports,
            "imports": component.interface.imports,
            "target": null,
        });
        layers.push(layer.titled(&format!("{}.wasm", manifest.name)));
    }
    let config = archive.add_json(media::WASM_CONFIG, &config);
    archive.add_manifest(&config, &layers, json!({}))
}

/// A layer: a folder, if it has one, and files by absolute path.
fn layer(folder: &str, files: Vec<(String, &[u8])>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut tar = Tar::new(&mut bytes);
    if !folder.is_empty() {
        tar.folder(folder)?;
    }
    for (path, content) in &files {
        tar.file(path.trim_start_matches('/'), content)?;
    }
    tar.finish()?;
    Ok(bytes)
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}
