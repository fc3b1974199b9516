//! Images with ordinary layers, read without unpacking them.

use super::*;

fn from_layout(store: &Memory, root: &Value) -> Result<Image, LoadError> {
    let dir = tempfile::tempdir().unwrap();
    layout(store, dir.path(), std::slice::from_ref(root));
    Image::from_path(dir.path())
}

/// Loads an image whose layers are these, uppermost last.
fn load(layers: &[Vec<u8>]) -> Result<Image, LoadError> {
    let store = Memory::default();
    let layers: Vec<_> = layers.iter().map(|tar| (TAR, tar.clone())).collect();
    let root = store.linux(&["/spin.json"], &layers);
    from_layout(&store, &root)
}

fn lock() -> String {
    lockfile(
        json!({ "source": "file:///components/a.wasm", "digest": Digest::of(&http_component()).to_string() }),
        json!([{ "source": "file:///assets/x", "path": "x.txt" }, { "source": "file:///assets", "path": "all" }]),
    )
    .to_string()
}

fn base(lock: &str) -> Vec<u8> {
    tar(&[
        Entry::Dir("components/"),
        Entry::File("components/a.wasm", &http_component()),
        Entry::File("./assets/x", b"x"),
        Entry::File("/spin.json", lock.as_bytes()),
    ])
}

fn written(image: &Image) -> Vec<(String, String)> {
    let dir = tempfile::tempdir().unwrap();
    image.materialize_files("a", dir.path()).unwrap();
    let mut files = Vec::new();
    let mut todo = vec![dir.path().to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => todo.push(path),
                false => {
                    let name = path.strip_prefix(dir.path()).unwrap().display().to_string();
                    files.push((name, fs::read_to_string(path).unwrap()));
                }
            }
        }
    }
    files.sort();
    files
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect()
}

#[test]
fn every_compression_and_name_of_a_layer_is_taken() {
    for media_type in [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ] {
        let store = Memory::default();
        let root = store.linux(&["/spin.json"], &[(media_type, base(&lock()))]);
        let image = from_layout(&store, &root).unwrap();
        assert_eq!(image.wasm("a").unwrap(), http_component());
        assert_eq!(
            image.wasm_digest("a").unwrap(),
            Digest::of(&http_component())
        );
        assert_eq!(written(&image), pairs(&[("all/x", "x"), ("x.txt", "x")]));
        image.verify().unwrap();
    }
}

#[test]
fn the_content_store_is_told_that_layers_have_to_be_unpacked() {
    let store = Arc::new(Memory::default());
    let root = store.linux(&["/spin.json"], &[(TAR, base(&lock()))]);
    assert!(matches!(store.load(&root).unwrap(), Loaded::Rootfs(_)));
}

#[test]
fn upper_layers_hide_and_replace() {
    let upper = tar(&[
        Entry::File("assets/.wh.x", b""),
        Entry::File("assets/y", b"y"),
        Entry::Link("assets/x", "y"),
    ]);
    assert_eq!(
        written(&load(&[base(&lock()), upper]).unwrap()),
        pairs(&[("all/x", "y"), ("all/y", "y"), ("x.txt", "y")])
    );
    // The opaque marker hides what is below, wherever it stands among its own.
    let upper = tar(&[
        Entry::File("assets/x", b"new"),
        Entry::File("assets/.wh..wh..opq", b""),
    ]);
    let lower = tar(&[
        Entry::File("assets/old", b"old"),
        Entry::File("assets/deep/older", b"older"),
    ]);
    let image = load(&[base(&lock()), lower, upper]).unwrap();
    assert_eq!(
        written(&image),
        pairs(&[("all/x", "new"), ("x.txt", "new")])
    );
}

#[test]
fn links_stay_inside_the_image() {
    let upper = tar(&[
        Entry::Dir("real"),
        Entry::Link("shortcut", "../../../real"),
        Entry::File("shortcut/x", b"through a link"),
        Entry::File("assets/.wh.x", b""),
        Entry::Hard("assets/x", "real/x"),
    ]);
    let image = load(&[base(&lock()), upper]).unwrap();
    assert_eq!(
        written(&image),
        pairs(&[("all/x", "through a link"), ("x.txt", "through a link")])
    );
    let passwd = tar(&[Entry::Link(
        "assets/x",
        "../../../../../../../../etc/passwd",
    )]);
    let error = refused(load(&[base(&lock()), passwd]));
    assert!(
        error.contains("file \"x.txt\": `/assets/x`: is not in the image's layers"),
        "{error}"
    );
    let circle = tar(&[Entry::Link("assets/x", "x")]);
    assert!(refused(load(&[base(&lock()), circle])).contains("symbolic links"));
    let device = tar(&[Entry::Device("assets/x")]);
    assert!(refused(load(&[base(&lock()), device])).contains("is a device"));
}

#[test]
fn an_entry_that_leaves_the_image_is_refused_by_name() {
    for entry in [
        Entry::File("../x", b"x"),
        Entry::File("a/../../x", b"x"),
        Entry::Hard("x", "../../etc/passwd"),
    ] {
        let error = refused(load(&[base(&lock()), tar(&[entry])]));
        assert!(
            error.contains("layer sha256:") && error.contains("leaves the image"),
            "{error}"
        );
    }
    let error = refused(load(&[base(&lock()), tar(&[Entry::Hard("x", "/nothing")])]));
    assert!(error.contains("hard link `x` to `/nothing`"), "{error}");
    let error = refused(load(&[
        base(&lock()),
        tar(&[Entry::File("spin.json/x", b"")]),
    ]));
    assert!(
        error.contains("below `spin.json`, which is not a folder"),
        "{error}"
    );
}

#[test]
fn damaged_layers_are_refused_by_name() {
    let store = Memory::default();
    let root = store.linux(&["/spin.json"], &[(media::OCI_LAYER_GZIP, base(&lock()))]);
    let manifest: Value = serde_json::from_slice(&store.get(&root)).unwrap();
    let layer = &manifest["layers"][0];
    let whole = store.get(layer);
    let digest = layer["digest"].as_str().unwrap();
    for damaged in [&whole[..whole.len() - 30], &whole[..10], &[]] {
        store.spoil(layer, Some(damaged));
        let error = refused(from_layout(&store, &root));
        assert!(error.contains(digest), "{error}");
    }
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x40;
    store.spoil(layer, Some(&flipped));
    assert!(refused(from_layout(&store, &root)).contains(digest));
    store.spoil(layer, None);
    let error = refused(from_layout(&store, &root));
    assert!(
        error.contains(digest) && error.contains("is missing"),
        "{error}"
    );
}

#[test]
fn the_configurations_digests_of_layers_hold() {
    let store = Memory::default();
    let root = store.linux(&["/spin.json"], &[(media::OCI_LAYER_GZIP, base(&lock()))]);
    let mut manifest: Value = serde_json::from_slice(&store.get(&root)).unwrap();
    let other = store.add(media::OCI_LAYER_GZIP, &gzip(&base("{}")));
    manifest["layers"] = json!([other]);
    let root = store.add_json(media::OCI_MANIFEST, &manifest);
    assert!(refused(from_layout(&store, &root)).contains("is corrupt"));
    manifest["layers"] = json!([]);
    let root = store.add_json(media::OCI_MANIFEST, &manifest);
    assert!(refused(from_layout(&store, &root)).contains("lists 1 layers and the manifest 0"));
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let store = Arc::new(Memory::default());
    let tar = tar(&[Entry::File("zeros", &vec![0u8; 4 << 20])]);
    let layer = store.add(media::OCI_LAYER_GZIP, &gzip(&tar));
    let part = manifest::Part::new("layer", &serde_json::from_value(layer).unwrap()).unwrap();
    let limits = Limits {
        unpacked: 1 << 20,
        ..Limits::default()
    };
    let mut layers = tree::TreeBuilder::new(limits).unwrap();
    let error = refused(layers.add(&*store, &part, None));
    assert!(error.contains("larger than 1048576 bytes"), "{error}");
    let limits = Limits {
        entries: 0,
        ..Limits::default()
    };
    let mut layers = tree::TreeBuilder::new(limits).unwrap();
    assert!(refused(layers.add(&*store, &part, None)).contains("more than 0 files"));
}

#[test]
fn an_entrypoint_may_name_a_wasm_file() {
    let store = Memory::default();
    let layer = tar(&[
        Entry::File("app/hello.wasm", &command_module()),
        Entry::File("bad.wasm", b"no wasm"),
    ]);
    let root = store.linux(&["app/hello.wasm", "--flag"], &[(TAR, layer.clone())]);
    let image = from_layout(&store, &root).unwrap();
    assert_eq!(image.app.name, "hello");
    assert_eq!(image.wasm("main").unwrap(), command_module());
    let error = refused(from_layout(
        &store,
        &store.linux(&["/bad.wasm"], &[(TAR, layer.clone())]),
    ));
    assert!(
        error.contains("the entrypoint `/bad.wasm`") && error.contains("is not WebAssembly"),
        "{error}"
    );
    let error = refused(from_layout(
        &store,
        &store.linux(&["/none.wasm"], &[(TAR, layer.clone())]),
    ));
    assert!(
        error.contains("`/none.wasm`: is not in the image's layers"),
        "{error}"
    );
    let error = refused(from_layout(
        &store,
        &store.linux(&["/bin/sh"], &[(TAR, layer)]),
    ));
    assert!(
        error.contains("is a Linux image") && error.contains("[/bin/sh]"),
        "{error}"
    );
}
