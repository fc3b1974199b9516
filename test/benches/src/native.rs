//! Images of native programs, which run under runc beside catena.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use catena_test::Containerd;
use catena_test::layout::Layout;
use serde_json::json;

/// runc's runtime type.
pub(crate) const RUNC: &str = "io.containerd.runc.v2";

/// A layer under construction.
type Layer = tar::Builder<Vec<u8>>;

/// A static busybox and one page for its httpd.
pub(crate) fn busybox() -> Result<Vec<u8>> {
    let mut layer = Layer::new(Vec::new());
    // containerd unpacks no sparse files.
    layer.sparse(false);
    layer
        .append_path_with_name("/bin/busybox", "bin/busybox")
        .context("reading /bin/busybox: install busybox-static")?;
    let page = b"Hello from busybox\n";
    let mut header = tar::Header::new_gnu();
    header.set_size(page.len() as u64);
    header.set_mode(0o644);
    layer.append_data(&mut header, "www/index.html", page.as_slice())?;
    Ok(layer.into_inner()?)
}

/// This very program, whose role `hyper` is a server, and the libraries that it is linked with.
pub(crate) fn hyper() -> Result<Vec<u8>> {
    let this = std::env::current_exe()?;
    let mut layer = Layer::new(Vec::new());
    // containerd unpacks no sparse files.
    layer.sparse(false);
    layer.append_path_with_name(&this, "bench")?;
    for library in libraries(&this)? {
        let real = fs::canonicalize(&library)?;
        layer.append_path_with_name(real, library.strip_prefix("/")?)?;
    }
    Ok(layer.into_inner()?)
}

/// What `ldd` names, the loader included.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("ldd")?;
    if !output.status.success() {
        bail!("ldd: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).collect())
}

/// Imports an image of this one layer; its name.
pub(crate) fn import(containerd: &Containerd, name: &str, layer: Vec<u8>) -> Result<String> {
    let layout = Layout::new()?;
    let layer_digest = layout.blob(&layer)?;
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture, "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
    })
    .to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": layout.blob(config.as_bytes())?, "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": layer_digest, "size": layer.len(),
        }],
    })
    .to_string();
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": layout.blob(manifest.as_bytes())?, "size": manifest.len(),
            "annotations": {"io.containerd.image.name": format!("localhost/{name}:bench")},
        }],
    });
    fs::write(layout.path().join("index.json"), index.to_string())?;
    let archive = containerd.path(&format!("{name}.tar"));
    fs::write(&archive, layout.archive()?)?;
    containerd.import(&archive)
}
