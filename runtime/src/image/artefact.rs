//! An application out of a single wasm file that came with no lockfile.
//!
//! What the file exports says what it is: an HTTP handler answers every path,
//! a command runs once. It may call nobody and sees no files.

use serde_json::{Value, json};

use crate::app::{self, App};

use super::error::LoadError;
use super::wasm::{Interface, Purpose};

/// The id of the only component.
pub(super) const ID: &str = "main";

/// The application around the wasm `bytes`, which are found at `source` (the
/// lockfile's way to say where), and the lockfile that it would have had. `what`
/// names the file in sentences.
pub(super) fn app(
    bytes: &[u8],
    what: &str,
    name: &str,
    mut source: Value,
) -> Result<(App, Vec<u8>), LoadError> {
    let interface = Interface::read(bytes).map_err(|reason| LoadError::corrupt(what, reason))?;
    let trigger = match interface.purpose() {
        Ok(Purpose::Http) => json!({
            "id": "main-http-trigger", "trigger_type": "http",
            "trigger_config": { "component": ID, "route": "/..." },
        }),
        Ok(Purpose::Command) => json!({
            "id": "main-command-trigger", "trigger_type": "command",
            "trigger_config": { "component": ID },
        }),
        Err(reason) => return Err(LoadError::unmet(format!("{what}: {reason}"))),
    };
    source["content_type"] = json!("application/wasm");
    let lockfile = json!({
        "spin_lock_version": 0,
        "metadata": { "name": name },
        "triggers": [trigger],
        "components": [{ "id": ID, "source": source }],
    });
    let lockfile = lockfile.to_string().into_bytes();
    Ok((app::parse_lockfile(&lockfile)?, lockfile))
}

/// An application's name from a file's: without folders and ending.
pub(super) fn name_from(file: &str) -> String {
    let last = file.rsplit('/').next().unwrap_or_default();
    let stem = last.strip_suffix(".wasm").unwrap_or(last);
    if stem.is_empty() {
        ID.to_owned()
    } else {
        stem.to_owned()
    }
}
