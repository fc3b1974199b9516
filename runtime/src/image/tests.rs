//! Tests of whole images, made byte by byte.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::app::{HttpRoute, Trigger};

use super::testing::*;
use super::*;

mod artifact;
mod componentizing;
mod index;
mod layers;
mod path;
mod spin;
mod unpacked;

const TAR: &str = media::OCI_LAYER;

fn refused<T: std::fmt::Debug>(result: Result<T, LoadError>) -> String {
    let error = result.unwrap_err();
    error.to_string()
}

/// Writes an OCI layout of all blobs, with these descriptors in its index.
fn layout(store: &Memory, dir: &Path, manifests: &[Value]) {
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    for (digest, bytes) in store.blobs() {
        fs::write(dir.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    }
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
}
