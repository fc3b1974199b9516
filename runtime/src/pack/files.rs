//! The files of a component: single ones, folders, and what a pattern matches.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::image::{Digest, Limits};

use super::component::{Component, Files};
use super::contents::{Contents, read};
use super::glob;
use super::mistakes::Mistakes;

/// How deep folders of files may be.
const MAX_DEPTH: usize = 64;

/// Puts the files of one component into `contents`; gives the content of each by the guest's path. `folder` is the
/// manifest's.
pub(super) fn gather(
    folder: &Path,
    component: &Component,
    contents: &mut Contents,
    mistakes: &mut Mistakes,
) -> BTreeMap<String, Digest> {
    let gatherer = Gatherer {
        folder,
        component,
        contents,
        mistakes,
        files: BTreeMap::new(),
    };
    gatherer.run()
}

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
