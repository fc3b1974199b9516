//! The bytes that a manifest refers to: components and files, read from disk.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::compose::compose;
use crate::image::{Digest, Interface, Limits, Part, Parts, componentize};

use super::component::Component;
use super::dependency::{Dependency, Source};
use super::files;
use super::form::{component_path, dependency_path};
use super::manifest::Manifest;
use super::mistakes::Mistakes;
use super::table::Text;

/// Everything that goes into an image.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// In the order of the manifest.
    pub(super) components: Vec<Packed>,
    /// The files of all components, each content once.
    pub(super) assets: BTreeMap<Digest, Vec<u8>>,
    /// The dependencies of all components that are no components, each once.
    pub(super) dependencies: BTreeMap<Digest, Arc<Blob>>,
    pub(super) warnings: Vec<String>,
}

/// A component's bytes.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) id: String,
    pub(super) wasm: Arc<Blob>,
    pub(super) interface: Interface,
    /// The content of each file by the guest's path.
    pub(super) files: BTreeMap<String, Digest>,
    /// What its dependencies are, in the manifest's order.
    pub(super) dependencies: Vec<Satisfied>,
}

/// A dependency's bytes.
#[derive(Debug)]
pub(super) struct Satisfied {
    pub(super) wasm: Arc<Blob>,
    /// Where they are in a root file system.
    pub(super) path: String,
}

/// Bytes and their digest.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
}

impl Blob {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Blob {
            digest: Digest::of(&bytes),
            bytes,
        }
    }
}

impl Contents {
    /// Reads everything; `folder` is the manifest's.
    pub(super) fn gather(manifest: &Manifest, folder: &Path, mistakes: &mut Mistakes) -> Self {
        let mut contents = Contents::default();
        for component in &manifest.components {
            let files = files::gather(folder, component, &mut contents, mistakes);
            let place = format!("component \"{}\"", component.id);
            let build = component.build_command.as_deref();
            let read = read_wasm(&place, &component.source, build, folder, mistakes);
            if let Some((wasm, interface)) = read {
                contents.components.push(Packed {
                    id: component.id.clone(),
                    wasm: Arc::new(wasm),
                    interface,
                    files,
                    dependencies: Vec::new(),
                });
            }
        }
        contents.satisfy(manifest, folder, mistakes);
        contents
    }

    /// Finds all dependencies, and composes them to see that they fit.
    fn satisfy(&mut self, manifest: &Manifest, folder: &Path, mistakes: &mut Mistakes) {
        for component in &manifest.components {
            let mut found = Vec::new();
            for dependency in &component.dependencies {
                found.extend(self.find(component, dependency, manifest, folder, mistakes));
            }
            let is_whole = found.len() == component.dependencies.len();
            let packed = self
                .components
                .iter_mut()
                .find(|one| one.id == component.id);
            let Some(packed) = packed.filter(|_| is_whole) else {
                continue;
            };
            packed.dependencies = found;
            if let Err(error) = compose(&parts(component, packed)) {
                mistakes.push_at(
                    Some(component.line),
                    format!("component \"{}\": {error:#}", component.id),
                );
            }
        }
        self.components
            .retain(|packed| !is_only_a_part(manifest, packed));
    }

    fn find(
        &mut self,
        component: &Component,
        dependency: &Dependency,
        manifest: &Manifest,
        folder: &Path,
        mistakes: &mut Mistakes,
    ) -> Option<Satisfied> {
        let place = format!(
            "component \"{}\": dependency \"{}\"",
            component.id, dependency.name
        );
        let wasm = match &dependency.source {
            Source::Path(path) => Arc::new(read_wasm(&place, path, None, folder, mistakes)?.0),
            Source::Component(id) if manifest.component(&id.value).is_none() => {
                mistakes.push(
                    id.span.clone(),
                    format!(
                        "{place} names the component \"{}\", which the manifest does not define; define it or \
                         correct the name",
                        id.value
                    ),
                );
                return None;
            }
            Source::Component(id) => {
                let settings = manifest.component(&id.value).map(Component::settings);
                if let Some(settings) = settings.filter(|settings| !settings.is_empty()) {
                    mistakes.push(
                        id.span.clone(),
                        format!(
                            "{place} is the component \"{}\", which has {} of its own, and a dependency \
                             has only what it inherits; remove it there, or use a component without",
                            id.value,
                            settings.join(", ")
                        ),
                    );
                    return None;
                }
                // What is wrong with that component is told there.
                let packed = self.component(&id.value)?;
                if !is_only_a_part(manifest, packed) {
                    return Some(Satisfied {
                        wasm: packed.wasm.clone(),
                        path: component_path(&packed.id),
                    });
                }
                packed.wasm.clone()
            }
        };
        self.dependencies.insert(wasm.digest, wasm.clone());
        Some(Satisfied {
            path: dependency_path(&wasm.digest),
            wasm,
        })
    }

    pub(super) fn component(&self, id: &str) -> Option<&Packed> {
        self.components.iter().find(|component| component.id == id)
    }
}

/// Whether a component is in the manifest only for others to be composed of:
/// nothing could wake it.
fn is_only_a_part(manifest: &Manifest, packed: &Packed) -> bool {
    let is_it = |id: &Text| id.value == packed.id;
    let is_woken = manifest
        .triggers
        .iter()
        .any(|trigger| trigger.component.as_ref().is_some_and(is_it));
    let is_part =
        |dependency: &Dependency| matches!(&dependency.source, Source::Component(id) if is_it(id));
    let mut components = manifest.components.iter();
    !is_woken
        && !packed.interface.answers_http()
        && components.any(|component| component.dependencies.iter().any(is_part))
}

/// A component and what it depends on, for the composer.
fn parts(component: &Component, packed: &Packed) -> Parts {
    let dependencies = component.dependencies.iter().zip(&packed.dependencies);
    let dependencies = dependencies.map(|(dependency, satisfied)| Part {
        name: dependency.name.clone(),
        export: dependency.export.clone(),
        inherit: dependency.inherit.clone(),
        wasm: satisfied.wasm.bytes.clone(),
    });
    Parts {
        wasm: packed.wasm.bytes.clone(),
        dependencies: dependencies.collect(),
    }
}

/// Reads a wasm file; a core module is made a component. `build` is the command
/// that makes the file, if there is one.
fn read_wasm(
    place: &str,
    source: &Text,
    build: Option<&str>,
    folder: &Path,
    mistakes: &mut Mistakes,
) -> Option<(Blob, Interface)> {
    if source.value.is_empty() {
        return None;
    }
    let mut wrong = |text: String| mistakes.push(source.span.clone(), format!("{place}: {text}"));
    let bytes = match read(&folder.join(&source.value), Limits::default().wasm) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let build = build
                .map(|command| format!(": `{command}`"))
                .unwrap_or_default();
            wrong(format!(
                "there is no file `{}`; build the component first{build}",
                source.value
            ));
            return None;
        }
        Err(error) => {
            wrong(format!("`{}` cannot be read: {error}", source.value));
            return None;
        }
    };
    let made = match componentize(&bytes) {
        Ok(made) => made.into_owned(),
        Err(error) => {
            wrong(format!("`{}`: {error:#}", source.value));
            return None;
        }
    };
    if let Err(error) = wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all())
        .validate_all(&made)
    {
        wrong(format!(
            "`{}` is not valid WebAssembly: {} (at byte {})",
            source.value,
            error.message(),
            error.offset()
        ));
        return None;
    }
    match Interface::read(&made) {
        Ok(interface) => Some((Blob::new(made), interface)),
        Err(reason) => {
            wrong(format!("`{}` {reason}", source.value));
            None
        }
    }
}

/// Reads a plain file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    if metadata.len() > limit {
        return Err(io::Error::other(format!(
            "it has {} bytes; catena takes at most {limit}",
            metadata.len()
        )));
    }
    fs::read(path)
}
