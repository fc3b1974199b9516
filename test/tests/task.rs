//! The Task service under a real containerd, as an operator uses it: pause, limits, signals, numbers, and memory that
//! runs out. These tests need root, containerd and busybox; each has a daemon of its own.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use catena_test::Containerd;
use catena_test::output::wait_until;
use containerd_shim::protos::shim_async::{Client, TaskClient};
use containerd_shim::protos::ttrpc::Code;
use containerd_shim::protos::ttrpc::Error::RpcStatus;
use containerd_shim::protos::ttrpc::context::with_duration;
use containerd_shim::protos::{api, ttrpc};
use http::StatusCode;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// The first number in a text.
fn first_number(text: &str) -> Result<u64> {
    let words = text.split_whitespace().find_map(|word| word.parse().ok());
    words.with_context(|| format!("no number in {text:?}"))
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
                .contains(containerd.installation().code("failed precondition")),
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
    let task = containerd.linux("measured", &flags, busy)?;
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
    let task = containerd.linux("hungry", &flags, "exec tail /dev/zero")?;
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
    let task = containerd.linux("surviving", &flags, "tail /dev/zero; sleep 60")?;
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
    let task = containerd.linux("many", &[], script)?;
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
        let code = containerd.installation().code("not found");
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
    let task = containerd.linux("timed", &[], script)?;
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

/// The code of a call that has to fail.
fn code<T>(answer: ttrpc::Result<T>) -> Result<Code> {
    match answer.err().context("it succeeds")? {
        RpcStatus(status) => Ok(status.code()),
        other => Err(other.into()),
    }
}

/// What containerd asks only when it has lost track: each call fails with the code that containerd acts on, and does
/// nothing else.
#[tokio::test]
async fn calls_that_do_not_fit_are_told_apart() -> Result<()> {
    let (containerd, image) = Containerd::with_app("hello")?;
    let task = containerd.container(&image, "known").start()?;
    let bundle = containerd.path("state/io.containerd.runtime.v2.task");
    let bundle = bundle.join(containerd.namespace()).join("known");
    let address = std::fs::read_to_string(bundle.join("address"))?;
    let shim = TaskClient::new(Client::connect(&address).await?);
    let context = || with_duration(Duration::from_secs(60));

    let mut again = api::CreateTaskRequest::new();
    again.set_id("known".to_owned());
    again.set_bundle(bundle.display().to_string());
    let answer = shim.create(context(), &again).await;
    assert_eq!(code(answer)?, Code::ALREADY_EXISTS);
    let mut restored = again.clone();
    restored.set_id("restored".to_owned());
    restored.set_checkpoint("/checkpoint".to_owned());
    let answer = shim.create(context(), &restored).await;
    assert_eq!(code(answer)?, Code::UNIMPLEMENTED);

    let mut start = api::StartRequest::new();
    start.set_id("known".to_owned());
    let answer = shim.start(context(), &start).await;
    assert_eq!(code(answer)?, Code::FAILED_PRECONDITION);
    let mut delete = api::DeleteRequest::new();
    delete.set_id("known".to_owned());
    let answer = shim.delete(context(), &delete).await;
    assert_eq!(code(answer)?, Code::FAILED_PRECONDITION);
    let mut resize = api::ResizePtyRequest::new();
    resize.set_id("known".to_owned());
    let answer = shim.resize_pty(context(), &resize).await;
    assert_eq!(code(answer)?, Code::FAILED_PRECONDITION);

    let mut signal = api::KillRequest::new();
    for (id, exec_id) in [("unknown", ""), ("known", "unknown")] {
        signal.set_id(id.to_owned());
        signal.set_exec_id(exec_id.to_owned());
        signal.set_signal(15);
        let answer = shim.kill(context(), &signal).await;
        assert_eq!(code(answer)?, Code::NOT_FOUND, "{id} {exec_id}");
    }
    // It serves a container, and stays.
    shim.shutdown(context(), &api::ShutdownRequest::new())
        .await?;
    let connected = shim.connect(context(), &api::ConnectRequest::new()).await?;
    assert_eq!(
        [connected.shim_pid.cast_signed()],
        *containerd.shims().as_slice()
    );
    assert_eq!(task.get("/").await?.status, StatusCode::OK);
    task.remove()?;
    containerd.nothing_is_left_of("known")
}
