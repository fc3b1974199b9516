//! Where things lie: the binary, the guests, the apps. What is missing is named with the command that makes it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the harness is a folder of the workspace")
}

/// The folder of the profile that this very program was built with.
fn profile() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("asking for the path of this program")?;
    let folder = exe.parent().context("this program lies nowhere")?;
    // Tests lie one folder deeper than what people start.
    let profile = match folder.file_name() {
        Some(name) if name == "deps" => folder.parent().unwrap_or(folder),
        _ => folder,
    };
    Ok(profile.to_path_buf())
}

/// The binary under test: `BINARY_UNDER_TEST`, or the one that was built with this program.
pub fn binary() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("BINARY_UNDER_TEST") {
        return existing(named.into(), "the binary that BINARY_UNDER_TEST names");
    }
    let made_by = "`make build`, or `make test` for the tests' own,";
    existing(profile()?.join("containerd-shim-catena-v1"), made_by)
}

/// A guest as a component.
pub fn guest(name: &str) -> Result<PathBuf> {
    existing(
        root().join(format!("target/guests/wasm32-wasip2/release/{name}.wasm")),
        "`make guests`",
    )
}

/// A guest as a core module.
pub fn core_guest(name: &str) -> Result<PathBuf> {
    existing(
        root().join(format!("target/guests/wasm32-wasip1/release/{name}.wasm")),
        "`make guests`",
    )
}

/// The busybox that needs no library.
pub fn busybox() -> Result<PathBuf> {
    let places = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
    let found = places.into_iter().find(|path| path.is_file());
    found.context("busybox is missing: `make setup` installs it")
}

/// The manifest of an app: one of the examples, or one of the tests'.
pub fn manifest(app: &str) -> Result<PathBuf> {
    for folder in ["images", "test/apps"] {
        let manifest = root().join(folder).join(app).join("spin.toml");
        if manifest.is_file() {
            return Ok(manifest);
        }
    }
    bail!("no app {app:?} in images/ or test/apps/");
}

fn existing(path: PathBuf, made_by: &str) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path);
    }
    bail!("{} is missing: {made_by} makes it", path.display());
}
