//! Writes the lockfile of a packed application.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::app::Inherit;
use crate::app::allowed_hosts::chaining_required;
use crate::app::requirements::{COMPONENT_HOST_REQUIREMENTS, SERVICE_CHAINING};
use crate::image::Digest;

use super::component::Component;
use super::contents::{Blob, Contents, Packed};
use super::form::{Form, asset_path, component_path};
use super::manifest::Manifest;

/// Content up to this size stands in the lockfile itself, and has no layer.
pub(super) const INLINE_LIMIT: usize = 128;

/// A lockfile.
#[derive(Debug)]
pub(super) struct Lockfile {
    pub(super) version: u64,
    pub(super) must_understand: Vec<String>,
    pub(super) json: Vec<u8>,
}

/// Writes the lockfile. Its version is 0 when there is nothing that a host must
/// understand, so that hosts that know no other version take it too.
pub(super) fn write(manifest: &Manifest, contents: &Contents, form: Form) -> Lockfile {
    let components: Vec<_> = manifest
        .components
        .iter()
        .filter_map(|component| {
            Some(write_component(
                component,
                contents.component(&component.id)?,
                contents,
                form,
            ))
        })
        .collect();
    let mut must_understand = manifest.must_understand.clone();
    let requires = |component: &Value| component.get("host_requirements").is_some();
    if components.iter().any(requires)
        && !must_understand
            .iter()
            .any(|word| word == COMPONENT_HOST_REQUIREMENTS)
    {
        must_understand.insert(0, COMPONENT_HOST_REQUIREMENTS.to_owned());
    }
    let version = u64::from(!must_understand.is_empty());
    let mut lock = json!({
        "spin_lock_version": version,
        "metadata": write_metadata(manifest),
        "triggers": manifest.triggers.iter().map(|trigger| json!({
            "id": trigger.id,
            "trigger_type": trigger.kind,
            "trigger_config": trigger.config,
        })).collect::<Vec<_>>(),
        "components": components,
    });
    if !must_understand.is_empty() {
        lock["must_understand"] = json!(must_understand);
    }
    if !manifest.variables.is_empty() {
        lock["variables"] = write_variables(manifest);
    }
    let json = format!("{lock:#}\n").into_bytes();
    Lockfile {
        version,
        must_understand,
        json,
    }
}

fn write_metadata(manifest: &Manifest) -> Value {
    let mut kinds: Vec<_> = manifest
        .triggers
        .iter()
        .map(|trigger| trigger.kind.as_str())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    let settings = |kind: &str| {
        manifest
            .trigger_settings
            .get(kind)
            .cloned()
            .unwrap_or_else(|| json!({}))
    };
    let mut metadata = json!({
        "name": manifest.name,
        "triggers": kinds.iter().map(|kind| ((*kind).to_owned(), settings(kind))).collect::<Map<_, _>>(),
    });
    if let [only] = kinds.as_slice() {
        let mut trigger = settings(only);
        trigger["type"] = json!(only);
        metadata["trigger"] = trigger;
    }
    if let Some(version) = &manifest.version {
        metadata["version"] = json!(version);
    }
    if let Some(description) = &manifest.description {
        metadata["description"] = json!(description);
    }
    if !manifest.authors.is_empty() {
        metadata["authors"] = json!(manifest.authors);
    }
    metadata
}

fn write_variables(manifest: &Manifest) -> Value {
    let variables = manifest.variables.iter().map(|variable| {
        let mut fields = json!({});
        if let Some(description) = &variable.description {
            fields["description"] = json!(description);
        }
        if let Some(default) = &variable.default {
            fields["default"] = json!(default);
        }
        if variable.secret {
            fields["secret"] = json!(true);
        }
        (variable.name.clone(), fields)
    });
    Value::Object(variables.collect())
}

fn write_component(
    component: &Component,
    packed: &Packed,
    contents: &Contents,
    form: Form,
) -> Value {
    let source = wasm(form, &packed.wasm, &component_path(&component.id));
    let files: Vec<_> = packed
        .files
        .iter()
        .map(|(path, digest)| {
            let bytes = contents
                .assets
                .get(digest)
                .map(Vec::as_slice)
                .unwrap_or_default();
            let mut file = content(form, *digest, bytes, &asset_path(digest));
            file["path"] = json!(path);
            file
        })
        .collect();
    let mut value = json!({ "id": component.id, "metadata": write_component_metadata(component), "source": source });
    if !component.environment.is_empty() {
        value["env"] = Value::Object(
            component
                .environment
                .iter()
                .map(|(key, value)| (key.clone(), json!(value)))
                .collect(),
        );
    }
    if !files.is_empty() {
        value["files"] = json!(files);
    }
    if !component.variables.is_empty() {
        let config = component
            .variables
            .iter()
            .map(|(key, template)| (key.value.clone(), json!(template.value)));
        value["config"] = Value::Object(config.collect());
    }
    if !packed.dependencies.is_empty() {
        value["dependencies"] = write_dependencies(component, packed, form);
    }
    let hosts: Vec<_> = component
        .allowed_outbound_hosts
        .iter()
        .map(|host| host.value.clone())
        .collect();
    if chaining_required(&hosts) {
        value["host_requirements"] = json!({ SERVICE_CHAINING: "required" });
    }
    value
}

fn write_dependencies(component: &Component, packed: &Packed, form: Form) -> Value {
    let dependencies = component.dependencies.iter().zip(&packed.dependencies);
    let dependencies = dependencies.map(|(dependency, satisfied)| {
        let mut value = json!({
            "source": wasm(form, &satisfied.wasm, &satisfied.path),
            "export": dependency.export,
        });
        match &dependency.inherit {
            Inherit::All => value["inherit"] = json!("All"),
            Inherit::Some(powers) if powers.is_empty() => {}
            Inherit::Some(powers) => {
                let names = powers.iter().map(|power| power.name());
                value["inherit"] = json!({ "Some": names.collect::<Vec<_>>() });
            }
        }
        (dependency.name.to_string(), value)
    });
    Value::Object(dependencies.collect())
}

fn wasm(form: Form, wasm: &Blob, path: &str) -> Value {
    let mut source = content(form, wasm.digest, &wasm.bytes, path);
    source["content_type"] = json!("application/wasm");
    source
}

fn write_component_metadata(component: &Component) -> Value {
    let mut metadata = json!({});
    if let Some(description) = &component.description {
        metadata["description"] = json!(description);
    }
    let hosts: Vec<_> = component
        .allowed_outbound_hosts
        .iter()
        .map(|host| &host.value)
        .collect();
    if !hosts.is_empty() {
        metadata["allowed_outbound_hosts"] = json!(hosts);
    }
    let lists = [
        ("key_value_stores", &component.key_value_stores),
        ("databases", &component.sqlite_databases),
        ("ai_models", &component.ai_models),
    ];
    for (key, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        metadata[key] = json!(list);
    }
    metadata
}

/// Where the bytes are: at a path of the root file system, in the lockfile
/// itself, or in the layer of their digest.
fn content(form: Form, digest: Digest, bytes: &[u8], path: &str) -> Value {
    let mut content = json!({ "digest": digest.to_string() });
    match form {
        Form::Rootfs => content["source"] = json!(format!("file://{path}")),
        Form::Spin | Form::Wasm if bytes.len() <= INLINE_LIMIT => {
            content["inline"] = json!(STANDARD.encode(bytes))
        }
        Form::Spin | Form::Wasm => {}
    }
    content
}
