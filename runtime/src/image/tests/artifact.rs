//! Images of a single wasm file.

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
    for config in [
        "application/vnd.wasm.config.v0+json",
        "application/vnd.wasm.config.v1+json",
        media::OCI_CONFIG,
    ] {
        for layer in [
            media::WASM,
            "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
        ] {
            let image = load(config, layer, &http_component()).unwrap();
            let [Trigger::Http(trigger)] = image.app.triggers.as_slice() else {
                panic!("{:?}", image.app)
            };
            assert_eq!(trigger.route, HttpRoute::Path("/...".to_owned()));
            assert_eq!(image.wasm("main").unwrap(), http_component());
        }
    }
}

#[test]
fn a_command_becomes_a_command_trigger() {
    for wasm in [command_module(), exporting("wasi:cli/run@0.2.6")] {
        let image = load(media::WASM_CONFIG, media::WASM, &wasm).unwrap();
        assert!(matches!(
            image.app.triggers.as_slice(),
            [Trigger::Command(_)]
        ));
    }
}

#[test]
fn what_is_neither_is_refused_with_its_exports() {
    let error = refused(load(
        media::WASM_CONFIG,
        media::WASM,
        &exporting("example:a/b@1.0.0"),
    ));
    assert!(
        error.contains("exports neither") && error.contains("`example:a/b@1.0.0`"),
        "{error}"
    );
    let error = refused(load(media::WASM_CONFIG, media::WASM, b"\x7fELF"));
    assert!(
        error.contains("layer sha256:") && error.contains("neither a component nor a core module"),
        "{error}"
    );
    let error = refused(load(media::WASM_CONFIG, media::WASM, b"(module)"));
    assert!(error.contains("text form"), "{error}");
    let error = refused(load(
        media::WASM_CONFIG,
        media::WASM,
        &http_component()[..20],
    ));
    assert!(error.contains("damaged WebAssembly"), "{error}");
}

#[test]
fn an_artifact_has_one_layer_of_wasm() {
    let store = Arc::new(Memory::default());
    let config = store.add_json(media::WASM_CONFIG, &json!({}));
    let two = [
        store.add(media::WASM, &http_component()),
        store.add(media::WASM, &command_module()),
    ];
    assert!(
        refused(store.load(&store.manifest(config.clone(), &two))).contains("has 2 wasm layers")
    );
    assert!(refused(store.load(&store.manifest(config, &[]))).contains("without a layer"));
    let config = store.add_json(media::OCI_CONFIG, &json!({}));
    let other = [store.add("text/plain", b"x")];
    assert!(refused(store.load(&store.manifest(config, &other))).contains("`text/plain`"));
}
