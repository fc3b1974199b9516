//! Stops the build where a guest has no test: every guest's `.wasm` is named by an app's manifest or by a test, and
//! every app is named by a test. And writes the client of Kubernetes' container runtime interface.

use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    cri();
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let images = here.join("../images");
    for folder in ["tests", "apps", "guests", "../images"] {
        println!("cargo::rerun-if-changed={folder}");
    }
    let tests = texts(&here.join("tests"), "rs");
    let mut apps = folders_with(&here.join("apps"), "spin.toml");
    apps.extend(folders_with(&images, "spin.toml"));
    let mut manifests = String::new();
    for app in apps {
        manifests += &fs::read_to_string(app.join("spin.toml")).unwrap_or_default();
        let name = name_of(&app);
        if !tests.contains(&format!("\"{name}\"")) {
            missing(&format!(
                "the app {name} has no test: name it in one of test/tests"
            ));
        }
    }
    let mut guests = folders_with(&here.join("guests"), "Cargo.toml");
    guests.extend(folders_with(&images, "Cargo.toml"));
    for guest in guests {
        let wasm = name_of(&guest).replace('-', "_");
        let is_library = fs::read_to_string(guest.join("Cargo.toml")).is_ok_and(|manifest| {
            !manifest.contains("cdylib") && !guest.join("src/main.rs").exists()
        });
        let named = manifests.contains(&format!("/{wasm}.wasm"))
            || tests.contains(&format!("guest(\"{wasm}\")"));
        if !is_library && !named {
            missing(&format!(
                "the guest {wasm} has no test: name {wasm}.wasm in an app"
            ));
        }
    }
}

/// The protocol is Kubernetes' own file. Its comments would be tests of the documentation.
fn cri() {
    let mut config = tonic_prost_build::Config::new();
    config.disable_comments(["."]);
    let written = tonic_prost_build::configure()
        .build_server(false)
        .compile_with_config(config, &["proto/cri.proto"], &["proto"]);
    if let Err(error) = written {
        println!("cargo::error=proto/cri.proto: {error}");
    }
}

fn missing(reason: &str) {
    println!("cargo::error={reason}");
}

fn name_of(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The folders under `at` that hold `file`.
fn folders_with(at: &Path, file: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(at).into_iter().flatten().flatten();
    for folder in entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
    {
        if folder.join(file).is_file() {
            found.push(folder.clone());
        }
        found.extend(folders_with(&folder, file));
    }
    found
}

/// All texts with that extension in a folder, as one.
fn texts(folder: &Path, extension: &str) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect()
}
