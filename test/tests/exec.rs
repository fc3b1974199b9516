//! Further processes in a container (`ctr tasks exec`) and terminals, of applications and of ordinary containers, and
//! what confines them. These tests need root, containerd and busybox; each has a daemon of its own.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use catena_test::Containerd;
use catena_test::output::wait_until;
use catena_test::pack::{Form, Packed};
use http::StatusCode;

/// What a process may not do, from its `/proc/<pid>/status`.
fn confinement(status: &str) -> Vec<String> {
    let named = |line: &&str| {
        ["Seccomp:", "NoNewPrivs:", "Cap", "Uid:"]
            .iter()
            .any(|name| line.starts_with(name))
    };
    status.lines().filter(named).map(str::to_owned).collect()
}

/// A further process: its output, its exit code, its environment, and that it is in the container.
#[tokio::test]
async fn a_command_is_executed_in_a_linux_container() -> Result<()> {
    let containerd = Containerd::start()?;
    let task = containerd.linux("host", &["--env", "COLOUR=blue"], "sleep 60")?;
    let events = containerd.events().await?;
    let script =
        "echo out $COLOUR; echo err >&2; read -r root < /proc/1/cmdline; echo $root; exit 7";
    let output = task.exec("talk", &["sh", "-c", script])?;
    assert_eq!(output.code, Some(7), "{output:?}");
    assert!(output.stdout.starts_with("out blue\n"), "{output:?}");
    // `sh` became `sleep`, or runs it: in either case it is the container's.
    assert!(output.stdout.contains("sleep"), "{output:?}");
    assert_eq!(output.stderr, "err\n");
    events.lines.wait_for("/tasks/exit").await?;
    assert_eq!(
        events.topics(),
        ["/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"]
    );
    let line = events.lines.wait_for("/tasks/exit").await?;
    assert!(
        line.contains(r#""id":"talk""#) && line.contains(r#""exit_status":7"#),
        "{line}"
    );
    assert_eq!(task.state()?, "RUNNING");

    // The same cgroups and namespaces.
    let output = task.exec("where", &["cat", "/proc/self/cgroup"])?;
    assert!(output.stdout.contains("/host"), "{output:?}");
    // What cannot be executed is told, and leaves nothing.
    let output = task.exec("absent", &["nonsense"])?;
    assert!(
        output.stderr.contains("nonsense") && output.stderr.contains("not found"),
        "{output:?}"
    );
    let output = task.exec("absent", &["true"])?;
    assert!(output.success, "the name is free again: {output:?}");
    task.kill("SIGKILL")?;
    task.becomes("STOPPED")?;
    let output = task.exec("late", &["true"])?;
    assert!(!output.success, "{output:?}");
    assert_eq!(task.delete()?, 137);
    containerd.ctr_ok(&["containers", "delete", "host"])?;
    containerd.nothing_is_left_of("host")
}

#[test]
fn a_further_process_reads_its_input() -> Result<()> {
    let containerd = Containerd::start()?;
    let task = containerd.linux("reading", &[], "sleep 60")?;
    let mut ctr = containerd.ctr_command();
    ctr.args(["tasks", "exec", "--exec-id", "cat", "reading", "cat"]);
    let mut child = ctr.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("taking stdin")?;
    std::io::Write::write_all(&mut stdin, b"typed\n")?;
    drop(stdin);
    let output = child.wait_with_output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "typed\n");
    assert!(output.status.success());
    assert_eq!(task.state()?, "RUNNING");
    Ok(())
}

/// Signals for a further process, and what becomes of it when the container ends.
#[tokio::test]
async fn further_processes_are_killed_by_name_and_with_the_container() -> Result<()> {
    let containerd = Containerd::start()?;
    let task = containerd.linux("parent", &[], "sleep 60")?;
    let start = |exec_id: &str| -> Result<()> {
        let flags = ["--detach", "--exec-id", exec_id];
        let output = task.ctr("exec", &flags, &["sleep", "60"])?;
        anyhow::ensure!(output.success, "{output:?}");
        Ok(())
    };
    start("one")?;
    start("two")?;
    let events = containerd.events().await?;
    let killed = task.ctr("kill", &["--exec-id", "one", "--signal", "SIGTERM"], &[])?;
    assert!(killed.success, "{killed:?}");
    let line = events.lines.wait_for("/tasks/exit").await?;
    assert!(
        line.contains(r#""id":"one""#) && line.contains(r#""exit_status":143"#),
        "{line}"
    );
    let late = task.ctr("kill", &["--exec-id", "one", "--signal", "SIGTERM"], &[])?;
    assert!(!late.success, "{late:?}");
    let gone = containerd.installation().code("not found");
    assert!(late.stderr.contains(gone), "{late:?}");
    let unknown = task.ctr("kill", &["--exec-id", "nobody"], &[])?;
    assert!(
        !unknown.success && unknown.stderr.contains(gone),
        "{unknown:?}"
    );

    task.kill("SIGKILL")?;
    events.lines.wait_for(r#""id":"parent""#).await?;
    let exits = events.lines.all();
    let place = |id: &str| {
        exits
            .iter()
            .position(|line| line.contains(&format!(r#""id":"{id}""#)))
    };
    assert!(
        place("two").is_some() && place("two") < place("parent"),
        "{exits:?}"
    );
    assert_eq!(task.delete()?, 137);
    containerd.ctr_ok(&["containers", "delete", "parent"])?;
    containerd.nothing_is_left_of("parent")
}

/// What confines the first process confines the others: seccomp, capabilities, no new privileges.
#[test]
fn a_further_process_is_confined_as_the_first() -> Result<()> {
    let containerd = Containerd::start()?;
    for (id, flags) in [
        ("strict", &["--seccomp"][..]),
        ("looser", &["--seccomp", "--allow-new-privs"]),
    ] {
        let task = containerd.linux(id, flags, "sleep 60")?;
        let first = std::fs::read_to_string(format!("/proc/{}/status", task.pid))?;
        let output = task.exec("look", &["cat", "/proc/self/status"])?;
        assert_eq!(
            confinement(&output.stdout),
            confinement(&first),
            "{id}: {output:?}"
        );
        assert!(first.contains("Seccomp:\t2"), "{first}");
        // The right to put on the filter does not reach the program of another user either.
        let flags = ["--exec-id", "user", "--user", "65534:65534"];
        let output = task.ctr("exec", &flags, &["cat", "/proc/self/status"])?;
        for line in [
            "Seccomp:\t2",
            "Uid:\t65534",
            "CapEff:\t0000000000000000",
            "CapPrm:\t0000000000000000",
        ] {
            assert!(output.stdout.contains(line), "{id}: {line}: {output:?}");
        }
    }
    Ok(())
}

/// `ctr` on a terminal of this size, given what is typed; what it showed.
fn on_a_terminal(containerd: &Containerd, arguments: &[&str], typed: &[u8]) -> Result<String> {
    let ctr = containerd.ctr_command();
    let mut line = vec![ctr.get_program().to_string_lossy().into_owned()];
    line.extend(
        ctr.get_args()
            .map(|argument| argument.to_string_lossy().into_owned()),
    );
    line.extend(arguments.iter().map(|argument| format!("'{argument}'")));
    let line = format!("stty rows 33 cols 77; {}", line.join(" "));
    let mut script = Command::new("timeout");
    script.args([
        "120",
        "script",
        "--quiet",
        "--return",
        "--command",
        &line,
        "/dev/null",
    ]);
    let mut child = script
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("taking stdin")?;
    std::thread::sleep(Duration::from_millis(1500));
    std::io::Write::write_all(&mut stdin, typed)?;
    let output = child.wait_with_output()?;
    drop(stdin);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits for the size that `ctr` sets after the start, then asks for a line.
const INTERACTIVE: &str = "until [ \"$(stty size)\" = \"33 77\" ]; do sleep 0.1; done; \
                           echo ready; read -r line; echo got $line; exit 5";

#[test]
fn a_linux_container_on_a_terminal() -> Result<()> {
    let containerd = Containerd::start()?;
    let root = containerd.busybox()?;
    let runtime = containerd.runtime().to_owned();
    let arguments = [
        "run",
        "--rm",
        "--tty",
        "--runtime",
        &runtime,
        "--rootfs",
        &root,
        "seen",
        "/bin/sh",
        "-c",
    ];
    let script = INTERACTIVE.replace('\'', "");
    let shown = on_a_terminal(
        &containerd,
        &[&arguments[..], &[&script]].concat(),
        b"hello\r",
    )?;
    assert!(shown.contains("ready"), "{shown:?}");
    assert!(shown.contains("got hello"), "{shown:?}");
    containerd.nothing_is_left_of("seen")
}

#[test]
fn a_further_process_on_a_terminal() -> Result<()> {
    let containerd = Containerd::start()?;
    let task = containerd.linux("holding", &[], "sleep 60")?;
    let arguments = [
        "tasks",
        "exec",
        "--tty",
        "--exec-id",
        "typed",
        "holding",
        "/bin/sh",
        "-c",
    ];
    let shown = on_a_terminal(
        &containerd,
        &[&arguments[..], &[INTERACTIVE]].concat(),
        b"hello\r",
    )?;
    assert!(shown.contains("got hello"), "{shown:?}");
    let many = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done";
    let shown = on_a_terminal(&containerd, &[&arguments[..], &[many]].concat(), b"")?;
    assert_eq!(shown.matches("line ").count(), 20000, "all output arrives");
    assert_eq!(task.state()?, "RUNNING");
    Ok(())
}

/// An app that serves, with a command beside it that may call what is served.
const WITH_A_TOOL: &str = r#"
spin_manifest_version = 2
[application]
name = "tooled"
[[trigger.http]]
route = "/..."
component = "web"
[component.web]
source = "GUESTS/probe.wasm"
[component.tool]
source = "GUESTS/command.wasm"
environment = { KIND = "component", OWN = "1" }
allowed_outbound_hosts = ["http://web.spin.internal"]
"#;

/// A command of the app, in the sandbox of its container, by its id or by its path.
#[tokio::test]
async fn a_command_is_executed_in_an_app() -> Result<()> {
    let containerd = Containerd::start()?;
    let image = containerd.import(Packed::text(WITH_A_TOOL, Form::Rootfs)?.path())?;
    let container = containerd.container(&image, "tooled").flags(&["--seccomp"]);
    let container = container
        .env("KIND", "container")
        .env("CALL", "http://web.spin.internal/");
    let task = container.start()?;
    task.address()?;
    let events = containerd.events().await?;

    let output = task.exec("by-id", &["tool", "-v", "two words"])?;
    assert_eq!(output.code, Some(0), "{output:?}");
    for line in [
        "argument 0: tool",
        "argument 1: -v",
        "argument 2: two words",
        "variable KIND=container",
        "variable OWN=1",
        "called: 200",
    ] {
        assert!(output.stdout.contains(line), "{line}: {output:?}");
    }
    assert!(output.stderr.contains("the command has run"), "{output:?}");
    events.lines.wait_for("/tasks/exit").await?;
    assert_eq!(
        events.topics(),
        ["/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"]
    );

    let output = task.exec("by-path", &["/components/tool.wasm", "x"])?;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("argument 1: x"), "{output:?}");
    assert!(
        !output.stdout.contains("OWN=1"),
        "a file is no component: {output:?}"
    );
    assert_eq!(task.get("/").await?.status, StatusCode::OK);
    task.kill("SIGTERM")?;
    task.becomes("STOPPED")?;
    assert_eq!(task.delete()?, 0);
    containerd.ctr_ok(&["containers", "delete", "tooled"])?;
    containerd.nothing_is_left_of("tooled")
}

/// The exec's own streams and signals, its exit code, and where its process is.
#[tokio::test]
async fn a_command_of_an_app_reads_fails_and_is_killed() -> Result<()> {
    let containerd = Containerd::start()?;
    let image = containerd.import(Packed::text(WITH_A_TOOL, Form::Rootfs)?.path())?;
    let container = containerd
        .container(&image, "various")
        .flags(&["--seccomp"])
        .env("READ", "1");
    let task = container.env("SLEEP", "300").env("EXIT", "1").start()?;
    task.address()?;
    let mut ctr = containerd.ctr_command();
    ctr.args(["tasks", "exec", "--exec-id", "reading", "various", "tool"]);
    let mut child = ctr.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("taking stdin")?;
    std::io::Write::write_all(&mut stdin, b"typed\n")?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("read: typed\n"), "{shown}");
    assert_eq!(output.status.code(), Some(1), "{shown}");

    // Its input stays open, so it waits.
    let mut ctr = containerd.ctr_command();
    ctr.args(["tasks", "exec", "--exec-id", "waiting", "various", "tool"]);
    let mut child = ctr.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let status = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/status"));
    let first = confinement(&status(task.pid)?);
    assert!(first.contains(&"Seccomp:\t2".to_owned()), "{first:?}");
    assert!(first.contains(&"NoNewPrivs:\t1".to_owned()), "{first:?}");
    // A process is in the group before it is confined, and the one that makes it comes and goes.
    let others = || -> Result<Vec<i32>> {
        let all = task.processes()?.into_iter();
        Ok(all.filter(|pid| *pid != task.pid).collect())
    };
    let is_confined = |pid: i32| status(pid).is_ok_and(|status| confinement(&status) == first);
    wait_until("a second process, confined as the first", || {
        Ok(matches!(others()?[..], [other] if is_confined(other)))
    })?;
    let [other] = others()?[..] else {
        panic!("not one further process: {:?}", others()?);
    };
    for namespace in ["mnt", "pid", "ipc", "uts", "net"] {
        let of = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/{namespace}"));
        assert_eq!(of(other)?, of(task.pid)?, "{namespace}");
    }
    let killed = task.ctr(
        "kill",
        &["--exec-id", "waiting", "--signal", "SIGTERM"],
        &[],
    )?;
    assert!(killed.success, "{killed:?}");
    assert_eq!(child.wait()?.code(), Some(143));
    assert_eq!(task.get("/").await?.status, StatusCode::OK);
    Ok(())
}

/// What an app's container cannot execute is refused with what it can.
#[test]
fn what_an_app_cannot_execute_is_refused() -> Result<()> {
    let containerd = Containerd::start()?;
    let image = containerd.import(Packed::text(WITH_A_TOOL, Form::Rootfs)?.path())?;
    let task = containerd.container(&image, "refusing").start()?;
    task.address()?;
    for (command, reason) in [
        ("sh", "its id (web, tool)"),
        ("web", "answers HTTP requests"),
        ("/absent.wasm", "absent.wasm"),
        ("/spin.json", "its id (web, tool)"),
    ] {
        let output = task.exec("refused", &[command])?;
        let code = containerd.installation().code("failed precondition");
        assert!(output.stderr.contains(code), "{output:?}");
        assert!(output.stderr.contains(reason), "{output:?}");
    }
    assert_eq!(task.state()?, "RUNNING");
    Ok(())
}

/// A command of an app, and an exec in an app, on a terminal.
#[test]
fn an_app_on_a_terminal() -> Result<()> {
    let (containerd, image) = Containerd::with_app("command")?;
    let runtime = containerd.runtime().to_owned();
    let arguments = [
        "run",
        "--rm",
        "--tty",
        "--runtime",
        &runtime,
        &image,
        "shown",
    ];
    let shown = on_a_terminal(&containerd, &arguments, b"")?;
    assert!(shown.contains("done"), "{shown:?}");
    containerd.nothing_is_left_of("shown")?;

    let image = containerd.import(Packed::text(WITH_A_TOOL, Form::Rootfs)?.path())?;
    let task = containerd
        .container(&image, "tooled")
        .env("READ", "1")
        .start()?;
    task.address()?;
    let arguments = [
        "tasks",
        "exec",
        "--tty",
        "--exec-id",
        "typed",
        "tooled",
        "tool",
    ];
    // The second byte is the end of the input, as a terminal has it.
    let shown = on_a_terminal(&containerd, &arguments, b"hello\r\x04")?;
    assert!(shown.contains("read: hello"), "{shown:?}");
    assert!(shown.contains("done"), "{shown:?}");
    Ok(())
}
