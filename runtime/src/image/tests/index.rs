//! From the root of an image to its manifest.

use super::*;

fn wasm_image(store: &Memory) -> Value {
    let layer = store.add(media::WASM, &http_component());
    let config = store.add_json(media::WASM_CONFIG, &json!({}));
    store.manifest(config, &[layer])
}

#[test]
fn an_index_leads_to_its_wasm_image() {
    let store = Arc::new(Memory::default());
    let mut wasm = wasm_image(&store);
    wasm["platform"] = json!({ "os": "wasip1", "architecture": "wasm" });
    let mut linux = store.linux(&["/bin/sh"], &[(TAR, tar(&[]))]);
    linux["platform"] = json!({ "os": "linux", "architecture": platform::host_architecture() });
    let index = store.add_json(
        media::OCI_INDEX,
        &json!({ "schemaVersion": 2, "manifests": [linux, wasm] }),
    );
    let nested = store.add_json(
        media::OCI_INDEX,
        &json!({ "schemaVersion": 2, "manifests": [index] }),
    );
    let image = store.app(&nested).unwrap();
    assert_eq!(
        image.digest().unwrap().to_string(),
        wasm["digest"].as_str().unwrap()
    );
}

#[test]
fn indexes_nest_only_so_deep() {
    let store = Arc::new(Memory::default());
    let mut root = wasm_image(&store);
    for _ in 0..5 {
        root = store.add_json(
            media::OCI_INDEX,
            &json!({ "schemaVersion": 2, "manifests": [root] }),
        );
    }
    assert!(refused(store.load(&root)).contains("more than 4 deep"));
}

#[test]
fn an_unknown_target_is_named() {
    let store = Arc::new(Memory::default());
    let root = store.add("application/vnd.example+json", b"{}");
    assert!(refused(store.load(&root)).contains("application/vnd.example+json"));
    let mut root = wasm_image(&store);
    root["digest"] = json!(format!("sha512:{}", "0".repeat(128)));
    assert!(refused(store.load(&root)).contains("`sha512`"));
}

#[test]
fn a_manifest_that_is_not_json_is_named() {
    let store = Arc::new(Memory::default());
    let root = store.add(media::OCI_MANIFEST, b"{");
    let error = refused(store.load(&root));
    assert!(
        error.contains("manifest sha256:") && error.contains("not a sound image manifest"),
        "{error}"
    );
}
