//! Keeps the layers of the runtime library in order: a module uses only those
//! above it in the list at the top of `runtime/src/lib.rs`.

#![expect(
    clippy::unwrap_used,
    reason = "the whole file is a test, also its helpers"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn runtime() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/src")
}

/// The modules in the order of the list.
fn layers() -> Vec<String> {
    let lib = fs::read_to_string(runtime().join("lib.rs")).unwrap();
    lib.lines()
        .skip_while(|line| *line != "//! ```text")
        .skip(1)
        .take_while(|line| *line != "//! ```")
        .map(|line| {
            let line = line.trim_start_matches("//! ");
            line.split_whitespace().next().unwrap().to_owned()
        })
        .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The module that a source file belongs to.
fn layer_of(file: &Path) -> String {
    let inside = file.strip_prefix(runtime()).unwrap();
    let first = inside.components().next().unwrap();
    let name = Path::new(first.as_os_str());
    name.file_stem().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn every_module_is_in_the_list() {
    let lib = fs::read_to_string(runtime().join("lib.rs")).unwrap();
    let declared: BTreeSet<String> = lib
        .lines()
        .filter_map(|line| {
            let line = line.trim_start_matches("pub ");
            Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
        })
        .collect();
    assert_eq!(declared, layers().into_iter().collect());
}

#[test]
fn modules_use_only_lower_layers() {
    let layers = layers();
    let mut files = Vec::new();
    sources(&runtime(), &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let layer = layer_of(&file);
        let Some(height) = layers.iter().position(|other| *other == layer) else {
            assert_eq!(layer, "lib", "{} belongs to no layer", file.display());
            continue;
        };
        let source = fs::read_to_string(&file).unwrap();
        for used in source.split("crate::").skip(1) {
            let used: String = used
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            let above = layers.iter().position(|other| *other == used);
            if above.is_some_and(|other| other > height) {
                wrong.push(format!("{}: uses {used}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
