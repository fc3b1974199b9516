//! Components whose imports other components satisfy: composed when an image is loaded, in every form; what a
//! dependency reaches and what it does not; and the sentence for each mistake.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use catena_test::client::encode;
use catena_test::layout::{Layout, lockfile, sha256};
use catena_test::{Catena, Form, Packed, Running, Upstream, pack, workspace};
use serde_json::{Value, json};

struct Parts {
    composed: Vec<u8>,
    library: Vec<u8>,
    reach: Vec<u8>,
}

impl Parts {
    fn read() -> Result<Self> {
        Ok(Self {
            composed: fs::read(workspace::guest("composed")?)?,
            library: fs::read(workspace::guest("library")?)?,
            reach: fs::read(workspace::guest("reach")?)?,
        })
    }

    fn image(&self, app: &Value) -> Result<Layout> {
        let parts: [(&str, &[u8]); 3] = [
            ("COMPOSED", &self.composed),
            ("LIBRARY", &self.library),
            ("REACH", &self.reach),
        ];
        Layout::spin_of(app, &parts)
    }
}

fn part(word: &str, inherit: Value) -> Value {
    json!({
        "source": {"content_type": "application/wasm", "digest": word},
        "export": null,
        "inherit": inherit,
    })
}

/// The whole of it: one dependency for all interfaces of a package, one for a function, one that reaches.
fn app(reach_inherits: Value) -> Value {
    let mut app = lockfile();
    let component = &mut app["components"][0];
    component["source"]["digest"] = json!("COMPOSED");
    component["dependencies"] = json!({
        "test:library": part("LIBRARY", json!({"Some": []})),
        "shout": part("LIBRARY", json!({"Some": []})),
        "test:reach/reach@1.0.0": part("REACH", reach_inherits),
    });
    app
}

/// The same, with something to reach of every kind.
fn rich(reach_inherits: Value) -> Value {
    let mut app = app(reach_inherits);
    app["variables"] = json!({"secret": {"default": "hush"}});
    let component = &mut app["components"][0];
    component["env"] = json!({"TOKEN": "of the component"});
    component["files"] = json!([{"inline": "aGVsbG8=", "path": "note.txt"}]);
    component["config"] = json!({"secret": "{{ secret }}"});
    component["metadata"] = json!({
        "allowed_outbound_hosts": ["*://*:*"],
        "key_value_stores": ["default"],
        "databases": ["default"],
    });
    app
}

async fn run(image: &Path) -> Result<Running> {
    let state = tempfile::TempDir::new()?;
    Catena::image(image).state_dir(state.path()).start().await
}

/// What the dependency says of its attempt.
async fn attempt(app: &Running, what: &str, at: &str) -> Result<String> {
    Ok(app.get(&format!("/reach?{what},{at}")).await?.text())
}

async fn computes(app: &Running) -> Result<()> {
    for (path, answer) in [
        ("/add?40,2", "42"),
        ("/tally?1,2,3", "6"),
        ("/shout?hello", "HELLO!"),
        (
            "/reach?nothing,",
            "Err(\"nobody knows how to reach nothing\")",
        ),
    ] {
        assert_eq!(app.get(path).await?.text(), answer, "{path}");
    }
    // A handle of the host's, made by the dependency and used by the component.
    let waited = app.get("/wait?30").await?.text();
    let waited = waited
        .strip_suffix(" ms")
        .context("a time")?
        .parse::<u64>()?;
    assert!((30..5000).contains(&waited), "{waited}");
    Ok(())
}

#[tokio::test]
async fn dependencies_satisfy_imports_in_every_form_of_image() -> Result<()> {
    let parts = Parts::read()?;
    let layout = parts.image(&app(json!({"Some": []})))?;
    computes(&run(layout.path()).await?).await?;
    // The whole of it as an archive.
    let folder = tempfile::TempDir::new()?;
    let tar = folder.path().join("image.tar");
    fs::write(&tar, layout.archive()?)?;
    computes(&run(&tar).await?).await?;
    // Files of a root file system, one without a digest.
    let mut app = app(json!("All"));
    app["components"][0]["source"] = json!({"source": "file:///parts/composed.wasm"});
    let dependencies = &mut app["components"][0]["dependencies"];
    let library = json!({"source": "file:///parts/library.wasm"});
    dependencies["test:library"]["source"] = library.clone();
    dependencies["shout"]["source"] = library;
    dependencies["test:reach/reach@1.0.0"]["source"] = json!({
        "source": "file:///parts/reach.wasm", "digest": sha256(&parts.reach),
    });
    let files: [(&str, &[u8]); 3] = [
        ("parts/composed.wasm", &parts.composed),
        ("parts/library.wasm", &parts.library),
        ("parts/reach.wasm", &parts.reach),
    ];
    let rootfs = Layout::rootfs("localhost/composed:rootfs", &app, &files)?;
    computes(&run(rootfs.path()).await?).await
}

#[tokio::test]
async fn a_dependency_may_have_an_export_of_another_name() -> Result<()> {
    let parts = Parts::read()?;
    let mut app = app(json!({"Some": []}));
    let dependencies = &mut app["components"][0]["dependencies"];
    let whole = dependencies
        .as_object_mut()
        .context("an object")?
        .remove("test:library");
    for interface in ["sums", "tallies", "waits"] {
        let mut one = whole.clone().context("the library")?;
        one["export"] = json!(format!("test:library/{interface}@1.2.0"));
        // With a version and without.
        let version = if interface == "sums" { "" } else { "@1.2.0" };
        dependencies[format!("test:library/{interface}{version}")] = one;
    }
    computes(&run(parts.image(&app)?.path()).await?).await
}

#[tokio::test]
async fn a_dependency_inherits_what_its_component_may() -> Result<()> {
    let server = Upstream::start().await?;
    let image = Parts::read()?.image(&rich(json!("All")))?;
    let app = run(image.path()).await?;
    let address = server.address().to_string();
    for (what, at, answer) in [
        ("environment", "TOKEN", "Ok(\"of the component\")"),
        ("file", "/note.txt", "Ok(\"hello\")"),
        ("tcp", &address, "Ok(\"connected\")"),
        ("name", "127.0.0.1", "Ok(\"127.0.0.1\")"),
        ("store", "default", "Ok(\"opened\")"),
        ("sqlite", "default", "Ok(\"opened\")"),
        ("variable", "secret", "Ok(\"hush\")"),
    ] {
        assert_eq!(attempt(&app, what, at).await?, answer, "{what}");
    }
    let called = attempt(&app, "call", &encode(&format!("http://{address}/"))).await?;
    assert!(called.starts_with("Ok(\"200 "), "{called}");
    assert_eq!(server.requests(), 1);
    Ok(())
}

#[tokio::test]
async fn a_dependency_reaches_nothing_that_it_does_not_inherit() -> Result<()> {
    let server = Upstream::start().await?;
    let parts = Parts::read()?;
    let address = server.address().to_string();
    let redis = format!("redis://{address}");
    let mut without = rich(json!(null));
    let reach = &mut without["components"][0]["dependencies"]["test:reach/reach@1.0.0"];
    reach
        .as_object_mut()
        .context("an object")?
        .remove("inherit");
    for app in [rich(json!({"Some": []})), without] {
        let app = run(parts.image(&app)?.path()).await?;
        for (what, at, error) in [
            ("environment", "TOKEN", "NotPresent"),
            ("file", "/note.txt", "NotFound"),
            ("write", "/new.txt", "NotFound"),
            ("call", &*format!("http://{address}/"), "HttpRequestDenied"),
            ("call", "http://a.spin.internal/", "HttpRequestDenied"),
            ("call", "http://self/", "HttpRequestDenied"),
            ("tcp", &address, "PermissionDenied"),
            ("name", "localhost", "PermissionDenied"),
            ("store", "default", "AccessDenied"),
            ("sqlite", "default", "AccessDenied"),
            (
                "redis",
                &redis,
                "does not inherit what its component may use",
            ),
            (
                "variable",
                "secret",
                "does not inherit what its component may use",
            ),
            (
                "model",
                "llama",
                "does not inherit what its component may use",
            ),
        ] {
            let said = attempt(&app, what, at).await?;
            assert!(
                said.starts_with("Err(") && said.contains(error),
                "{what}: {said}"
            );
        }
        assert_eq!(attempt(&app, "environment", "*").await?, "Ok(\"0 0\")");
        // What gives no power works, and the component has kept what it has.
        for what in ["time", "random", "print"] {
            let said = attempt(&app, what, "a-line-of-the-dependency").await?;
            assert!(said.starts_with("Ok("), "{what}: {said}");
        }
        app.output().wait_for("a-line-of-the-dependency").await?;
        let own = app.get("/environment?TOKEN").await?;
        assert_eq!(own.text(), "Ok(\"of the component\")");
        assert_eq!(app.get("/file?/note.txt").await?.text(), "Ok(\"hello\")");
        computes(&app).await?;
    }
    assert_eq!(server.connections(), 0);
    Ok(())
}

#[tokio::test]
async fn what_does_not_fit_together_is_refused() -> Result<()> {
    let parts = Parts::read()?;
    let none = || json!({"Some": []});
    let with_export = |word: &str, export: &str| {
        let mut part = part(word, none());
        part["export"] = json!(export);
        part
    };
    let mut inline = part("REACH", none());
    inline["source"] = json!({"inline": "aGVsbG8="});
    for (name, dependency, sentence) in [
        (
            "test:nothing",
            part("LIBRARY", none()),
            "dependency \"test:nothing\" satisfies no import of the component, which imports ",
        ),
        (
            "test:library/sums",
            part("LIBRARY", none()),
            "the import `test:library/sums@1.2.0` is satisfied by 2 dependencies, \"test:library\", \
             \"test:library/sums\"; keep one of them, or name the interfaces of each",
        ),
        (
            "test:reach/reach@1.0.0",
            part("LIBRARY", none()),
            "dependency \"test:reach/reach@1.0.0\" exports no `test:reach/reach@1.0.0` to satisfy the import \
             `test:reach/reach@1.0.0`; it exports ",
        ),
        (
            "shout",
            with_export("LIBRARY", "whisper"),
            "dependency \"shout\" exports no `whisper` to satisfy the import `shout`; it exports ",
        ),
        (
            "shout",
            with_export("LIBRARY", "test:library/sums@1.2.0"),
            "dependency \"shout\": its export `test:library/sums@1.2.0` is of another type than the import \
             `shout` (",
        ),
        (
            "shout",
            inline,
            "dependency \"shout\": the file is not WebAssembly: it is neither a component nor a core module",
        ),
    ] {
        let mut app = app(none());
        app["components"][0]["dependencies"][name] = dependency;
        let cache = tempfile::TempDir::new()?;
        let run = Catena::image(parts.image(&app)?.path())
            .cache(cache.path())
            .finish()
            .await?;
        assert!(!run.status.success(), "{name}: {run:?}");
        let said = &run.stderr;
        assert!(
            said.contains("component \"a\": ") && said.contains(sentence),
            "{name}: {said}"
        );
        assert!(!said.contains("panicked"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn all_that_does_not_fit_is_told_together() -> Result<()> {
    let parts = Parts::read()?;
    let mut app = app(json!({"Some": []}));
    let mut second = app["components"][0].clone();
    let dependencies = &mut app["components"][0]["dependencies"];
    dependencies["nobody"] = part("LIBRARY", json!("All"));
    dependencies["test:reach/reach@1.0.0"] = part("LIBRARY", json!("All"));
    // An import that nobody satisfies is the host's to give, and it does not.
    let dependencies = second["dependencies"]
        .as_object_mut()
        .context("an object")?;
    dependencies.remove("test:library");
    second["id"] = json!("b");
    app["components"]
        .as_array_mut()
        .context("a list")?
        .push(second);
    let run = Catena::image(parts.image(&app)?.path()).finish().await?;
    assert!(!run.status.success(), "{run:?}");
    for part in [
        "component \"a\"",
        "dependency \"nobody\" satisfies no import",
        "dependency \"test:reach/reach@1.0.0\" exports no",
        "component \"b\"",
        "test:library/",
    ] {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn a_dependency_is_what_its_digest_says() -> Result<()> {
    let parts = Parts::read()?;
    let image = parts.image(&app(json!("All")))?;
    let digest = sha256(&parts.reach);
    let mut bytes = parts.reach.clone();
    bytes[1000] ^= 1;
    fs::write(image.blob_path(&digest), bytes)?;
    let cache = tempfile::TempDir::new()?;
    let run = Catena::image(image.path())
        .cache(cache.path())
        .finish()
        .await?;
    assert!(!run.status.success(), "{run:?}");
    let place = "component \"a\": dependency \"test:reach/reach@1.0.0\"";
    assert!(run.stderr.contains(place), "{}", run.stderr);
    assert!(run.stderr.contains(&digest), "{}", run.stderr);
    Ok(())
}

/// From a warm cache no layer is read: here none could be. And no composition gets the code of another.
#[tokio::test]
async fn composed_code_is_kept_by_what_it_is_made_of() -> Result<()> {
    let parts = Parts::read()?;
    let cache = tempfile::TempDir::new()?;
    let start = async |image: &Layout| {
        Catena::image(image.path())
            .cache(cache.path())
            .start()
            .await
    };
    let image = parts.image(&rich(json!("All")))?;
    computes(&start(&image).await?).await?;
    let damage = |image: &Layout| -> Result<()> {
        for wasm in [&parts.composed, &parts.library, &parts.reach] {
            let nothing = vec![0; wasm.len()];
            fs::write(image.blob_path(&sha256(wasm)), nothing)?;
        }
        Ok(())
    };
    damage(&image)?;
    let app = start(&image).await?;
    computes(&app).await?;
    assert_eq!(attempt(&app, "file", "/note.txt").await?, "Ok(\"hello\")");
    // The same parts, but one inherits nothing: that is other code.
    let other = parts.image(&rich(json!({"Some": []})))?;
    damage(&other)?;
    let refused = Catena::image(other.path())
        .cache(cache.path())
        .finish()
        .await?;
    assert!(
        refused.stderr.contains(&sha256(&parts.composed)),
        "{}",
        refused.stderr
    );
    let other = parts.image(&rich(json!({"Some": []})))?;
    let said = attempt(&start(&other).await?, "file", "/note.txt").await?;
    assert!(said.starts_with("Err("), "{said}");
    Ok(())
}

/// As people write it: files beside the manifest, and a component that is there as a dependency only.
const MANIFEST: &str = r#"
spin_manifest_version = 2

[application]
name = "composed"
version = "1.0.0"

[[trigger.http]]
route = "/..."
component = "composed"

[component.composed]
source = "GUESTS/composed.wasm"
environment = { TOKEN = "of the component" }

[component.composed.dependencies]
"test:library" = { path = "GUESTS/library.wasm" }
shout = { component = "library" }
"test:reach/reach@1.0.0" = { path = "GUESTS/reach.wasm", inherit_configuration = ["environment"] }

[component.library]
source = "GUESTS/library.wasm"
"#;

#[tokio::test]
async fn a_manifest_with_dependencies_packs_in_every_form_and_inspect_tells_of_them() -> Result<()>
{
    for form in [Form::Rootfs, Form::Spin] {
        let packed = Packed::text(MANIFEST, form)?;
        let app = run(packed.path()).await?;
        computes(&app).await?;
        let token = attempt(&app, "environment", "TOKEN").await?;
        assert_eq!(token, "Ok(\"of the component\")", "{form:?}");
        let denied = attempt(&app, "tcp", "127.0.0.1:1").await?;
        assert!(denied.starts_with("Err("), "{form:?}: {denied}");

        let inspect = [OsStr::new("inspect"), packed.path().as_os_str()];
        let told = pack::command(&inspect)?.stdout;
        for line in [
            "dependency test:library: wasm sha256:",
            "dependency shout: wasm sha256:",
            "dependency test:reach/reach@1.0.0: wasm sha256:",
            "inherits environment",
            "inherits nothing",
        ] {
            assert!(told.contains(line), "{form:?}: {line} is not in {told}");
        }
        assert!(!told.contains("component library"), "{told}");
    }
    Ok(())
}

/// What is said of a manifest, which has to be of the line that begins so.
fn mistake(manifest: &str, line: &str) -> Result<String> {
    let Err(error) = Packed::text(manifest, Form::Rootfs) else {
        anyhow::bail!("it packed");
    };
    let told = format!("{error:#}");
    let line = manifest.lines().position(|one| one.starts_with(line));
    let line = line.context("no such line")? + 1;
    assert!(told.contains(&format!("spin.toml:{line}")), "{told}");
    Ok(told)
}

#[test]
fn a_dependency_that_would_have_to_be_fetched_is_refused_by_line() -> Result<()> {
    let manifest = MANIFEST.replace(
        "{ path = \"GUESTS/library.wasm\" }",
        "{ version = \">=1.0\", package = \"test:library\" }",
    );
    let told = mistake(&manifest, "\"test:library\"")?;
    assert!(told.contains("catena fetches nothing"), "{told}");
    Ok(())
}

#[test]
fn a_component_with_settings_of_its_own_is_refused_as_a_dependency() -> Result<()> {
    let settings =
        "key_value_stores = [\"default\"]\nallowed_outbound_hosts = [\"https://example.com\"]\n";
    let manifest = MANIFEST.to_owned() + settings;
    let told = mistake(&manifest, "shout")?;
    let has = "has `allowed_outbound_hosts`, `key_value_stores` of its own";
    assert!(told.contains(has), "{told}");
    Ok(())
}
