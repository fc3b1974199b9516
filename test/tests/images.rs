//! Images of every form, and images that are not what they say: each is refused by the name of what is wrong.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use catena_test::layout::{self, Layout, lockfile, sha256, tar_of};
use catena_test::pack::{Form, Packed};
use catena_test::{Catena, workspace};
use http::StatusCode;
use serde_json::{Value, json};

const HELLO: &str = "Hello from catena\n";

fn hello() -> Result<Vec<u8>> {
    Ok(fs::read(workspace::guest("hello")?)?)
}

async fn serves_hello(image: &Path) -> Result<()> {
    let app = Catena::image(image).start().await?;
    assert_eq!(app.get("/").await?.text(), HELLO);
    Ok(())
}

/// What is said of an image that must be refused, where nothing of it was ever compiled.
async fn refusal(image: &Path) -> Result<String> {
    let cache = tempfile::TempDir::new()?;
    let run = Catena::image(image).cache(cache.path()).finish().await?;
    assert!(!run.status.success(), "{run:?}");
    assert!(!run.stderr.contains("panicked"), "{run:?}");
    Ok(run.stderr)
}

#[tokio::test]
async fn every_form_runs_as_an_archive_and_as_a_folder() -> Result<()> {
    for form in [Form::Rootfs, Form::Spin, Form::Wasm] {
        let packed = Packed::app("hello", form)?;
        serves_hello(packed.path()).await?;
        serves_hello(&packed.unpacked()?).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_bare_file_runs() -> Result<()> {
    serves_hello(&workspace::guest("hello")?).await?;
    // A core module becomes a component.
    serves_hello(&workspace::core_guest("hello")?).await
}

#[tokio::test]
async fn a_core_module_packs() -> Result<()> {
    let manifest = format!(
        "spin_manifest_version = 2\n[application]\nname = \"core\"\n[[trigger.http]]\nroute = \"/...\"\n\
         component = \"core\"\n[component.core]\nsource = \"{}\"\n",
        workspace::core_guest("hello")?.display()
    );
    for form in [Form::Rootfs, Form::Spin, Form::Wasm] {
        serves_hello(Packed::text(&manifest, form)?.path()).await?;
    }
    Ok(())
}

/// What old packers left in images is turned at load.
#[tokio::test]
async fn core_modules_of_the_first_sdks_run_as_they_are() -> Result<()> {
    let module = workspace::core_guest("first")?;
    let layout = Layout::spin(&lockfile(), &fs::read(&module)?)?;
    for image in [layout.path(), &module] {
        let app = Catena::image(image).start().await?;
        let text = app.get("/a").await?.text();
        assert!(text.starts_with("0 /a params 0\n"), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn the_example_that_must_be_refused() -> Result<()> {
    for form in [Form::Rootfs, Form::Spin] {
        let packed = Packed::app("refused", form)?;
        let said = refusal(packed.path()).await?;
        assert!(said.contains("must_understand"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn an_image_by_hand_runs() -> Result<()> {
    let layout = Layout::spin(&lockfile(), &hello()?)?;
    serves_hello(layout.path()).await?;
    let folder = tempfile::TempDir::new()?;
    let tar = folder.path().join("image.tar");
    fs::write(&tar, layout.archive()?)?;
    serves_hello(&tar).await
}

#[tokio::test]
async fn inlined_content_runs() -> Result<()> {
    // A component that is nothing: eight bytes, in the lockfile itself.
    let mut app = lockfile();
    app["components"][0]["files"] = json!([{"inline": "aGVsbG8=", "path": "note.txt"}]);
    let probe = fs::read(workspace::guest("probe")?)?;
    let layout = Layout::spin(&app, &probe)?;
    let running = Catena::image(layout.path()).start().await?;
    assert_eq!(running.get("/file?path=/note.txt").await?.text(), "hello");
    Ok(())
}

#[tokio::test]
async fn a_blob_that_is_not_what_its_digest_says() -> Result<()> {
    let wasm = hello()?;
    let digest = sha256(&wasm);
    let mut flipped = wasm.clone();
    flipped[1000] ^= 1;
    let mut longer = wasm.clone();
    longer.push(0);
    for (what, bytes) in [
        ("corrupt", flipped),
        ("truncated", wasm[..wasm.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("longer", longer),
    ] {
        let layout = Layout::spin(&lockfile(), &wasm)?;
        fs::write(layout.blob_path(&digest), bytes)?;
        let said = refusal(layout.path()).await?;
        assert!(said.contains(&digest), "{what}: {said}");
    }
    let layout = Layout::spin(&lockfile(), &wasm)?;
    fs::remove_file(layout.blob_path(&digest))?;
    let said = refusal(layout.path()).await?;
    assert!(said.contains(&digest), "missing: {said}");
    Ok(())
}

#[tokio::test]
async fn every_blob_is_verified() -> Result<()> {
    let blobs = |layout: &Layout| -> Result<Vec<_>> {
        let entries = fs::read_dir(layout.path().join("blobs/sha256"))?;
        Ok(entries
            .map(|e| e.map(|e| e.path()))
            .collect::<Result<Vec<_>, _>>()?)
    };
    let count = blobs(&Layout::spin(&lockfile(), &hello()?)?)?.len();
    for number in 0..count {
        let layout = Layout::spin(&lockfile(), &hello()?)?;
        let mut all = blobs(&layout)?;
        all.sort();
        let mut bytes = fs::read(&all[number])?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&all[number], &bytes)?;
        // The config of a Spin image says nothing that is used, so it may go unread.
        if !bytes.starts_with(b"{\"architecture") {
            let said = refusal(layout.path()).await?;
            let name = all[number]
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            assert!(said.contains(&name), "{name}: {said}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_oversized_layer_is_refused_before_it_is_read() -> Result<()> {
    let mut layout = Layout::new()?;
    let wasm = hello()?;
    let digest = layout.blob(&wasm)?;
    layout.layer_described(json!({
        "mediaType": layout::WASM, "digest": digest, "size": 1u64 << 50,
    }));
    let text = lockfile()
        .to_string()
        .replace("\"WASM\"", &format!("\"{digest}\""));
    layout.layer(layout::LOCKFILE, text.as_bytes())?;
    layout.finish()?;
    let said = refusal(layout.path()).await?;
    assert!(said.contains(&digest), "{said}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_image_is_refused() -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    let file = folder.path().join("file");
    for bytes in [
        &b""[..],
        b"not an image",
        &[0; 2048],
        b"\0asm",
        b"\0asm\x01\0\0\0\xff",
    ] {
        fs::write(&file, bytes)?;
        let said = refusal(&file).await?;
        assert!(said.contains("file"), "{bytes:?}: {said}");
    }
    fs::create_dir(folder.path().join("empty"))?;
    refusal(&folder.path().join("empty")).await?;
    refusal(&folder.path().join("missing")).await?;
    let layout = Layout::spin(&lockfile(), &hello()?)?;
    fs::write(layout.path().join("index.json"), "{}")?;
    refusal(layout.path()).await?;
    fs::write(layout.path().join("index.json"), "[")?;
    refusal(layout.path()).await?;
    Ok(())
}

#[tokio::test]
async fn wasm_that_is_none_is_refused_by_its_component() -> Result<()> {
    let layout = Layout::spin(&lockfile(), b"\0asm but no more")?;
    let said = refusal(layout.path()).await?;
    assert!(
        said.contains("\"a\"") || said.contains(&sha256(b"\0asm but no more")),
        "{said}"
    );
    Ok(())
}

async fn refused_lockfile(change: impl FnOnce(&mut Value)) -> Result<String> {
    let mut app = lockfile();
    change(&mut app);
    refusal(Layout::spin(&app, &hello()?)?.path()).await
}

/// Everything that is wrong is said at once.
#[tokio::test]
async fn all_reasons_are_reported_together() -> Result<()> {
    let said = refused_lockfile(|app| {
        app["spin_lock_version"] = json!(1);
        app["must_understand"] = json!(["teleportation"]);
        app["triggers"]
            .as_array_mut()
            .expect("an array")
            .push(json!({
                "id": "mail", "trigger_type": "smtp", "trigger_config": {"component": "a"},
            }));
        app["triggers"]
            .as_array_mut()
            .expect("an array")
            .push(json!({
                "id": "to-nobody", "trigger_type": "http",
                "trigger_config": {"component": "nobody", "route": "/nobody"},
            }));
    })
    .await?;
    for part in ["teleportation", "smtp", "nobody"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_lockfile_of_the_future_is_refused() -> Result<()> {
    let said = refused_lockfile(|app| app["spin_lock_version"] = json!(2)).await?;
    assert!(said.contains("spin_lock_version"), "{said}");
    Ok(())
}

#[tokio::test]
async fn files_do_not_escape() -> Result<()> {
    for path in [
        "../evil",
        "/../evil",
        "a/../../evil",
        "/a/../../../evil",
        "a\0b",
    ] {
        let said = refused_lockfile(|app| {
            app["components"][0]["files"] = json!([{"inline": "aGVsbG8=", "path": path}]);
        })
        .await?;
        assert!(said.contains("components[0].files[0]"), "{path:?}: {said}");
    }
    // A source on the machine that runs the image is not the image's.
    refused_lockfile(|app| {
        app["components"][0]["files"] = json!([{"source": "file:///etc", "path": "/etc"}]);
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_layer_of_files_does_not_escape() -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    let outside = folder.path().join("outside");
    let escaping = outside.display().to_string();
    for (name, reason) in [
        ("../../../../../../outside", "leaves the image with `..`"),
        // It means a place in the image; what is wrong there is the application.
        (escaping.as_str(), "triggers"),
        ("spin.json/../../outside", "leaves the image with `..`"),
    ] {
        let app = json!({
            "spin_lock_version": 0, "metadata": {"name": "tar"},
            "triggers": [], "components": [],
        });
        let layout = Layout::rootfs("localhost/escape:latest", &app, &[(name, b"escaped")])?;
        let said = refusal(layout.path()).await?;
        assert!(!outside.exists(), "{name}: {said}");
        assert!(said.contains(reason), "{name}: {said}");
    }
    Ok(())
}

/// A gzip layer that becomes much larger than it is: a lockfile of 64 MiB.
#[tokio::test]
async fn a_bomb_is_refused() -> Result<()> {
    let mut layout = Layout::new()?;
    let tar = tar_of(&[("spin.json", &vec![b' '; 64 << 20])])?;
    let mut gzip = std::process::Command::new("gzip")
        .arg("--fast")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut stdin = gzip.stdin.take().expect("it is piped");
    let digest = sha256(&tar);
    let feeding = std::thread::spawn(move || stdin.write_all(&tar));
    let bomb = gzip.wait_with_output()?.stdout;
    feeding.join().expect("feeding gzip does not panic")?;
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    layout.layer(&format!("{}+gzip", layout::TAR), &bomb)?;
    let config = json!({
        "architecture": "wasm", "os": "Wasip1", "rootfs": {"type": "layers", "diff_ids": [digest]},
        "config": {"Entrypoint": ["/spin.json"]},
    });
    layout.finish_as("localhost/bomb:latest", &config)?;
    let said = refusal(layout.path()).await?;
    assert!(
        said.contains("spin.json") && said.contains("at most 16777216"),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn an_index_of_platforms_leads_to_the_app() -> Result<()> {
    let layout = Layout::spin(&lockfile(), &hello()?)?;
    let index: Value = serde_json::from_slice(&fs::read(layout.path().join("index.json"))?)?;
    let mut app = index["manifests"][0].clone();
    app["platform"] = json!({"architecture": "wasm", "os": "wasip1"});
    let nested = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": sha256(b"another machine's"), "size": 10,
                "platform": {"architecture": "s390x", "os": "linux"},
            },
            app,
        ],
    })
    .to_string();
    let digest = layout.blob(nested.as_bytes())?;
    let top = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": digest, "size": nested.len(),
        }],
    });
    fs::write(layout.path().join("index.json"), top.to_string())?;
    serves_hello(layout.path()).await
}

#[tokio::test]
async fn files_variables_and_environment_reach_the_guest() -> Result<()> {
    for form in [Form::Rootfs, Form::Spin] {
        let app = Catena::app_as("world", form)?.start().await?;
        let answer = app.get("/file?path=/assets/note.txt").await?;
        assert_eq!(answer.text(), "a file of the app\n", "{form:?}");
        let answer = app.get("/file?path=/assets/deep/note.txt").await?;
        assert_eq!(answer.text(), "a file further down\n", "{form:?}");
        let listed = app.get("/file?path=/assets").await?;
        assert_eq!(listed.text(), "deep\nnote.txt", "{form:?}");
        let environment = app.get("/env").await?.text();
        assert!(
            environment.contains(r#"["GREETING","hello"]"#),
            "{environment}"
        );
        // No more than the component's own files, and those only to read.
        for path in [
            "/etc/passwd",
            "/proc/self/environ",
            "/assets/../../etc/passwd",
        ] {
            let answer = app.get(&format!("/file?path={path}")).await?;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        }
        let answer = app.get("/write?path=/assets/note.txt&text=changed").await?;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        let answer = app.get("/file?path=/assets/note.txt").await?;
        assert_eq!(answer.text(), "a file of the app\n");
    }
    Ok(())
}
