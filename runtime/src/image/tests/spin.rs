//! Images that `spin registry push` makes.

use super::*;

/// A Spin image with a component, an asset in a layer, and an inlined one.
fn image(store: &Memory) -> (Value, Value, Value) {
    let wasm = store.add(media::SPIN_WASM, &http_component());
    let asset = store.add(media::SPIN_DATA, b"an asset");
    let lock = lockfile(
        json!({ "content_type": "application/wasm", "digest": wasm["digest"] }),
        json!([
            { "digest": asset["digest"], "path": "/static/asset.txt" },
            { "inline": "aGk=", "digest": Digest::of(b"hi").to_string(), "path": "hi.txt" },
        ]),
    );
    (
        store.spin(&lock, &[wasm.clone(), asset.clone()]),
        wasm,
        asset,
    )
}

#[test]
fn a_spin_image_is_loaded_with_all_its_contents() {
    let store = Arc::new(Memory::default());
    let (root, wasm, _) = image(&store);
    let image = store.app(&root).unwrap();
    assert_eq!(image.app.name, "test");
    assert_eq!(image.wasm("a").unwrap(), http_component());
    assert_eq!(
        image.wasm_digest("a").unwrap().to_string(),
        wasm["digest"].as_str().unwrap()
    );
    image.verify().unwrap();
    let dir = tempfile::tempdir().unwrap();
    image.materialize_files("a", dir.path()).unwrap();
    assert_eq!(
        fs::read(dir.path().join("static/asset.txt")).unwrap(),
        b"an asset"
    );
    assert_eq!(fs::read(dir.path().join("hi.txt")).unwrap(), b"hi");
    let again = image.materialize_files("a", dir.path());
    assert!(refused(again).contains("not empty"));
}

#[test]
fn a_corrupt_layer_is_refused_by_name() {
    let store = Arc::new(Memory::default());
    let (root, wasm, asset) = image(&store);
    let digest = wasm["digest"].as_str().unwrap();
    let mut bytes = http_component();
    bytes[9] ^= 1;
    store.spoil(&wasm, Some(&bytes));
    store.spoil(&asset, Some(b"an asse"));
    let image = store.app(&root).unwrap();
    let error = refused(image.wasm("a"));
    assert!(
        error.contains("component \"a\"") && error.contains(digest) && error.contains("is corrupt"),
        "{error}"
    );
    let error = image.verify().unwrap_err();
    assert!(error.is_malformed());
    let error = error.to_string();
    assert!(
        error.contains("is corrupt") && error.contains("is truncated: 7 of its 8"),
        "{error}"
    );
    store.spoil(&wasm, Some(&[http_component(), b"more".to_vec()].concat()));
    let error = refused(image.wasm("a"));
    assert!(error.contains("longer than"), "{error}");
}

#[test]
fn every_missing_layer_is_told_at_load() {
    let store = Arc::new(Memory::default());
    let (root, wasm, asset) = image(&store);
    store.spoil(&wasm, None);
    store.spoil(&asset, None);
    let error = refused(store.load(&root));
    for part in [&wasm, &asset] {
        assert!(error.contains(part["digest"].as_str().unwrap()), "{error}");
    }
}

#[test]
fn contents_without_a_layer_are_told_with_the_lockfiles_own_problems() {
    let store = Arc::new(Memory::default());
    let digest = Digest::of(b"nowhere").to_string();
    let mut lock = lockfile(
        json!({ "digest": digest }),
        json!([{ "digest": digest, "path": "x" }]),
    );
    let error = refused(store.load(&store.spin(&lock, &[])));
    assert!(
        error.contains("component \"a\": content sha256:") && error.contains("file \"x\""),
        "{error}"
    );
    lock["must_understand"] = json!(["teleportation"]);
    lock["spin_lock_version"] = json!(1);
    let error = refused(store.load(&store.spin(&lock, &[])));
    assert!(
        error.contains("teleportation") && error.contains("is in no layer"),
        "{error}"
    );
}

#[test]
fn a_declared_size_above_the_limit_is_refused_unread() {
    let store = Arc::new(Memory::default());
    let mut wasm = store.add(media::SPIN_WASM, &http_component());
    wasm["size"] = json!(1u64 << 40);
    let lock = lockfile(json!({ "digest": wasm["digest"] }), json!([]));
    let error = refused(store.load(&store.spin(&lock, &[wasm])));
    assert!(error.contains("declares 1099511627776 bytes"), "{error}");
}

#[test]
fn inlined_content_is_verified_too() {
    let store = Arc::new(Memory::default());
    let wasm = store.add(media::SPIN_WASM, &http_component());
    let lock = lockfile(
        json!({ "digest": wasm["digest"] }),
        json!([{ "inline": "aGk=", "digest": Digest::of(b"ho").to_string(), "path": "x" }]),
    );
    let image = store.app(&store.spin(&lock, &[wasm])).unwrap();
    let error = refused(image.verify());
    assert!(
        error.contains("file \"x\": its inline content: is corrupt"),
        "{error}"
    );
}

#[test]
fn files_come_out_of_an_archive_layer_by_digest() {
    let store = Arc::new(Memory::default());
    let wasm = store.add(media::SPIN_WASM, &http_component());
    let archive = tar(&[
        Entry::Dir("./"),
        Entry::File("./unused", b"unused"),
        Entry::File("./one", b"the first"),
        Entry::File("two", b"the second"),
    ]);
    let archive = store.add(media::SPIN_ARCHIVE, &gzip(&archive));
    let file =
        |bytes: &[u8], path: &str| json!({ "digest": Digest::of(bytes).to_string(), "path": path });
    let files = json!([file(b"the first", "one"), file(b"the second", "sub/two")]);
    let lock = lockfile(json!({ "digest": wasm["digest"] }), files);
    let image = store
        .app(&store.spin(&lock, &[wasm.clone(), archive]))
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    image.materialize_files("a", dir.path()).unwrap();
    assert_eq!(fs::read(dir.path().join("one")).unwrap(), b"the first");
    assert_eq!(fs::read(dir.path().join("sub/two")).unwrap(), b"the second");

    let escaping = store.add(
        media::SPIN_ARCHIVE,
        &gzip(&tar(&[Entry::File("../one", b"the first")])),
    );
    let error = refused(store.load(&store.spin(&lock, &[wasm, escaping])));
    assert!(
        error.contains("`../one`") && error.contains("leaves the image"),
        "{error}"
    );
}

#[test]
fn a_very_old_image_has_the_lockfile_as_its_config() {
    let store = Arc::new(Memory::default());
    let wasm = store.add(media::SPIN_WASM, &http_component());
    let config = store.add_json(
        media::LOCKFILE,
        &lockfile(json!({ "digest": wasm["digest"] }), json!([])),
    );
    assert_eq!(
        store
            .app(&store.manifest(config, &[wasm]))
            .unwrap()
            .app
            .name,
        "test"
    );
}

#[test]
fn two_lockfiles_are_one_too_many() {
    let store = Arc::new(Memory::default());
    let lock = lockfile(json!({ "inline": "" }), json!([]));
    let other = store.add(media::LOCKFILE, b"{}");
    let error = refused(store.load(&store.spin(&lock, &[other])));
    assert!(error.contains("has two lockfiles"), "{error}");
}
