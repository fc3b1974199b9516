//! Under a real containerd: the life of a container, a refusal as `ctr` shows it, and what is left afterwards.
//! These tests need root, containerd, runc and busybox; each has a daemon of its own.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use catena_test::client::encode;
use catena_test::containerd::{Code, Status, Task};
use catena_test::layout::{Layout, lockfile};
use catena_test::output::wait_until;
use catena_test::pack::{Form, Packed};
use catena_test::{Containerd, Upstream, workspace};
use http::{Method, StatusCode};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

/// The main job: a whole app from one image as one container, its components chained in memory.
#[tokio::test]
async fn an_app_runs_answers_and_ends() -> Result<()> {
    let (containerd, image) = Containerd::with_app("chain")?;
    let task = containerd.container(&image, "chain").start()?;
    assert_eq!(task.state()?, "RUNNING");
    let answer = task.get("/").await?.json()?;
    assert_eq!(answer["accounts"]["ledger"]["balance"], 1815);
    let streamed = task.get("/stream?chunks=2").await?;
    assert_eq!(streamed.text(), "entry 1 of 2\nentry 2 of 2\n");
    assert!(task.kill("SIGTERM")?.success);
    task.becomes("STOPPED")?;
    assert_eq!(task.delete()?, 0, "a drained app exits with 0");
    containerd.nothing_is_left_of("chain")
}

/// `ctr` prints the reasons and exits with an error, and nothing is left: no process, mount, cgroup, socket, bundle.
#[tokio::test]
async fn an_app_is_refused_with_the_reason() -> Result<()> {
    let (containerd, image) = Containerd::with_app("refused")?;
    let events = containerd.events().await?;
    let output = containerd.container(&image, "refused").run()?;
    assert!(!output.success, "{output:?}");
    for part in [
        "failed to create shim task",
        "must_understand",
        "\"teleportation\"",
    ] {
        assert!(output.stderr.contains(part), "{part} in {output:?}");
    }
    // The code follows the text; `ctr` 2 leaves it out.
    if containerd.installation().version() < (2, 0, 0) {
        assert!(output.stderr.contains("failed precondition"), "{output:?}");
    }
    containerd.nothing_is_left_of("refused")?;
    assert_eq!(containerd.shims(), [0; 0]);
    // The daemon is well: the next one runs.
    let hello = containerd.import(Packed::app("hello", Form::Rootfs)?.path())?;
    containerd.container(&hello, "hello").start()?.address()?;
    // Of the one that was refused nothing was ever made.
    events.lines.wait_for("/tasks/start").await?;
    let events = events.lines.all();
    let mut tasks = events.iter().filter(|line| line.contains("/tasks/"));
    assert!(tasks.all(|line| line.contains("\"hello\"")), "{events:?}");
    Ok(())
}

/// Guests that import what no host has: every one of them is told, with the import's name.
#[test]
fn an_import_that_no_host_has_is_refused() -> Result<()> {
    let (containerd, image) = Containerd::with_app("unmet")?;
    let output = containerd.container(&image, "unmet").run()?;
    assert!(!output.success, "{output:?}");
    for part in ["component \"first\"", "component \"second\""] {
        assert!(output.stderr.contains(part), "{part} in {output:?}");
    }
    // The code follows the text; `ctr` 2 leaves it out.
    if containerd.installation().version() < (2, 0, 0) {
        assert!(output.stderr.contains("failed precondition"), "{output:?}");
    }
    let named = output.stderr.matches("example:missing/thing@1.0.0").count();
    assert_eq!(named, 2, "{output:?}");
    assert!(!output.stderr.contains("sound"), "{output:?}");
    containerd.nothing_is_left_of("unmet")?;
    assert_eq!(containerd.shims(), [0; 0]);
    Ok(())
}

#[tokio::test]
async fn sigkill_is_137() -> Result<()> {
    let (containerd, image) = Containerd::with_app("hello")?;
    let task = containerd.container(&image, "killed").start()?;
    task.address()?;
    assert!(task.kill("SIGKILL")?.success);
    task.becomes("STOPPED")?;
    assert_eq!(task.delete()?, 137);
    containerd.nothing_is_left_of("killed")
}

/// What CRI's StopContainer relies on.
#[test]
fn killing_what_has_ended_is_not_found() -> Result<()> {
    let (containerd, image) = Containerd::with_app("hello")?;
    let task = containerd.container(&image, "ended").start()?;
    task.address()?;
    task.kill("SIGTERM")?;
    task.becomes("STOPPED")?;
    let output = task.kill("SIGTERM")?;
    assert!(!output.success);
    // The code follows the text; `ctr` 2 leaves it out.
    let told = match containerd.installation().version() {
        (2.., _, _) => "already finished",
        _ => "not found",
    };
    assert!(output.stderr.contains(told), "{output:?}");
    Ok(())
}

/// A request that is under way when the container is stopped is finished.
#[tokio::test]
async fn a_stop_drains() -> Result<()> {
    let (containerd, image) = Containerd::with_app("routes")?;
    let task = containerd.container(&image, "draining").start()?;
    let mut client = catena_test::Client::http1(task.address()?).await?;
    let exchange = client.request(Method::GET, "/slow?ms=1500", &[]).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    task.kill("SIGTERM")?;
    assert_eq!(exchange.response().await?.text(), "at last\n");
    task.becomes("STOPPED")?;
    assert_eq!(task.delete()?, 0);
    Ok(())
}

#[tokio::test]
async fn output_and_exit_code_come_through() -> Result<()> {
    let (containerd, image) = Containerd::with_app("command")?;
    let mut run = containerd.container(&image, "command").attach()?;
    assert_eq!(run.ended().await?, 0);
    assert!(run.stdout.text().contains("done"), "{}", run.stderr.text());
    assert!(run.stderr.text().contains("the command has run"));
    Ok(())
}

#[tokio::test]
async fn a_command_that_fails_fails_the_container() -> Result<()> {
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
    let containerd = Containerd::start()?;
    let image = containerd.import(Packed::text(manifest, Form::Rootfs)?.path())?;
    let mut run = containerd.container(&image, "failing").attach()?;
    assert_eq!(run.ended().await?, 1, "{}", run.stderr.text());
    Ok(())
}

#[tokio::test]
async fn a_guests_output_is_the_containers() -> Result<()> {
    let (containerd, image) = Containerd::with_app("world")?;
    let run = containerd.container(&image, "printing").attach()?;
    wait_until("the container runs", || {
        Ok(Task::find(&containerd, "printing").is_ok_and(|task| task.pid != 0))
    })
    .with_context(|| run.stderr.text())?;
    let task = Task::find(&containerd, "printing")?;
    task.get("/print?out=to-stdout&err=to-stderr").await?;
    run.stdout.wait_for("to-stdout").await?;
    run.stderr.wait_for("to-stderr").await?;
    Ok(())
}

/// The files of the app, and the variables of the container, under containerd too.
#[tokio::test]
async fn files_reach_the_guest() -> Result<()> {
    let (containerd, image) = Containerd::with_app("world")?;
    let task = containerd.container(&image, "world").start()?;
    let answer = task.get("/file?path=/assets/note.txt").await?;
    assert_eq!(answer.text(), "a file of the app\n");
    Ok(())
}

#[tokio::test]
async fn a_read_only_root_and_no_capability_are_enough() -> Result<()> {
    let (containerd, image) = Containerd::with_app("chain")?;
    let container = containerd
        .container(&image, "confined")
        .flags(&["--read-only", "--seccomp"]);
    let task = container.start()?;
    assert_eq!(task.get("/").await?.status, StatusCode::OK);
    Ok(())
}

/// The worker's descriptors are its own: nothing of the shim's, nothing of containerd's.
#[test]
fn the_worker_has_only_its_own_descriptors() -> Result<()> {
    let (containerd, image) = Containerd::with_app("hello")?;
    let task = containerd.container(&image, "clean").start()?;
    task.address()?;
    let named_sockets = fs::read_to_string("/proc/net/unix")?;
    for (number, what) in task.descriptors()? {
        for part in ["containerd", "/run/", "shim.sock", containerd.namespace()] {
            // The compiled code in the node's cache is a file of the worker's own.
            assert!(
                !what.contains(part) || what.contains("cache"),
                "{number}: {what}"
            );
        }
        if let Some(inode) = what
            .strip_prefix("socket:[")
            .and_then(|w| w.strip_suffix(']'))
        {
            let named = named_sockets.lines().any(|line| {
                let words: Vec<_> = line.split_whitespace().collect();
                words.get(6) == Some(&inode) && words.len() > 7
            });
            assert!(!named, "{number} is a socket with a name: {what}");
        }
    }
    Ok(())
}

/// The rest of the worker's confinement, as the kernel tells it.
#[test]
fn the_worker_is_confined() -> Result<()> {
    let (containerd, image) = Containerd::with_app("hello")?;
    let task = containerd.container(&image, "confined").start()?;
    task.address()?;
    // containerd's environment ends with the daemon.
    let environment = fs::read(format!("/proc/{}/environ", task.pid))?;
    assert!(environment.iter().all(|byte| *byte == 0));
    let command = fs::read_to_string(format!("/proc/{}/cmdline", task.pid))?;
    assert!(
        command.starts_with("catena\0helper\0confined\0"),
        "{command:?}"
    );
    let status = fs::read_to_string(format!("/proc/{}/status", task.pid))?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1))
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(field("NoNewPrivs:"), "1");
    for namespace in ["mnt", "pid", "ipc", "uts"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}"));
        assert_ne!(of(&task.pid.to_string())?, of("self")?, "{namespace}");
    }
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", task.pid))?;
    assert!(cgroups.contains("/confined"), "{cgroups}");
    Ok(())
}

/// Names resolve although the root file system has nothing in it but the app.
#[tokio::test]
async fn names_resolve_in_an_empty_root() -> Result<()> {
    let server = Upstream::start().await?;
    let (containerd, image) = Containerd::with_app("outbound")?;
    let container = containerd.container(&image, "calling");
    let container = container.env("SPIN_VARIABLE_SERVER", &server.address().to_string());
    let task = container.start()?;
    for host in [
        server.address().to_string(),
        format!("localhost:{}", server.address().port()),
    ] {
        let url = encode(&format!("http://{host}/"));
        let answer = task.get(&format!("/~wildcard/call?url={url}")).await?;
        assert_eq!(answer.status, StatusCode::OK, "{host}: {}", answer.text());
    }
    Ok(())
}

#[test]
fn pids_and_metrics() -> Result<()> {
    let (containerd, image) = Containerd::with_app("hello")?;
    let task = containerd.container(&image, "measured").start()?;
    task.address()?;
    let listed = containerd.ctr_ok(&["tasks", "ps", "measured"])?;
    assert!(listed.contains(&task.pid.to_string()), "{listed}");
    let metrics = containerd.ctr_ok(&["tasks", "metrics", "--format", "json", "measured"])?;
    let metrics: serde_json::Value = serde_json::from_str(&metrics).with_context(|| metrics)?;
    let number = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
    let memory =
        number(&metrics["memory"]["usage"]["usage"]).max(number(&metrics["memory"]["usage"]));
    assert!(memory > 1 << 20, "{metrics}");
    let cpu = number(&metrics["cpu"]["usage"]["total"]).max(number(&metrics["cpu"]["usage_usec"]));
    assert!(cpu > 0, "{metrics}");
    Ok(())
}

/// Create, start, exit, delete: in that order.
#[tokio::test]
async fn events_come_in_order() -> Result<()> {
    let (containerd, image) = Containerd::with_app("hello")?;
    let events = containerd.events().await?;
    let task = containerd.container(&image, "told").start()?;
    task.address()?;
    task.kill("SIGTERM")?;
    task.becomes("STOPPED")?;
    task.delete()?;
    events.lines.wait_for("/tasks/delete").await?;
    assert_eq!(
        events.topics(),
        [
            "/tasks/create",
            "/tasks/start",
            "/tasks/exit",
            "/tasks/delete"
        ]
    );
    Ok(())
}

/// A shim serves a pod; its containers come and go one by one.
#[tokio::test]
async fn two_apps_in_one_pod_share_a_shim() -> Result<()> {
    let (containerd, image) = Containerd::with_app("hello")?;
    let first = containerd.container(&image, "pod").in_pod("pod").start()?;
    let second = containerd.container(&image, "side").in_pod("pod").start()?;
    assert_eq!(containerd.shims().len(), 1);
    for task in [&first, &second] {
        assert_eq!(task.get("/").await?.status, StatusCode::OK);
    }
    second.kill("SIGTERM")?;
    second.becomes("STOPPED")?;
    assert_eq!(second.delete()?, 0);
    assert_eq!(first.get("/").await?.status, StatusCode::OK);
    first.kill("SIGTERM")?;
    first.becomes("STOPPED")?;
    assert_eq!(first.delete()?, 0);
    containerd.nothing_is_left_of("side")?;
    containerd.nothing_is_left_of("pod")
}

/// containerd asks for the deletion of each container of a pod by itself: 2.x too, since the shim speaks version 2.
#[tokio::test]
async fn a_killed_shim_of_a_pod_leaves_nothing() -> Result<()> {
    let (containerd, image) = Containerd::with_app("hello")?;
    let first = containerd.container(&image, "doomed").in_pod("doomed");
    let first = first.start()?;
    let second = containerd.container(&image, "beside").in_pod("doomed");
    let second = second.start()?;
    for task in [&first, &second] {
        task.address()?;
    }
    for shim in containerd.shims() {
        kill(Pid::from_raw(shim), Signal::SIGKILL)?;
    }
    let is_there = |task: &Task<'_>| Path::new(&format!("/proc/{}", task.pid)).exists();
    wait_until("both workers end", || {
        Ok(![&first, &second].into_iter().any(is_there))
    })?;
    for id in ["doomed", "beside"] {
        containerd.ctr(&["tasks", "delete", "--force", id])?;
        containerd.nothing_is_left_of(id)?;
    }
    Ok(())
}

/// Pause and sidecars: a Linux container runs as one, under the same shim.
#[tokio::test]
async fn a_linux_container_in_the_same_pod() -> Result<()> {
    let (containerd, image) = Containerd::with_app("hello")?;
    let root = containerd.busybox()?;
    let sleeping = containerd
        .container(&root, "pause")
        .in_pod("pause")
        .flags(&["--rootfs"])
        .command(&["/bin/busybox", "sleep", "1000"])
        .start()?;
    let app = containerd
        .container(&image, "app")
        .in_pod("pause")
        .start()?;
    assert_eq!(containerd.shims().len(), 1);
    assert_eq!(app.get("/").await?.status, StatusCode::OK);
    let command = fs::read_to_string(format!("/proc/{}/cmdline", sleeping.pid))?;
    assert!(command.contains("sleep\u{0}1000"), "{command:?}");
    let mut run = containerd
        .container(&root, "talking")
        .in_pod("pause")
        .flags(&["--rootfs"])
        .command(&["/bin/busybox", "sh", "-c", "echo from linux; exit 7"])
        .attach()?;
    assert_eq!(run.ended().await?, 7, "{}", run.stderr.text());
    run.stdout.wait_for("from linux").await?;
    sleeping.kill("SIGKILL")?;
    sleeping.becomes("STOPPED")?;
    assert_eq!(sleeping.delete()?, 137);
    assert_eq!(app.get("/").await?.status, StatusCode::OK);
    Ok(())
}

/// A shim that was killed takes its containers with it: containerd calls `delete`, and all is gone.
#[test]
fn delete_cleans_up_after_a_killed_shim() -> Result<()> {
    let (containerd, image) = Containerd::with_app("hello")?;
    let task = containerd.container(&image, "orphan").start()?;
    task.address()?;
    for shim in containerd.shims() {
        kill(Pid::from_raw(shim), Signal::SIGKILL)?;
    }
    wait_until("the worker ends", || {
        Ok(!Path::new(&format!("/proc/{}", task.pid)).exists())
    })?;
    // What is left of the task in containerd, if anything, may be deleted.
    containerd.ctr(&["tasks", "delete", "--force", "orphan"])?;
    containerd.nothing_is_left_of("orphan")
}

#[tokio::test]
async fn a_restart_of_containerd_is_survived() -> Result<()> {
    let (mut containerd, image) = Containerd::with_app("hello")?;
    let (pid, address) = {
        let task = containerd.container(&image, "steady").start()?;
        (task.pid, task.address()?)
    };
    containerd.restart()?;
    let task = catena_test::containerd::Task::find(&containerd, "steady")?;
    assert_eq!(task.pid, pid);
    assert_eq!(task.state()?, "RUNNING");
    assert_eq!(task.address()?, address);
    assert_eq!(task.get("/").await?.status, StatusCode::OK);
    let events = containerd.events().await?;
    task.kill("SIGTERM")?;
    task.becomes("STOPPED")?;
    events.lines.wait_for("/tasks/exit").await?;
    assert_eq!(task.delete()?, 0);
    containerd.nothing_is_left_of("steady")
}

/// Layers that are no tar: containerd unpacks them from 1.6.25, 1.7.7 and 2.0 on. Before, it says what it cannot do.
/// `ctr` runs no artefact of the form [`Form::Wasm`], for its config is no image's; pods do.
#[tokio::test]
async fn an_image_without_a_file_system() -> Result<()> {
    let containerd = Containerd::start()?;
    let packed = Packed::app("hello", Form::Spin)?;
    if !containerd.installation().unpacks_custom_layers() {
        let path = packed.path().display().to_string();
        let output = containerd.ctr(&["images", "import", &path])?;
        let told = "mismatched image rootfs";
        assert!(output.stderr.contains(told), "{output:?}");
        return Ok(());
    }
    let image = containerd.import(packed.path())?;
    let task = containerd.container(&image, "spin").start()?;
    assert_eq!(task.get("/").await?.text(), "Hello from catena\n");
    task.kill("SIGTERM")?;
    task.becomes("STOPPED")?;
    assert_eq!(task.delete()?, 0);
    containerd.nothing_is_left_of("spin")
}

/// From the content store alone: images that this containerd does not unpack are served all the same, to whoever makes
/// a container of them without a root file system.
#[tokio::test]
async fn images_are_read_from_the_content_store() -> Result<()> {
    for form in [Form::Spin, Form::Wasm] {
        let containerd = Containerd::start()?;
        let image = containerd.import_content(Packed::app("hello", form)?.path())?;
        let api = containerd.api().await?;
        let task = api.start(&image, "content").await?;
        assert_eq!(task.state()?, "RUNNING");
        let answer = task.get("/").await?;
        assert_eq!(answer.text(), "Hello from catena\n", "{form:?}");
        assert!(task.kill("SIGTERM")?.success);
        task.becomes("STOPPED")?;
        assert_eq!(task.delete()?, 0, "{form:?}");
        containerd.nothing_is_left_of("content")?;
    }
    Ok(())
}

/// Several components, their files, and chaining, from the layers that `spin registry push` writes.
#[tokio::test]
async fn a_whole_app_is_read_from_the_content_store() -> Result<()> {
    let containerd = Containerd::start()?;
    let api = containerd.api().await?;
    let chain = containerd.import_content(Packed::app("chain", Form::Spin)?.path())?;
    let task = api.start(&chain, "chain").await?;
    let answer = task.get("/").await?.json()?;
    assert_eq!(answer["accounts"]["ledger"]["balance"], 1815);
    let world = containerd.import_content(Packed::app("world", Form::Spin)?.path())?;
    let task = api.start(&world, "world").await?;
    let answer = task.get("/file?path=/assets/note.txt").await?;
    assert_eq!(answer.text(), "a file of the app\n");
    Ok(())
}

#[tokio::test]
async fn a_refusal_from_the_content_store_is_a_failed_precondition() -> Result<()> {
    let containerd = Containerd::start()?;
    let image = containerd.import_content(Packed::app("refused", Form::Spin)?.path())?;
    let api = containerd.api().await?;
    let error = api.start(&image, "refused").await.err();
    let status = error.as_ref().and_then(|error| error.downcast_ref());
    let status: &Status = status.with_context(|| format!("no status: {error:?}"))?;
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    for part in ["must_understand", "\"teleportation\""] {
        assert!(status.message().contains(part), "{part} in {status:?}");
    }
    containerd.nothing_is_left_of("refused")?;
    assert_eq!(containerd.shims(), [0; 0]);
    Ok(())
}

/// The compile child composes, also from the content store; what does not fit is the Create call's error.
#[tokio::test]
async fn dependencies_are_composed_into_their_components() -> Result<()> {
    let read = |name| -> Result<Vec<u8>> { Ok(fs::read(workspace::guest(name)?)?) };
    let (composed, library, reach) = (read("composed")?, read("library")?, read("reach")?);
    let parts: [(&str, &[u8]); 3] = [
        ("composed", &composed),
        ("library", &library),
        ("reach", &reach),
    ];
    let dependency = |source: &str| json!({"source": {"digest": source}, "inherit": {"Some": []}});
    let mut app = lockfile();
    app["components"][0]["source"]["digest"] = json!("composed");
    app["components"][0]["env"] = json!({"TOKEN": "of the component"});
    app["components"][0]["dependencies"] = json!({
        "test:library": dependency("library"),
        "shout": dependency("library"),
        "test:reach": dependency("reach"),
    });
    let containerd = Containerd::start()?;
    let import = |layout: &Layout, of_content: bool| -> Result<String> {
        let archive = containerd.path("composed.tar");
        fs::write(&archive, layout.archive()?)?;
        match of_content {
            true => containerd.import_content(&archive),
            false => containerd.import(&archive),
        }
    };
    let image = import(&Layout::spin_of(&app, &parts)?, true)?;
    let api = containerd.api().await?;
    let task = api.start(&image, "content").await?;
    assert_eq!(task.get("/add?40,2").await?.text(), "42");
    let said = task.get("/reach?environment,TOKEN").await?.text();
    assert_eq!(said, "Err(\"NotPresent\")");

    // The same as files of a root file system, and one of them of the wrong kind.
    let files = parts.map(|(name, wasm)| (format!("{name}.wasm"), wasm));
    let files: Vec<_> = files.iter().map(|(path, wasm)| (&**path, *wasm)).collect();
    let component = &mut app["components"][0];
    component["source"] = json!({"source": "file:///composed.wasm"});
    let dependencies = &mut component["dependencies"];
    for (name, path) in [
        ("test:library", "file:///library.wasm"),
        ("shout", "file:///library.wasm"),
        ("test:reach", "file:///reach.wasm"),
    ] {
        dependencies[name]["source"] = json!({"source": path});
    }
    dependencies["test:reach"]["inherit"] = json!("All");
    let image = import(
        &Layout::rootfs("localhost/composed:1", &app, &files)?,
        false,
    )?;
    let task = containerd.container(&image, "files").start()?;
    assert_eq!(task.get("/tally?1,2,3").await?.text(), "6");
    let said = task.get("/reach?environment,TOKEN").await?.text();
    assert_eq!(said, "Ok(\"of the component\")");
    app["components"][0]["dependencies"]["test:reach"]["source"] =
        json!({"source": "file:///library.wasm"});
    let image = import(
        &Layout::rootfs("localhost/composed:2", &app, &files)?,
        false,
    )?;
    let output = containerd.container(&image, "unfit").run()?;
    assert!(!output.success, "{output:?}");
    let sentence = "dependency \"test:reach\" exports no `test:reach/reach@1.0.0`";
    assert!(output.stderr.contains(sentence), "{output:?}");
    containerd.nothing_is_left_of("unfit")
}

/// The compiled code is kept: the second container of an image does not compile again.
#[tokio::test]
async fn a_second_container_starts_from_the_cache() -> Result<()> {
    let (containerd, image) = Containerd::with_app("hello")?;
    let first = containerd.container(&image, "first").start()?;
    assert_eq!(first.get("/").await?.status, StatusCode::OK);
    // Whoever compiles puts a new file in the place of the old one.
    let files = || -> Result<Vec<u64>> {
        let paths = containerd.compiled()?.into_iter();
        paths.map(|path| Ok(fs::metadata(path)?.ino())).collect()
    };
    let before = files()?;
    let second = containerd.container(&image, "second").start()?;
    assert_eq!(second.get("/").await?.status, StatusCode::OK);
    assert_eq!(files()?, before);
    assert_eq!(before.len(), 1);
    Ok(())
}
