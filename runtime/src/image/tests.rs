//! Tests of whole images, made byte by byte.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::app::{HttpRoute, Trigger};

use super::testing::*;
use super::*;

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

mod spin {
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
        (store.spin(&lock, &[wasm.clone(), asset.clone()]), wasm, asset)
    }

    #[test]
    fn a_spin_image_is_loaded_with_all_its_contents() {
        let store = Arc::new(Memory::default());
        let (root, wasm, _) = image(&store);
        let image = store.app(&root).unwrap();
        assert_eq!(image.app.name, "test");
        assert_eq!(image.wasm("a").unwrap(), http_component());
        assert_eq!(image.wasm_digest("a").unwrap().to_string(), wasm["digest"].as_str().unwrap());
        image.verify().unwrap();
        let dir = tempfile::tempdir().unwrap();
        image.materialize_files("a", dir.path()).unwrap();
        assert_eq!(fs::read(dir.path().join("static/asset.txt")).unwrap(), b"an asset");
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
        assert!(error.contains("component \"a\"") && error.contains(digest) && error.contains("is corrupt"), "{error}");
        let error = image.verify().unwrap_err();
        assert!(error.is_malformed());
        let error = error.to_string();
        assert!(error.contains("is corrupt") && error.contains("is truncated: 7 of its 8"), "{error}");
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
        let mut lock = lockfile(json!({ "digest": digest }), json!([{ "digest": digest, "path": "x" }]));
        let error = refused(store.load(&store.spin(&lock, &[])));
        assert!(error.contains("component \"a\": content sha256:") && error.contains("file \"x\""), "{error}");
        lock["must_understand"] = json!(["teleportation"]);
        lock["spin_lock_version"] = json!(1);
        let error = refused(store.load(&store.spin(&lock, &[])));
        assert!(error.contains("teleportation") && error.contains("is in no layer"), "{error}");
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
        assert!(error.contains("file \"x\": its inline content: is corrupt"), "{error}");
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
        let file = |bytes: &[u8], path: &str| json!({ "digest": Digest::of(bytes).to_string(), "path": path });
        let files = json!([file(b"the first", "one"), file(b"the second", "sub/two")]);
        let lock = lockfile(json!({ "digest": wasm["digest"] }), files);
        let image = store.app(&store.spin(&lock, &[wasm.clone(), archive])).unwrap();
        let dir = tempfile::tempdir().unwrap();
        image.materialize_files("a", dir.path()).unwrap();
        assert_eq!(fs::read(dir.path().join("one")).unwrap(), b"the first");
        assert_eq!(fs::read(dir.path().join("sub/two")).unwrap(), b"the second");

        let escaping = store.add(media::SPIN_ARCHIVE, &gzip(&tar(&[Entry::File("../one", b"the first")])));
        let error = refused(store.load(&store.spin(&lock, &[wasm, escaping])));
        assert!(error.contains("`../one`") && error.contains("leaves the image"), "{error}");
    }

    #[test]
    fn a_very_old_image_has_the_lockfile_as_its_config() {
        let store = Arc::new(Memory::default());
        let wasm = store.add(media::SPIN_WASM, &http_component());
        let config = store.add_json(media::LOCKFILE, &lockfile(json!({ "digest": wasm["digest"] }), json!([])));
        assert_eq!(store.app(&store.manifest(config, &[wasm])).unwrap().app.name, "test");
    }

    #[test]
    fn two_lockfiles_are_one_too_many() {
        let store = Arc::new(Memory::default());
        let lock = lockfile(json!({ "inline": "" }), json!([]));
        let other = store.add(media::LOCKFILE, b"{}");
        let error = refused(store.load(&store.spin(&lock, &[other])));
        assert!(error.contains("has two lockfiles"), "{error}");
    }
}

mod index {
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
        let index = store.add_json(media::OCI_INDEX, &json!({ "schemaVersion": 2, "manifests": [linux, wasm] }));
        let nested = store.add_json(media::OCI_INDEX, &json!({ "schemaVersion": 2, "manifests": [index] }));
        let image = store.app(&nested).unwrap();
        assert_eq!(image.digest().unwrap().to_string(), wasm["digest"].as_str().unwrap());
    }

    #[test]
    fn indexes_nest_only_so_deep() {
        let store = Arc::new(Memory::default());
        let mut root = wasm_image(&store);
        for _ in 0..5 {
            root = store.add_json(media::OCI_INDEX, &json!({ "schemaVersion": 2, "manifests": [root] }));
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
        assert!(error.contains("manifest sha256:") && error.contains("not a sound image manifest"), "{error}");
    }
}

mod artifact {
    use super::*;

    fn load(config: &str, layer: &str, wasm: &[u8]) -> Result<Image, LoadError> {
        let store = Arc::new(Memory::default());
        let layer = store.add(layer, wasm);
        let config = store.add_json(config, &json!({}));
        let root = store.manifest(config, &[layer]);
        store.app(&root)
    }

    #[test]
    fn an_http_component_answers_every_path() {
        for config in ["application/vnd.wasm.config.v0+json", "application/vnd.wasm.config.v1+json", media::OCI_CONFIG] {
            for layer in [media::WASM, "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"] {
                let image = load(config, layer, &http_component()).unwrap();
                let [Trigger::Http(trigger)] = image.app.triggers.as_slice() else { panic!("{:?}", image.app) };
                assert_eq!(trigger.route, HttpRoute::Path("/...".to_owned()));
                assert_eq!(image.wasm("main").unwrap(), http_component());
            }
        }
    }

    #[test]
    fn a_command_becomes_a_command_trigger() {
        for wasm in [command_module(), exporting("wasi:cli/run@0.2.6")] {
            let image = load(media::WASM_CONFIG, media::WASM, &wasm).unwrap();
            assert!(matches!(image.app.triggers.as_slice(), [Trigger::Command(_)]));
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_its_exports() {
        let error = refused(load(media::WASM_CONFIG, media::WASM, &exporting("example:a/b@1.0.0")));
        assert!(error.contains("exports neither") && error.contains("`example:a/b@1.0.0`"), "{error}");
        let error = refused(load(media::WASM_CONFIG, media::WASM, b"\x7fELF"));
        assert!(error.contains("layer sha256:") && error.contains("neither a component nor a core module"), "{error}");
        let error = refused(load(media::WASM_CONFIG, media::WASM, b"(module)"));
        assert!(error.contains("text form"), "{error}");
        let error = refused(load(media::WASM_CONFIG, media::WASM, &http_component()[..20]));
        assert!(error.contains("damaged WebAssembly"), "{error}");
    }

    #[test]
    fn an_artifact_has_one_layer_of_wasm() {
        let store = Arc::new(Memory::default());
        let config = store.add_json(media::WASM_CONFIG, &json!({}));
        let two = [store.add(media::WASM, &http_component()), store.add(media::WASM, &command_module())];
        assert!(refused(store.load(&store.manifest(config.clone(), &two))).contains("has 2 wasm layers"));
        assert!(refused(store.load(&store.manifest(config, &[]))).contains("without a layer"));
        let config = store.add_json(media::OCI_CONFIG, &json!({}));
        let other = [store.add("text/plain", b"x")];
        assert!(refused(store.load(&store.manifest(config, &other))).contains("`text/plain`"));
    }
}

mod layers {
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
        expected.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
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
            assert_eq!(image.wasm_digest("a").unwrap(), Digest::of(&http_component()));
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
        let upper = tar(&[Entry::File("assets/.wh.x", b""), Entry::File("assets/y", b"y"), Entry::Link("assets/x", "y")]);
        assert_eq!(written(&load(&[base(&lock()), upper]).unwrap()), pairs(&[("all/x", "y"), ("all/y", "y"), ("x.txt", "y")]));
        // The opaque marker hides what is below, wherever it stands among its own.
        let upper = tar(&[Entry::File("assets/x", b"new"), Entry::File("assets/.wh..wh..opq", b"")]);
        let lower = tar(&[Entry::File("assets/old", b"old"), Entry::File("assets/deep/older", b"older")]);
        let image = load(&[base(&lock()), lower, upper]).unwrap();
        assert_eq!(written(&image), pairs(&[("all/x", "new"), ("x.txt", "new")]));
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
        assert_eq!(written(&image), pairs(&[("all/x", "through a link"), ("x.txt", "through a link")]));
        let passwd = tar(&[Entry::Link("assets/x", "../../../../../../../../etc/passwd")]);
        let error = refused(load(&[base(&lock()), passwd]));
        assert!(error.contains("file \"x.txt\": `/assets/x`: is not in the image's layers"), "{error}");
        let circle = tar(&[Entry::Link("assets/x", "x")]);
        assert!(refused(load(&[base(&lock()), circle])).contains("symbolic links"));
        let device = tar(&[Entry::Device("assets/x")]);
        assert!(refused(load(&[base(&lock()), device])).contains("is a device"));
    }

    #[test]
    fn an_entry_that_leaves_the_image_is_refused_by_name() {
        for entry in [Entry::File("../x", b"x"), Entry::File("a/../../x", b"x"), Entry::Hard("x", "../../etc/passwd")] {
            let error = refused(load(&[base(&lock()), tar(&[entry])]));
            assert!(error.contains("layer sha256:") && error.contains("leaves the image"), "{error}");
        }
        let error = refused(load(&[base(&lock()), tar(&[Entry::Hard("x", "/nothing")])]));
        assert!(error.contains("hard link `x` to `/nothing`"), "{error}");
        let error = refused(load(&[base(&lock()), tar(&[Entry::File("spin.json/x", b"")])]));
        assert!(error.contains("below `spin.json`, which is not a folder"), "{error}");
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
        assert!(error.contains(digest) && error.contains("is missing"), "{error}");
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
        let limits = Limits { unpacked: 1 << 20, ..Limits::default() };
        let mut layers = tree::Layers::new(limits).unwrap();
        let error = refused(layers.add(&*store, &part, None));
        assert!(error.contains("larger than 1048576 bytes"), "{error}");
        let limits = Limits { entries: 0, ..Limits::default() };
        let mut layers = tree::Layers::new(limits).unwrap();
        assert!(refused(layers.add(&*store, &part, None)).contains("more than 0 files"));
    }

    #[test]
    fn an_entrypoint_may_name_a_wasm_file() {
        let store = Memory::default();
        let layer = tar(&[Entry::File("app/hello.wasm", &command_module()), Entry::File("bad.wasm", b"no wasm")]);
        let root = store.linux(&["app/hello.wasm", "--flag"], &[(TAR, layer.clone())]);
        let image = from_layout(&store, &root).unwrap();
        assert_eq!(image.app.name, "hello");
        assert_eq!(image.wasm("main").unwrap(), command_module());
        let error = refused(from_layout(&store, &store.linux(&["/bad.wasm"], &[(TAR, layer.clone())])));
        assert!(error.contains("the entrypoint `/bad.wasm`") && error.contains("is not WebAssembly"), "{error}");
        let error = refused(from_layout(&store, &store.linux(&["/none.wasm"], &[(TAR, layer.clone())])));
        assert!(error.contains("`/none.wasm`: is not in the image's layers"), "{error}");
        let error = refused(from_layout(&store, &store.linux(&["/bin/sh"], &[(TAR, layer)])));
        assert!(error.contains("is a Linux image") && error.contains("[/bin/sh]"), "{error}");
    }
}

mod unpacked {
    use std::os::unix::fs::symlink;

    use super::*;

    fn rootfs(digest: Digest) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("rootfs");
        fs::create_dir_all(root.join("components")).unwrap();
        fs::create_dir_all(root.join("assets/sub")).unwrap();
        fs::write(root.join("components/a b.wasm"), http_component()).unwrap();
        fs::write(root.join("assets/sub/x"), "x").unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        let source = json!({ "source": "file:///components/a%20b.wasm", "digest": digest.to_string() });
        let lock = lockfile(source, json!([{ "source": "file:///assets", "path": "/" }]));
        fs::write(root.join("spin.json"), lock.to_string()).unwrap();
        dir
    }

    fn load(dir: &tempfile::TempDir) -> Result<Image, LoadError> {
        Image::from_rootfs(&dir.path().join("rootfs"), &["/".to_owned()]).map(|image| image.unwrap())
    }

    #[test]
    fn an_unpacked_root_file_system_is_loaded() {
        let dir = rootfs(Digest::of(&http_component()));
        let image = load(&dir).unwrap();
        assert_eq!(image.wasm("a").unwrap(), http_component());
        let files = tempfile::tempdir().unwrap();
        image.materialize_files("a", files.path()).unwrap();
        assert_eq!(fs::read_to_string(files.path().join("sub/x")).unwrap(), "x");
        assert_eq!(Image::from_path(&dir.path().join("rootfs")).unwrap().app, image.app);
    }

    #[test]
    fn a_file_is_verified_against_the_lockfile() {
        let dir = rootfs(Digest::of(b"other"));
        let image = load(&dir).unwrap();
        for error in [refused(image.wasm("a")), refused(image.wasm_digest("a"))] {
            assert!(error.contains("`/components/a b.wasm`: is corrupt"), "{error}");
        }
    }

    #[test]
    fn no_link_leads_out() {
        let dir = rootfs(Digest::of(&http_component()));
        let root = dir.path().join("rootfs");
        fs::remove_file(root.join("components/a b.wasm")).unwrap();
        symlink("../../secret", root.join("components/a b.wasm")).unwrap();
        let error = refused(load(&dir));
        assert!(error.contains("component \"a\": `/components/a b.wasm`: is not in the root file system"), "{error}");
        fs::remove_file(root.join("components/a b.wasm")).unwrap();
        // An absolute link means the image's own root.
        symlink("/real.wasm", root.join("components/a b.wasm")).unwrap();
        fs::write(root.join("real.wasm"), http_component()).unwrap();
        assert_eq!(load(&dir).unwrap().wasm("a").unwrap(), http_component());
        symlink(dir.path(), root.join("assets/out")).unwrap();
        let files = tempfile::tempdir().unwrap();
        let error = refused(load(&dir).unwrap().materialize_files("a", files.path()));
        assert!(error.contains("`/assets/out`: is not in"), "{error}");
    }

    #[test]
    fn a_pipe_does_not_block() {
        let dir = rootfs(Digest::of(&http_component()));
        let path = dir.path().join("rootfs/components/a b.wasm");
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(refused(load(&dir)).contains("is a device or a pipe"));
    }

    #[test]
    fn a_linux_container_is_none_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sh"), "#!").unwrap();
        fs::write(dir.path().join("plugin"), command_module()).unwrap();
        let load = |args: &[&str]| Image::from_rootfs(dir.path(), &args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        assert!(load(&["/sh"]).unwrap().is_none());
        assert!(load(&["/missing"]).unwrap().is_none());
        assert!(load(&[]).unwrap().is_none());
        assert!(load(&["/plugin"]).unwrap().is_some());
        assert!(refused(load(&["/missing.wasm"])).contains("`/missing.wasm`: is not in"));
    }
}

mod path {
    use super::*;

    fn wasm_archive(store: &Memory) -> Vec<u8> {
        let layer = store.add(media::WASM, &http_component());
        let config = store.add_json(media::WASM_CONFIG, &json!({}));
        let root = store.manifest(config, &[layer]);
        let index = json!({ "schemaVersion": 2, "manifests": [root] }).to_string();
        let names: Vec<_> = store.blobs().into_iter().map(|(digest, bytes)| (format!("blobs/sha256/{}", digest.hex()), bytes)).collect();
        let mut entries = vec![Entry::File("index.json", index.as_bytes())];
        entries.extend(names.iter().map(|(name, bytes)| Entry::File(name, bytes)));
        tar(&entries)
    }

    #[test]
    fn an_archive_is_read_plain_and_gzipped() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = wasm_archive(&Memory::default());
        for (name, bytes) in [("plain.tar", bytes.clone()), ("zipped.tar.gz", gzip(&bytes))] {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            assert_eq!(Image::from_path(&path).unwrap().wasm("main").unwrap(), http_component());
        }
        let path = dir.path().join("cut.tar");
        fs::write(&path, &bytes[..bytes.len() - 2000]).unwrap();
        let error = refused(Image::from_path(&path));
        assert!(error.contains("truncated") || error.contains("missing"), "{error}");
    }

    #[test]
    fn what_docker_saves_is_read_too() {
        let lock = lockfile(json!({ "source": "file:///a.wasm" }), json!([]));
        let layer = tar(&[Entry::File("a.wasm", &http_component()), Entry::File("spin.json", lock.to_string().as_bytes())]);
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": { "Entrypoint": ["/spin.json"] },
            "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer).to_string()] },
        })
        .to_string();
        let saved = json!([{ "Config": "c.json", "RepoTags": ["x:latest"], "Layers": ["l/layer.tar"] }]).to_string();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("saved.tar");
        for layer in [layer.clone(), gzip(&layer)] {
            let archive = tar(&[
                Entry::File("c.json", config.as_bytes()),
                Entry::File("l/layer.tar", &layer),
                Entry::File("manifest.json", saved.as_bytes()),
            ]);
            fs::write(&path, archive).unwrap();
            assert_eq!(Image::from_path(&path).unwrap().wasm("a").unwrap(), http_component());
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
        assert_eq!(image.wasm_digest("main").unwrap(), Digest::of(&http_component()));
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
}

mod componentizing {
    use super::*;

    #[test]
    fn a_command_module_becomes_a_command_component() {
        let module = command_module();
        let component = componentize(&module).unwrap();
        let interface = Interface::read(&component).unwrap();
        assert!(interface.component && interface.runs(), "{interface:?}");
        assert_eq!(componentize(&component).unwrap(), component);
    }

    #[test]
    fn a_module_without_a_start_is_refused() {
        let error = componentize(b"\0asm\x01\0\0\0").unwrap_err().to_string();
        assert!(error.contains("no `_start`"), "{error}");
        assert!(componentize(b"hello").unwrap_err().to_string().contains("is not WebAssembly"));
    }
}
