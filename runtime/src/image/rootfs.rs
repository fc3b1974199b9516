//! An application in an ordinary root file system.
//!
//! `/spin.json` is the lockfile, and its sources are `file:///` paths. Without
//! one, an entrypoint that names a wasm file makes that file the application.
//! Anything else is a Linux container and none of ours.

use std::path::Path;

use serde_json::json;

use crate::app::App;

use super::artefact;
use super::blob::Limits;
use super::error::LoadError;
use super::file_url;
use super::lock;
use super::root::{Found, Root};
use super::store::{Store, open_file};

/// Where the lockfile is.
pub(crate) const LOCKFILE: &str = "/spin.json";

/// Reads the application of a root file system and its lockfile, if it holds one. `args` is the
/// process that the container would run.
pub(super) fn load(
    root: Root,
    args: &[String],
    limits: &Limits,
) -> Result<Option<(App, Vec<u8>, Store)>, LoadError> {
    if has(&root, Path::new(LOCKFILE)) {
        let bytes = open_file(&root, Path::new(LOCKFILE), None, limits.config)?.read()?;
        let store = Store::Root(root);
        let app = lock::load(&bytes, &store, limits)?;
        return Ok(Some((app, bytes, store)));
    }
    match args.first().filter(|first| !first.is_empty()) {
        Some(entrypoint) => wasm_file(root, entrypoint, "the entrypoint", limits),
        None => Ok(None),
    }
}

/// Makes an application of one wasm file, whatever else the root file system holds. `None` where
/// it is none. `role` is what sentences call the file.
pub(super) fn wasm_file(
    root: Root,
    file: &str,
    role: &str,
    limits: &Limits,
) -> Result<Option<(App, Vec<u8>, Store)>, LoadError> {
    let path = Path::new("/").join(file);
    let named = file.ends_with(".wasm") || file.ends_with(".wat");
    if !named && !is_wasm(&root, &path) {
        return Ok(None);
    }
    let what = format!("{role} `{file}`");
    let bytes = open_file(&root, &path, None, limits.wasm)
        .and_then(|file| file.read())
        .map_err(|error| error.within(role))?;
    let (app, lockfile) = artefact::app(
        &bytes,
        &what,
        &artefact::name_from(file),
        json!({ "source": file_url::from_path(&path) }),
    )?;
    Ok(Some((app, lockfile, Store::Root(root))))
}

fn has(root: &Root, path: &Path) -> bool {
    // What is there but cannot be read is an error later, not an absence now.
    !matches!(root.find(path), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
}

fn is_wasm(root: &Root, path: &Path) -> bool {
    use std::io::Read as _;
    let mut magic = [0u8; 4];
    match root.find(path) {
        Ok(Found::File(mut file, _)) => file.read_exact(&mut magic).is_ok() && magic == *b"\0asm",
        _ => false,
    }
}
