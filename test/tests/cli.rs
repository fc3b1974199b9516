//! The command line: what it prints, what it refuses, and the codes that it exits with.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use catena_test::pack::{self, Form, Output, Packed};
use catena_test::{Catena, workspace};

/// `catena pack` of a manifest with this text.
fn pack_text(text: &str) -> Result<Output> {
    let (folder, manifest) = pack::write_manifest(text)?;
    let out = folder.path().join("out.tar");
    let output = pack::pack(&[
        OsStr::new("-f"),
        manifest.as_os_str(),
        OsStr::new("-o"),
        out.as_os_str(),
    ])?;
    assert_eq!(
        output.success,
        out.exists(),
        "an image only where there was no mistake"
    );
    Ok(output)
}

const SOUND: &str = r#"spin_manifest_version = 2

[application]
name = "sound"

[[trigger.http]]
route = "/..."
component = "a"

[component.a]
source = "GUESTS/hello.wasm"
"#;

#[test]
fn a_sound_manifest_packs() -> Result<()> {
    let output = pack_text(SOUND)?;
    assert!(output.success, "{output:?}");
    Ok(())
}

/// Every mistake is refused with the file, the line and a reason that names the thing.
#[test]
fn mistakes_in_a_manifest() -> Result<()> {
    for (what, text, line, part) in [
        (
            "a file that is no TOML",
            SOUND.replace("[application]", "[application"),
            3,
            "",
        ),
        (
            "an unknown version",
            SOUND.replace("version = 2", "version = 7"),
            1,
            "7",
        ),
        (
            "an unknown field",
            SOUND.replace("source =", "sauce = 1\nsource ="),
            11,
            "sauce",
        ),
        (
            "a component that nobody defines",
            SOUND.replace("component = \"a\"", "component = \"b\""),
            8,
            "\"b\"",
        ),
        (
            "a source that is not there",
            SOUND.replace("hello.wasm", "missing.wasm"),
            11,
            "missing.wasm",
        ),
        (
            "a source that is no wasm",
            SOUND.replace("GUESTS/hello.wasm", "spin.toml"),
            11,
            "spin.toml",
        ),
        (
            "a host that is none",
            format!("{SOUND}allowed_outbound_hosts = [\"example.com\"]\n"),
            12,
            "example.com",
        ),
        (
            "a trigger that nobody knows",
            SOUND.replace("trigger.http", "trigger.smtp"),
            6,
            "smtp",
        ),
    ] {
        let output = pack_text(&text)?;
        assert!(!output.success, "{what} was packed");
        let place = format!("spin.toml:{line}");
        assert!(
            output.stderr.contains(&place),
            "{what}: {place} in {}",
            output.stderr
        );
        assert!(output.stderr.contains(part), "{what}: {}", output.stderr);
    }
    Ok(())
}

/// An artefact of one component has room for one component only.
#[test]
fn an_app_of_three_components_is_no_single_artefact() -> Result<()> {
    let error = Packed::app("chain", Form::Wasm).err();
    let said = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(said.contains("wasm"), "{said}");
    Ok(())
}

/// The same input gives the same image, bit for bit.
#[test]
fn packing_is_reproducible() -> Result<()> {
    for form in [Form::Rootfs, Form::Spin] {
        let first = std::fs::read(Packed::app("chain", form)?.path())?;
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let second = std::fs::read(Packed::app("chain", form)?.path())?;
        assert!(first == second, "{form:?}");
    }
    Ok(())
}

fn inspect(image: &Path) -> Result<Output> {
    pack::command(&[OsStr::new("inspect"), image.as_os_str()])
}

#[test]
fn inspect_tells_what_is_in_an_image() -> Result<()> {
    for form in [Form::Rootfs, Form::Spin] {
        let output = inspect(Packed::app("chain", form)?.path())?;
        assert!(output.success, "{output:?}");
        for part in [
            "chain",
            "gateway",
            "accounts",
            "ledger",
            "/...",
            "private",
            "http://accounts.spin.internal",
            "local_service_chaining",
            "verdict: would start",
        ] {
            assert!(output.stdout.contains(part), "{part} in {}", output.stdout);
        }
    }
    Ok(())
}

/// Whoever may read the image and write a folder of its own serves it.
#[tokio::test]
async fn an_app_is_served_without_root() -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    let app = Catena::app("chain")?.as_nobody(folder.path())?;
    let app = app.start().await?;
    let answer = app.get("/").await?.json()?;
    assert_eq!(answer["accounts"]["ledger"]["balance"], 1815);
    let status = fs::read_to_string(format!("/proc/{}/status", app.pid()?))?;
    assert!(status.contains("Uid:\t65534\t65534"), "{status}");
    Ok(())
}

#[test]
fn inspect_gives_the_verdict() -> Result<()> {
    let output = inspect(Packed::app("refused", Form::Spin)?.path())?;
    assert!(!output.success, "{output:?}");
    let all = output.stdout + &output.stderr;
    assert!(all.contains("must_understand"), "{all}");
    Ok(())
}

#[test]
fn inspect_of_a_bare_file() -> Result<()> {
    for file in [
        workspace::guest("hello_p3")?,
        workspace::core_guest("first")?,
    ] {
        let output = inspect(&file)?;
        assert!(output.success, "{output:?}");
    }
    Ok(())
}

#[test]
fn help_and_mistakes_on_the_command_line() -> Result<()> {
    let output = pack::command(&[OsStr::new("--help")])?;
    assert!(output.success, "{output:?}");
    for verb in ["run", "inspect", "pack"] {
        assert!(output.stdout.contains(verb), "{verb} in {}", output.stdout);
    }
    assert!(pack::command(&[OsStr::new("--version")])?.success);
    let output = pack::command(&[OsStr::new("dance")])?;
    assert!(!output.success);
    assert!(output.stderr.contains("dance"), "{output:?}");
    Ok(())
}

#[tokio::test]
async fn a_command_runs_once() -> Result<()> {
    for form in [Form::Rootfs, Form::Spin, Form::Wasm] {
        let run = Catena::app_as("command", form)?.finish().await?;
        assert!(run.status.success(), "{form:?}: {run:?}");
        assert!(run.stdout.contains("done\n"), "{form:?}: {run:?}");
        assert!(
            run.stderr.contains("the command has run\n"),
            "{form:?}: {run:?}"
        );
    }
    for file in [
        workspace::guest("command")?,
        workspace::core_guest("command")?,
    ] {
        let run = Catena::image(&file).finish().await?;
        assert!(run.status.success(), "{file:?}: {run:?}");
        assert!(run.stdout.contains("done\n"), "{file:?}: {run:?}");
    }
    Ok(())
}

/// `wasi:cli/run` 0.3: it chains, and its error is the application's exit code.
#[tokio::test]
async fn a_command_of_0_3_runs_chains_and_fails() -> Result<()> {
    let manifest = |environment: &str| {
        format!(
            r#"
spin_manifest_version = 2
[application]
name = "command-p3"
[[trigger.command]]
component = "command"
[component.command]
source = "GUESTS/command_p3.wasm"
environment = {{ {environment} }}
"#
        )
    };
    for (environment, code) in [("", 0), ("FAIL = \"1\"", 1)] {
        let packed = Packed::text(&manifest(environment), Form::Rootfs)?;
        let run = Catena::image(packed.path()).finish().await?;
        assert_eq!(run.status.code(), Some(code), "{run:?}");
        assert!(
            run.stdout.contains("the command of 0.3 has run\n"),
            "{run:?}"
        );
    }
    let app = Catena::app("command-p3")?.start().await?;
    app.output().wait_for("called: 200").await?;
    Ok(())
}

#[tokio::test]
async fn a_command_that_fails_fails_the_run() -> Result<()> {
    let manifest = r#"
spin_manifest_version = 2
[application]
name = "failing"
[[trigger.command]]
component = "command"
[component.command]
source = "GUESTS/command.wasm"
environment = { EXIT = "1" }
"#;
    let packed = Packed::text(manifest, Form::Spin)?;
    let run = Catena::image(packed.path()).finish().await?;
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    Ok(())
}

#[tokio::test]
async fn an_unknown_setting_is_refused() -> Result<()> {
    let app = Catena::app("hello")?.env("CATENA_CHAINDEPTH", "3");
    let run = app.env("CATENA_HEADER_TIMEOUT", "soon").finish().await?;
    assert!(!run.status.success());
    for part in ["CATENA_CHAINDEPTH", "CATENA_HEADER_TIMEOUT=soon"] {
        assert!(run.stderr.contains(part), "{part} in {run:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() -> Result<()> {
    let first = Catena::app("hello")?.start().await?;
    let address = first.address().to_string();
    let packed = Packed::app("hello", Form::Rootfs)?;
    let output = pack::command(&[
        OsStr::new("run"),
        packed.path().as_os_str(),
        OsStr::new("--listen"),
        OsStr::new(&address),
    ])?;
    assert!(!output.success);
    assert!(output.stderr.contains(&address), "{output:?}");
    Ok(())
}

/// The compiled code in a cache, by its file.
fn compiled(cache: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for folder in fs::read_dir(cache)? {
        for file in fs::read_dir(folder?.path())? {
            let path = file?.path();
            if path.extension().is_some_and(|it| it == "cwasm") {
                found.insert(path.clone(), fs::read(path)?);
            }
        }
    }
    Ok(found)
}

fn flipped(whole: &[u8]) -> Vec<u8> {
    let mut damaged = whole.to_vec();
    let middle = whole.len() / 2;
    for byte in damaged.iter_mut().skip(middle).take(8) {
        *byte = !*byte;
    }
    damaged
}

fn truncated(whole: &[u8]) -> Vec<u8> {
    whole[..whole.len() / 2].to_vec()
}

/// Compiled code that was damaged on the node is never run: it is made again, and the file is whole again. Of 0.3
/// there is a file for each kind of engine.
#[tokio::test]
async fn damaged_code_is_compiled_again() -> Result<()> {
    for (app, files) in [("hello", 1), ("hello-p3", 2)] {
        let cache = tempfile::tempdir()?;
        let packed = Packed::app(app, Form::Rootfs)?;
        let answers = || async {
            let mut run = Catena::image(packed.path())
                .cache(cache.path())
                .start()
                .await?;
            assert_eq!(run.get("/").await?.text(), "Hello from catena\n");
            assert!(run.stop().await?.success());
            Ok::<_, anyhow::Error>(run.output().count("damaged artefact"))
        };
        assert_eq!(answers().await?, 0);
        let whole = compiled(cache.path())?;
        assert_eq!(whole.len(), files, "{app}");
        for damage in [flipped, truncated, |_: &[u8]| Vec::new()] {
            for (path, bytes) in &whole {
                fs::write(path, damage(bytes))?;
            }
            assert!(answers().await? >= files, "{app}: the damage was not seen");
            assert!(compiled(cache.path())? == whole, "{app}: not whole again");
            assert_eq!(answers().await?, 0, "{app}: compiled without a reason");
        }
    }
    Ok(())
}
