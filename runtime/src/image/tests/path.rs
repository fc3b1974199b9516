//! What the command line is given: archives and wasm files.

use super::*;

fn wasm_archive(store: &Memory) -> Vec<u8> {
    let layer = store.add(media::WASM, &http_component());
    let config = store.add_json(media::WASM_CONFIG, &json!({}));
    let root = store.manifest(config, &[layer]);
    let index = json!({ "schemaVersion": 2, "manifests": [root] }).to_string();
    let names: Vec<_> = store
        .blobs()
        .into_iter()
        .map(|(digest, bytes)| (format!("blobs/sha256/{}", digest.hex()), bytes))
        .collect();
    let mut entries = vec![Entry::File("index.json", index.as_bytes())];
    entries.extend(names.iter().map(|(name, bytes)| Entry::File(name, bytes)));
    tar(&entries)
}

#[test]
fn an_archive_is_read_plain_and_gzipped() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = wasm_archive(&Memory::default());
    for (name, bytes) in [
        ("plain.tar", bytes.clone()),
        ("zipped.tar.gz", gzip(&bytes)),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        assert_eq!(
            Image::from_path(&path).unwrap().wasm("main").unwrap(),
            http_component()
        );
    }
    let path = dir.path().join("cut.tar");
    fs::write(&path, &bytes[..bytes.len() - 2000]).unwrap();
    let error = refused(Image::from_path(&path));
    assert!(error.contains("cut.tar: cannot be decoded"), "{error}");
}

#[test]
fn what_docker_saves_is_read_too() {
    let lock = lockfile(json!({ "source": "file:///a.wasm" }), json!([]));
    let layer = tar(&[
        Entry::File("a.wasm", &http_component()),
        Entry::File("spin.json", lock.to_string().as_bytes()),
    ]);
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": { "Entrypoint": ["/spin.json"] },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer).to_string()] },
    })
    .to_string();
    let saved =
        json!([{ "Config": "c.json", "RepoTags": ["x:latest"], "Layers": ["l/layer.tar"] }])
            .to_string();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("saved.tar");
    for layer in [layer.clone(), gzip(&layer)] {
        let archive = tar(&[
            Entry::File("c.json", config.as_bytes()),
            Entry::File("l/layer.tar", &layer),
            Entry::File("manifest.json", saved.as_bytes()),
        ]);
        fs::write(&path, archive).unwrap();
        assert_eq!(
            Image::from_path(&path).unwrap().wasm("a").unwrap(),
            http_component()
        );
    }
    let archive = tar(&[
        Entry::File("c.json", config.as_bytes()),
        Entry::File("l/layer.tar", &tar(&[])),
        Entry::File("manifest.json", saved.as_bytes()),
    ]);
    fs::write(&path, archive).unwrap();
    assert!(refused(Image::from_path(&path)).contains("is corrupt"));
}

#[test]
fn a_wasm_file_is_an_application() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hello world.wasm");
    fs::write(&path, http_component()).unwrap();
    let image = Image::from_path(&path).unwrap();
    assert_eq!(image.app.name, "hello world");
    assert_eq!(
        image.wasm_digest("main").unwrap(),
        Digest::of(&http_component())
    );
    fs::write(&path, command_module()).unwrap();
    assert!(refused(image.wasm("main")).contains("file sha256:"));
}

#[test]
fn what_is_no_image_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.txt");
    fs::write(&path, "hello").unwrap();
    let error = refused(Image::from_path(&path));
    assert!(error.contains("x.txt: is not WebAssembly"), "{error}");
    assert!(refused(Image::from_path(dir.path())).contains("no index.json"));
    assert!(refused(Image::from_path(&dir.path().join("none"))).contains("none"));
    fs::write(&path, tar(&[Entry::File("a", b"a")])).unwrap();
    assert!(refused(Image::from_path(&path)).contains("neither index.json nor manifest.json"));
}
