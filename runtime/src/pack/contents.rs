//! The bytes that a manifest refers to: components and files, read from disk.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::image::{Digest, Interface, Limits, componentize};

use super::component::{Component, Files};
use super::glob;
use super::manifest::Manifest;
use super::mistakes::Mistakes;

/// How deep folders of files may be.
const MAX_DEPTH: usize = 64;

/// Everything that goes into an image.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// In the order of the manifest.
    pub(super) components: Vec<Packed>,
    /// The files of all components, each content once.
    pub(super) assets: BTreeMap<Digest, Vec<u8>>,
    pub(super) warnings: Vec<String>,
}

/// A component's bytes.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) id: String,
    pub(super) wasm: Blob,
    pub(super) interface: Interface,
    /// The content of each file by the guest's path.
    pub(super) files: BTreeMap<String, Digest>,
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
            let files = Gatherer {
                folder,
                component,
                contents: &mut contents,
                mistakes,
                files: BTreeMap::new(),
            }
            .run();
            if let Some((wasm, interface)) = read_wasm(component, folder, mistakes) {
                contents.components.push(Packed {
                    id: component.id.clone(),
                    wasm,
                    interface,
                    files,
                });
            }
        }
        contents
    }

    pub(super) fn component(&self, id: &str) -> Option<&Packed> {
        self.components.iter().find(|component| component.id == id)
    }
}

/// Reads a component's wasm; a core module is made a component.
fn read_wasm(
    component: &Component,
    folder: &Path,
    mistakes: &mut Mistakes,
) -> Option<(Blob, Interface)> {
    let source = &component.source;
    if source.value.is_empty() {
        return None;
    }
    let mut wrong = |text: String| {
        mistakes.push(
            source.span.clone(),
            format!("component \"{}\": {text}", component.id),
        )
    };
    let bytes = match read(&folder.join(&source.value), Limits::default().wasm) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let build = component
                .build_command
                .as_ref()
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

/// Gathers the files of one component.
struct Gatherer<'g> {
    folder: &'g Path,
    component: &'g Component,
    contents: &'g mut Contents,
    mistakes: &'g mut Mistakes,
    files: BTreeMap<String, Digest>,
}

impl<'g> Gatherer<'g> {
    fn run(mut self) -> BTreeMap<String, Digest> {
        let component = self.component;
        for files in &component.files {
            match &files.destination {
                Some(destination) => self.placed(files, destination),
                None => self.pattern(files),
            }
        }
        self.check_nesting();
        self.files
    }

    /// `{ source, destination }`: a file, or all that a folder holds.
    fn placed(&mut self, files: &Files, destination: &str) {
        let source = files.source.trim_end_matches('/');
        match fs::metadata(self.folder.join(source)) {
            Ok(metadata) if metadata.is_dir() => {
                for path in self.walk(files, source) {
                    let below = path
                        .strip_prefix(source)
                        .unwrap_or(&path)
                        .trim_start_matches('/')
                        .to_owned();
                    let guest = if destination.is_empty() {
                        below
                    } else {
                        format!("{destination}/{below}")
                    };
                    self.add(files, &path, guest);
                }
            }
            Ok(_) if destination.is_empty() => {
                self.wrong(
                    files,
                    format!(
                        "the file `{source}` needs a destination with a name, such as \"/{source}\""
                    ),
                );
            }
            Ok(_) => self.add(files, source, destination.to_owned()),
            Err(error) => self.wrong(files, format!("`{source}` cannot be read: {error}")),
        }
    }

    /// A pattern, a folder or a file below the manifest's folder; each match
    /// keeps its path.
    fn pattern(&mut self, files: &Files) {
        let pattern = files.source.trim_start_matches("./").trim_end_matches('/');
        if Path::new(pattern).is_absolute() || pattern.split('/').any(|part| part == "..") {
            self.wrong(
                files,
                format!("`{pattern}` leaves the manifest's folder; write {{ source = \"{pattern}\", destination = \"/...\" }}"),
            );
            return;
        }
        if !glob::is_pattern(pattern) {
            match fs::metadata(self.folder.join(pattern)) {
                Ok(metadata) if metadata.is_dir() => {
                    for path in self.walk(files, pattern) {
                        self.add(files, &path, path.clone());
                    }
                }
                Ok(_) => self.add(files, pattern, pattern.to_owned()),
                Err(error) => self.wrong(files, format!("`{pattern}` cannot be read: {error}")),
            }
            return;
        }
        let fixed: Vec<_> = pattern
            .split('/')
            .take_while(|part| !glob::is_pattern(part))
            .collect();
        let start = fixed.join("/");
        let found: Vec<_> = match self.folder.join(&start).is_dir() {
            true => self
                .walk(files, &start)
                .into_iter()
                .filter(|path| glob::matches(pattern, path))
                .collect(),
            false => Vec::new(),
        };
        if found.is_empty() {
            self.contents.warnings.push(format!(
                "component \"{}\": no file matches `{pattern}`",
                self.component.id
            ));
        }
        for path in found {
            self.add(files, &path, path.clone());
        }
    }

    /// The files below a folder, as paths from the manifest's folder, sorted.
    fn walk(&mut self, files: &Files, start: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut todo = vec![start.to_owned()];
        while let Some(dir) = todo.pop() {
            let listed =
                fs::read_dir(self.at(&dir)).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            let listed = match listed {
                Ok(listed) => listed,
                Err(error) => {
                    self.wrong(files, format!("the folder `{dir}` cannot be read: {error}"));
                    continue;
                }
            };
            for entry in listed {
                let Ok(name) = entry.file_name().into_string() else {
                    self.wrong(
                        files,
                        format!(
                            "the folder `{dir}` has a file whose name is not UTF-8: {:?}",
                            entry.file_name()
                        ),
                    );
                    continue;
                };
                let path = if dir.is_empty() {
                    name
                } else {
                    format!("{dir}/{name}")
                };
                let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                match fs::metadata(entry.path()) {
                    Ok(metadata) if metadata.is_dir() && is_link => {
                        self.wrong(files, format!("`{path}` is a link to a folder, which is not followed; copy the folder or name it"));
                    }
                    Ok(metadata) if metadata.is_dir() && path.split('/').count() > MAX_DEPTH => {
                        self.wrong(
                            files,
                            format!("`{path}` is more than {MAX_DEPTH} folders deep"),
                        );
                    }
                    Ok(metadata) if metadata.is_dir() => todo.push(path),
                    Ok(_) => found.push(path),
                    Err(error) => self.wrong(files, format!("`{path}` cannot be read: {error}")),
                }
            }
        }
        found.sort();
        found
    }

    fn add(&mut self, files: &Files, path: &str, guest: String) {
        if self
            .component
            .exclude_files
            .iter()
            .any(|pattern| glob::matches(&pattern.value, path))
        {
            return;
        }
        let bytes = match read(&self.at(path), Limits::default().data) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.wrong(files, format!("`{path}` cannot be read: {error}"));
                return;
            }
        };
        let digest = Digest::of(&bytes);
        if self
            .files
            .insert(guest.clone(), digest)
            .is_some_and(|other| other != digest)
        {
            self.wrong(
                files,
                format!("the guest's path `/{guest}` is named twice, with different contents"),
            );
        }
        self.contents.assets.entry(digest).or_insert(bytes);
    }

    /// A guest's path cannot be a file and a folder at once.
    fn check_nesting(&mut self) {
        for path in self.files.keys() {
            let folder = path
                .match_indices('/')
                .map(|(at, _)| &path[..at])
                .find(|folder| self.files.contains_key(*folder));
            if let Some(folder) = folder {
                self.mistakes.push_at(
                    Some(self.component.line),
                    format!("component \"{}\": the guest's path `/{folder}` is a file, and the folder of `/{path}`", self.component.id),
                );
            }
        }
    }

    fn wrong(&mut self, files: &Files, text: String) {
        self.mistakes.push(
            files.span.clone(),
            format!("component \"{}\": `files`: {text}", self.component.id),
        );
    }

    fn at(&self, path: &str) -> PathBuf {
        let at = self.folder.join(path);
        if at.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            at
        }
    }
}

/// Reads a plain file of at most `limit` bytes.
fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
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
