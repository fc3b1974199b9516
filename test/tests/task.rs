//! The Task service under a real containerd, as an operator uses it: pause, limits, further processes, terminals,
//! signals, numbers, and memory that runs out. These tests need root, containerd and busybox; each has a daemon of
//! its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use catena_test::Containerd;
use catena_test::containerd::Task;
use catena_test::output::PATIENCE;
use catena_test::pack::{Form, Packed};
use http::StatusCode;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// A Linux container that runs this with `sh -c`.
fn linux<'a>(
    containerd: &'a Containerd,
    id: &str,
    flags: &[&str],
    script: &str,
) -> Result<Task<'a>> {
    let root = containerd.busybox()?;
    let container = containerd
        .container(&root, id)
        .flags(&["--rootfs"])
        .flags(flags);
    container.command(&["/bin/sh", "-c", script]).start()
}

/// What a process may not do, from its `/proc/<pid>/status`.
fn confinement(status: &str) -> Vec<String> {
    let named = |line: &&str| {
        ["Seccomp:", "NoNewPrivs:", "Cap", "Uid:"]
            .iter()
            .any(|name| line.starts_with(name))
    };
    status.lines().filter(named).map(str::to_owned).collect()
}

/// What `ctr` says after a call's error: the code. From version 2 on it says the sentence alone.
fn code<'a>(containerd: &Containerd, code: &'a str) -> &'a str {
    match containerd.installation().version() < (2, 0, 0) {
        true => code,
        false => "",
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// The first number in a text.
fn first_number(text: &str) -> Result<u64> {
    let words = text.split_whitespace().find_map(|word| word.parse().ok());
    words.with_context(|| format!("no number in {text:?}"))
}

fn wait_until(what: &str, mut happened: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !happened()? {
        anyhow::ensure!(started.elapsed() < PATIENCE, "it never happened: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[tokio::test]
async fn a_paused_container_stands_still_and_goes_on() -> Result<()> {
    let (containerd, image) = Containerd::with_app("hello")?;
    let task = containerd.container(&image, "paused").start()?;
    task.address()?;
    let events = containerd.events().await?;
    let paused = task.ctr("pause", &[], &[])?;
    assert!(paused.success, "{paused:?}");
    assert_eq!(task.state()?, "PAUSED");
    let frozen = task.cgroup(&["freezer/freezer.state", "freezer/cgroup.freeze"])?;
    assert!(["FROZEN", "1"].contains(&frozen.as_str()), "{frozen}");
    let answer = tokio::time::timeout(Duration::from_millis(500), task.get("/")).await;
    assert!(answer.is_err(), "a paused app answers: {answer:?}");
    let again = task.ctr("pause", &[], &[])?;
    assert!(
        !again.success
            && again
                .stderr
                .contains(code(&containerd, "failed precondition")),
        "{again:?}"
    );

    let resumed = task.ctr("resume", &[], &[])?;
    assert!(resumed.success, "{resumed:?}");
    assert_eq!(task.state()?, "RUNNING");
    assert_eq!(task.get("/").await?.status, StatusCode::OK);
    assert!(!task.ctr("resume", &[], &[])?.success);
    events.lines.wait_for("/tasks/resumed").await?;
    assert_eq!(events.topics(), ["/tasks/paused", "/tasks/resumed"]);
    Ok(())
}

#[tokio::test]
async fn a_paused_container_can_be_killed() -> Result<()> {
    let (containerd, image) = Containerd::with_app("hello")?;
    for all in [&[][..], &["--all"]] {
        let task = containerd.container(&image, "still").start()?;
        assert!(task.ctr("pause", &[], &[])?.success);
        let flags: Vec<_> = ["--signal", "SIGKILL"].iter().chain(all).copied().collect();
        assert!(task.ctr("kill", &flags, &[])?.success);
        task.becomes("STOPPED")?;
        assert_eq!(task.delete()?, 137);
        containerd.ctr_ok(&["containers", "delete", "still"])?;
        containerd.nothing_is_left_of("still")?;
    }
    Ok(())
}

/// A shim that was killed leaves nothing behind either when its container stood still.
#[test]
fn delete_cleans_up_a_paused_container() -> Result<()> {
    let (containerd, image) = Containerd::with_app("hello")?;
    let task = containerd.container(&image, "orphan").start()?;
    assert!(task.ctr("pause", &[], &[])?.success);
    for shim in containerd.shims() {
        kill(Pid::from_raw(shim), Signal::SIGKILL)?;
    }
    let process = format!("/proc/{}", task.pid);
    wait_until("the worker's end", || Ok(!Path::new(&process).exists()))?;
    containerd.ctr(&["tasks", "delete", "--force", "orphan"])?;
    containerd.nothing_is_left_of("orphan")
}

/// The limits of a container that runs change, and what is not named stays.
#[tokio::test]
async fn limits_change_while_it_runs() -> Result<()> {
    let (containerd, image) = Containerd::with_app("hello")?;
    let container = containerd.container(&image, "limited");
    let task = container.flags(&["--memory-limit", "1073741824"]).start()?;
    let memory = || task.cgroup(&["memory/memory.limit_in_bytes", "memory/memory.max"]);
    assert_eq!(memory()?, "1073741824");
    task.update(
        json!({"cpu": {"shares": 512, "quota": 50000, "period": 100000}, "pids": {"limit": 77}}),
    )
    .await?;
    assert_eq!(memory()?, "1073741824");
    let shares = task.cgroup(&["cpu/cpu.shares", "cpu/cpu.weight"])?;
    // Version 2 counts from 1 to 10000, with 100 for 1024 shares.
    assert!(["512", "59"].contains(&shares.as_str()), "{shares}");
    let quota = task.cgroup(&["cpu/cpu.cfs_quota_us", "cpu/cpu.max"])?;
    assert_eq!(first_number(&quota)?, 50000);
    assert_eq!(task.cgroup(&["pids/pids.max"])?, "77");
    task.update(json!({"memory": {"limit": 536_870_912}}))
        .await?;
    assert_eq!(memory()?, "536870912");
    assert_eq!(task.get("/").await?.status, StatusCode::OK);

    let refused = task.update(json!({"memory": {"limit": "much"}})).await;
    let refused = format!("{:?}", refused.err());
    assert!(refused.contains("malformed"), "{refused}");
    task.kill("SIGKILL")?;
    task.becomes("STOPPED")?;
    assert!(task.update(json!({"pids": {"limit": 78}})).await.is_err());
    Ok(())
}

/// The numbers are the kernel's own, in the units that containerd expects.
#[test]
fn metrics_are_the_kernels() -> Result<()> {
    let containerd = Containerd::start()?;
    let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done > /tmp/done; sleep 60";
    let flags = [
        "--memory-limit",
        "134217728",
        "--cpu-period",
        "50000",
        "--cpu-quota",
        "10000",
    ];
    let task = linux(&containerd, "measured", &flags, busy)?;
    let done = containerd.path("busybox").join("tmp/done");
    wait_until("some work", || Ok(done.exists()))?;
    let used = || -> Result<u64> {
        let text = task.cgroup(&["cpuacct/cpuacct.usage", "cpu/cpu.stat"])?;
        first_number(&text)
    };
    let memory = || -> Result<u64> {
        first_number(&task.cgroup(&["memory/memory.usage_in_bytes", "memory/memory.current"])?)
    };
    let throttled = || -> Result<u64> {
        let stat = task.cgroup(&["cpu/cpu.stat"])?;
        let line = stat
            .lines()
            .find_map(|line| line.strip_prefix("nr_throttled "));
        Ok(line.context("no nr_throttled")?.parse()?)
    };
    let before = (used()?, memory()?, throttled()?);
    let metrics = task.metrics()?;
    let after = (used()?, memory()?, throttled()?);
    let told = number(&metrics["cpu"]["usage"]["total"]).max(number(&metrics["cpu"]["usage_usec"]));
    assert!(
        (before.0..=after.0).contains(&told),
        "{before:?} <= {told} <= {after:?}: {metrics}"
    );
    // What it may have of the processor binds, and that it did is told.
    let told = number(&metrics["cpu"]["throttling"]["throttled_periods"])
        .max(number(&metrics["cpu"]["nr_throttled"]));
    assert!(
        before.2 > 0 && (before.2..=after.2).contains(&told),
        "{before:?} <= {told} <= {after:?}: {metrics}"
    );
    let told =
        number(&metrics["memory"]["usage"]["usage"]).max(number(&metrics["memory"]["usage"]));
    assert!(
        (before.1.min(after.1)..=before.1.max(after.1)).contains(&told),
        "{before:?} {told} {after:?}: {metrics}"
    );
    let limit =
        number(&metrics["memory"]["usage"]["limit"]).max(number(&metrics["memory"]["usage_limit"]));
    assert_eq!(limit, 134_217_728, "{metrics}");
    let processes = first_number(&task.cgroup(&["pids/pids.current"])?)?;
    assert_eq!(number(&metrics["pids"]["current"]), processes, "{metrics}");
    Ok(())
}

/// A Linux container that takes more memory than it may have.
#[tokio::test]
async fn the_end_of_memory_is_told_before_the_end() -> Result<()> {
    let containerd = Containerd::start()?;
    let events = containerd.events().await?;
    let flags = ["--memory-limit", "33554432"];
    let task = linux(&containerd, "hungry", &flags, "exec tail /dev/zero")?;
    task.becomes("STOPPED")?;
    assert_eq!(task.delete()?, 137);
    events.lines.wait_for("/tasks/delete").await?;
    let topics = events.topics();
    let place = |topic: &str| topics.iter().position(|one| one == topic);
    let (oom, exit) = (place("/tasks/oom"), place("/tasks/exit"));
    assert!(oom.is_some() && oom < exit, "{topics:?}");
    Ok(())
}

/// It is told also when the container outlives it.
#[tokio::test]
async fn the_end_of_memory_is_told_at_once() -> Result<()> {
    let containerd = Containerd::start()?;
    let events = containerd.events().await?;
    let flags = ["--memory-limit", "33554432"];
    let task = linux(&containerd, "surviving", &flags, "tail /dev/zero; sleep 60")?;
    events.lines.wait_for("/tasks/oom").await?;
    assert_eq!(task.state()?, "RUNNING");
    Ok(())
}

#[tokio::test]
async fn an_app_that_takes_too_much_memory_is_told_of() -> Result<()> {
    let (containerd, image) = Containerd::with_app("routes")?;
    let events = containerd.events().await?;
    let container = containerd.container(&image, "greedy");
    let task = container.flags(&["--memory-limit", "134217728"]).start()?;
    // It is killed in the middle of its answer.
    let answer = task.get("/allocate?mib=512").await;
    task.becomes("STOPPED")?;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(task.delete()?, 137);
    events.lines.wait_for("/tasks/delete").await?;
    let topics = events.topics();
    let place = |topic: &str| topics.iter().position(|one| one == topic);
    let (oom, exit) = (place("/tasks/oom"), place("/tasks/exit"));
    assert!(oom.is_some() && oom < exit, "{topics:?}");
    Ok(())
}

/// A signal for all reaches also those that the first process does not know of.
#[test]
fn a_signal_may_go_to_all() -> Result<()> {
    let containerd = Containerd::start()?;
    let script = "trap 'echo first > /tmp/first' USR1; \
                  (trap 'echo second > /tmp/second' USR1; while :; do sleep 0.1; done) & \
                  while :; do sleep 0.1; done";
    let task = linux(&containerd, "many", &[], script)?;
    std::thread::sleep(Duration::from_millis(300));
    let folder = containerd.path("busybox").join("tmp");
    let (first, second) = (folder.join("first"), folder.join("second"));
    // `sleep` does not know the signal and ends by it; the shells go on.
    assert!(task.ctr("kill", &["--signal", "SIGUSR1"], &[])?.success);
    wait_until("the first hears", || Ok(first.exists()))?;
    assert!(!second.exists());
    assert!(
        task.ctr("kill", &["--signal", "SIGUSR1", "--all"], &[])?
            .success
    );
    wait_until("the second hears", || Ok(second.exists()))?;
    assert!(
        task.ctr("kill", &["--signal", "SIGKILL", "--all"], &[])?
            .success
    );
    task.becomes("STOPPED")?;
    for flags in [
        &["--signal", "SIGTERM"][..],
        &["--signal", "SIGTERM", "--all"],
    ] {
        let output = task.ctr("kill", flags, &[])?;
        let code = code(&containerd, "not found");
        assert!(
            !output.success && output.stderr.contains(code),
            "{output:?}"
        );
    }
    assert_eq!(task.delete()?, 137);
    Ok(())
}

/// What State tells after the end, of the container and of a further process: code and time.
#[tokio::test]
async fn the_state_after_the_end_tells_how_and_when() -> Result<()> {
    let containerd = Containerd::start()?;
    let seconds = || -> Result<i64> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        Ok(i64::try_from(now.as_secs())?)
    };
    let before = seconds()?;
    let script = "until [ -e /tmp/end ]; do sleep 0.1; done; exit 3";
    let task = linux(&containerd, "timed", &[], script)?;
    let flags = ["--detach", "--exec-id", "quick"];
    let output = task.ctr("exec", &flags, &["sh", "-c", "exit 4"])?;
    assert!(output.success, "{output:?}");
    std::fs::write(containerd.path("busybox").join("tmp/end"), "")?;
    task.becomes("STOPPED")?;
    let after = seconds()?;
    for (exec_id, code) in [("", 3), ("quick", 4)] {
        let process = task.process(exec_id).await?;
        assert_eq!(process.exit_status, code, "{process:?}");
        let at = process.exited_at.context("the time of its end")?;
        assert!(
            (before..=after).contains(&at.seconds),
            "{before} {at:?} {after}"
        );
    }
    assert_eq!(task.delete()?, 3);
    Ok(())
}

/// A further process: its output, its exit code, its environment, and that it is in the container.
#[tokio::test]
async fn a_command_is_executed_in_a_linux_container() -> Result<()> {
    let containerd = Containerd::start()?;
    let task = linux(&containerd, "host", &["--env", "COLOUR=blue"], "sleep 60")?;
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
    let task = linux(&containerd, "reading", &[], "sleep 60")?;
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
    let task = linux(&containerd, "parent", &[], "sleep 60")?;
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
    let gone = code(&containerd, "not found");
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
        let task = linux(&containerd, id, flags, "sleep 60")?;
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
    let task = linux(&containerd, "holding", &[], "sleep 60")?;
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

    let flags = ["--detach", "--exec-id", "waiting"];
    let listed = |task: &Task| -> Result<Vec<i32>> {
        let processes = task.ctr("ps", &[], &[])?.stdout;
        let ids = processes
            .lines()
            .filter_map(|line| line.split_whitespace().next()?.parse().ok());
        Ok(ids.collect())
    };
    // Its input stays open, so it waits.
    let mut ctr = containerd.ctr_command();
    ctr.args(["tasks", "exec"])
        .args(&flags[1..])
        .args(["various", "tool"]);
    let mut child = ctr.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    wait_until("a second process", || Ok(listed(&task)?.len() == 2))?;
    let pids = listed(&task)?;
    let other = pids
        .iter()
        .find(|pid| **pid != task.pid)
        .context("the exec's process")?;
    for namespace in ["mnt", "pid", "ipc", "uts", "net"] {
        let of = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/{namespace}"));
        assert_eq!(of(*other)?, of(task.pid)?, "{namespace}");
    }
    let confined = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/status"));
    let first = confinement(&confined(task.pid)?);
    assert!(first.contains(&"Seccomp:\t2".to_owned()), "{first:?}");
    assert_eq!(confinement(&confined(*other)?), first);
    let status = std::fs::read_to_string(format!("/proc/{other}/status"))?;
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
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
        let code = code(&containerd, "failed precondition");
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
