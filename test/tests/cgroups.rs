//! The cgroups of pods, by either driver of a kubelet: folders, or with `TEST_CGROUPS=systemd` units of systemd, as in
//! the virtual machine of `make test-cgroup2`. Each test asserts the same of both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use catena_test::Containerd;
use catena_test::containerd::Task;
use catena_test::cri::{Cri, Driver, Started};
use catena_test::output::PATIENCE;
use catena_test::pack::{Form, Packed};
use serde_json::json;

const MIB: u64 = 1 << 20;

async fn cri_with(app: &str) -> Result<(Cri, String)> {
    let cri = Cri::start_with(Driver::asked()?).await?;
    let image = cri.import(Packed::app(app, Form::Rootfs)?.path()).await?;
    Ok((cri, image))
}

/// What a file of the container's cgroup says: `old` in version 1, `new` in version 2.
async fn limit(app: &Started<'_>, controller: &str, old: &str, new: &str) -> Result<String> {
    let text = match app.cgroup_file(controller, old).await {
        Ok(text) => text,
        Err(_) => app.cgroup_file(controller, new).await?,
    };
    Ok(text.trim().to_owned())
}

/// The folders of a cgroup, in all hierarchies.
fn folders(place: &str) -> Result<Vec<PathBuf>> {
    let mut hierarchies = vec![PathBuf::from("/sys/fs/cgroup")];
    for entry in fs::read_dir("/sys/fs/cgroup")? {
        hierarchies.push(entry?.path());
    }
    let below = |hierarchy: PathBuf| hierarchy.join(place.trim_start_matches('/'));
    let folders = hierarchies.into_iter().map(below);
    Ok(folders.filter(|folder| folder.exists()).collect())
}

/// Units of containers that systemd knows.
fn units() -> Result<String> {
    let mut systemctl = Command::new("systemctl");
    systemctl.args(["list-units", "--all", "--no-legend", "cri-containerd-*"]);
    let output = systemctl.output().context("asking systemd")?;
    Ok(String::from_utf8(output.stdout)?)
}

/// Nothing is left of the cgroup at `place`, and systemd knows of no container.
async fn is_gone(driver: Driver, place: &str) -> Result<()> {
    let started = Instant::now();
    loop {
        let left = folders(place)?;
        let units = match driver {
            Driver::Systemd => units()?,
            Driver::Cgroupfs => String::new(),
        };
        if left.is_empty() && units.is_empty() {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            bail!("left behind: {left:?}, units: {units:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Sandbox and application are where the kubelet asked for, limited, and gone with the pod.
#[tokio::test]
async fn a_pod_is_accounted_for_and_leaves_nothing() -> Result<()> {
    let (cri, image) = cri_with("routes").await?;
    let driver = cri.driver();
    let pod = cri.pod("placed").start().await?;
    let app = pod.container(&image, "app").port(8080).resources(|limits| {
        limits.memory_limit_in_bytes = 512 * MIB.cast_signed();
        limits.cpu_period = 100_000;
        limits.cpu_quota = 150_000;
    });
    let app = app.start().await?;
    assert_eq!(pod.get(8080, "/allocate?mib=8").await?.text(), "8");

    let groups = fs::read_to_string(format!("/proc/{}/cgroup", app.pid().await?))?;
    let place = driver.place(pod.cgroup_parent(), &app.id);
    let is_there = |line: &str| line.rsplit(':').next() == Some(place.as_str());
    assert!(groups.lines().any(is_there), "{place} in:\n{groups}");
    let sandbox = driver.place(pod.cgroup_parent(), &pod.id);
    assert!(!folders(&sandbox)?.is_empty(), "{sandbox}");
    if driver == Driver::Systemd {
        let units = units()?;
        assert!(
            units.contains(&format!("cri-containerd-{}.scope", app.id)),
            "{units}"
        );
    }

    let memory = async || limit(&app, "memory", "memory.limit_in_bytes", "memory.max").await;
    let quota = async || limit(&app, "cpu", "cpu.cfs_quota_us", "cpu.max").await;
    assert_eq!(memory().await?, (512 * MIB).to_string());
    assert!(quota().await?.starts_with("150000"), "{}", quota().await?);
    let task = Task::find(cri.containerd(), &app.id)?;
    task.update(json!({"memory": {"limit": 256 * MIB}})).await?;
    assert_eq!(memory().await?, (256 * MIB).to_string());
    task.update(json!({"cpu": {"shares": 512}})).await?;
    assert!(quota().await?.starts_with("150000"), "{}", quota().await?);

    let stats = app.stats().await?;
    let told = stats.memory.and_then(|memory| memory.working_set_bytes);
    let told = told.context("no working set")?.value;
    let usage = limit(&app, "memory", "memory.usage_in_bytes", "memory.current").await?;
    let usage: u64 = usage.parse()?;
    assert!(told > MIB && told <= usage + 4 * MIB, "{told} of {usage}");
    let told = stats.cpu.and_then(|cpu| cpu.usage_core_nano_seconds);
    assert!(told.context("no usage")?.value > 1_000_000);

    app.stop(5).await?;
    app.remove().await?;
    assert!(folders(&place)?.is_empty(), "{place}");
    pod.remove().await?;
    is_gone(driver, &place).await?;
    is_gone(driver, &sandbox).await
}

/// The kernel ends what takes too much, containerd hears why, and the cgroup goes although it ended like this.
#[tokio::test]
async fn a_memory_limit_binds() -> Result<()> {
    let (cri, image) = cri_with("routes").await?;
    let pod = cri.pod("greedy").start().await?;
    let app = pod.container(&image, "app").port(8080);
    let app = app.resources(|limits| limits.memory_limit_in_bytes = 96 * MIB.cast_signed());
    let app = app.start().await?;
    assert!(pod.get(8080, "/allocate?mib=400").await.is_err());
    assert_eq!(app.ended().await?.exit_code, 137);
    let started = Instant::now();
    while app.status().await?.reason != "OOMKilled" {
        let status = app.status().await?;
        assert!(started.elapsed() < PATIENCE, "{status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    pod.remove().await?;
    is_gone(
        cri.driver(),
        &cri.driver().place(pod.cgroup_parent(), &app.id),
    )
    .await
}

/// A disk can be made and not be read, in whichever cgroup; the devices of an ordinary container can.
#[tokio::test]
async fn devices_of_the_host_are_closed() -> Result<()> {
    let cri = Cri::start_with(Driver::asked()?).await?;
    let pod = cri.pod("curious").start().await?;
    let script = "/bin/busybox mknod /tmp-disk b 7 0; /bin/busybox cat /tmp-disk; \
                  /bin/busybox head -c 1 /dev/zero | /bin/busybox wc -c; echo > /dev/null && echo open";
    let image = catena_test::cri::BUSYBOX_IMAGE;
    let curious = pod
        .container(image, "curious")
        .shell(script)
        .start()
        .await?;
    assert_eq!(curious.ended().await?.exit_code, 0);
    curious.logs("/tmp-disk': Operation not permitted").await?;
    curious.logs("open").await?;
    pod.remove().await
}

/// A name of systemd's form means systemd, with no option that says so; where systemd cannot be asked it is refused.
#[tokio::test]
async fn a_name_of_systemds_form_means_systemd() -> Result<()> {
    let (containerd, image) = Containerd::with_app("hello")?;
    let name = "catena-named.slice:catena:sliced";
    let container = containerd
        .container(&image, "sliced")
        .flags(&["--cgroup", name]);
    let needed = ["/sys/fs/cgroup/cgroup.controllers", "/run/systemd/system"];
    if needed.iter().all(|path| Path::new(path).exists()) {
        let task = container.start()?;
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", task.pid))?;
        let scope = "/catena.slice/catena-named.slice/catena-sliced.scope";
        assert!(groups.contains(scope), "{groups}");
        task.remove()?;
    } else {
        let output = container.run()?;
        assert!(
            !output.success && output.stderr.contains("systemd"),
            "{output:?}"
        );
    }
    containerd.nothing_is_left_of("sliced")
}
