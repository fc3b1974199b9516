//! AppArmor profiles of applications, where the kernel has AppArmor: the virtual machine of `make test-cgroup2` does.
//! These tests need root, containerd and, beside such a kernel, `apparmor_parser`.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result};
use catena_test::cri::BUSYBOX_IMAGE;
use catena_test::output::wait_until;
use catena_test::pack::{Form, Output, Packed};
use catena_test::{Containerd, Cri};
use http::StatusCode;

/// One that serves, and one to be executed.
const APP: &str = r#"
spin_manifest_version = 2
[application]
name = "confined"
[[trigger.http]]
route = "/..."
component = "web"
[component.web]
source = "GUESTS/probe.wasm"
[component.waits]
source = "GUESTS/command.wasm"
environment = { READ = "1" }
"#;

/// Whether this kernel has it.
fn is_enabled() -> bool {
    let told = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    told.is_ok_and(|told| told.starts_with('Y'))
}

/// A profile that cannot be had keeps an application from running, by name where the kernel knows of profiles.
fn refused(containerd: &Containerd, image: &str) -> Result<Output> {
    let container = containerd.container(image, "refused");
    let output = container
        .flags(&["--apparmor-profile", "catena-absent"])
        .run()?;
    assert!(!output.success, "{output:?}");
    assert!(
        output.stderr.to_lowercase().contains("apparmor"),
        "{output:?}"
    );
    containerd.ctr_ok(&["containers", "delete", "refused"])?;
    containerd.nothing_is_left_of("refused")?;
    Ok(output)
}

/// The profile of a process, and how it is kept.
fn profile(pid: i32) -> Result<String> {
    let told = fs::read_to_string(format!("/proc/{pid}/attr/apparmor/current"));
    Ok(told.context("reading the profile")?.trim().to_owned())
}

/// The application and what is executed in it are both under the profile, and serve under the one that containerd
/// gives where none is named.
#[tokio::test]
async fn an_application_is_under_its_profile() -> Result<()> {
    let containerd = Containerd::start()?;
    let image = containerd.import(Packed::text(APP, Form::Rootfs)?.path())?;
    let output = refused(&containerd, &image)?;
    if !is_enabled() {
        return Ok(());
    }
    assert!(output.stderr.contains("catena-absent"), "{output:?}");

    let container = containerd.container(&image, "confined");
    let container = container.flags(&["--apparmor-default-profile", "catena-test"]);
    let task = container.start()?;
    assert_eq!(profile(task.pid)?, "catena-test (enforce)");
    assert_eq!(task.get("/").await?.status, StatusCode::OK);
    // Its input stays open, so it waits.
    let mut ctr = containerd.ctr_command();
    ctr.args(["tasks", "exec", "--exec-id", "second", "confined", "waits"]);
    let mut child = ctr.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    // A process is in the group before it is confined.
    wait_until("a second process under the profile", || {
        let profiles: Vec<_> = task.processes()?.into_iter().map(profile).collect();
        let confined =
            |told: &Result<String>| matches!(told, Ok(told) if told == "catena-test (enforce)");
        Ok(profiles.len() == 2 && profiles.iter().all(confined))
    })?;
    drop(child.stdin.take());
    assert_eq!(child.wait()?.code(), Some(0));
    task.remove()
}

/// A kubelet's pod that names no profile has containerd's own, for the application as for ordinary containers.
#[tokio::test]
async fn a_pod_is_under_the_profile_of_containerd() -> Result<()> {
    let cri = Cri::start().await?;
    let image = cri.import(Packed::text(APP, Form::Rootfs)?.path()).await?;
    let pod = cri.pod("confined").start().await?;
    let app = pod.container(&image, "app").start().await?;
    let sidecar = pod.container(BUSYBOX_IMAGE, "sidecar");
    let sidecar = sidecar
        .shell("exec /bin/busybox sleep 1000")
        .start()
        .await?;
    assert_eq!(pod.get(80, "/").await?.status, StatusCode::OK);
    if is_enabled() {
        let default = "cri-containerd.apparmor.d (enforce)";
        assert_eq!(profile(app.pid().await?)?, default);
        // It has the profile from the moment that it executes its program.
        let pid = sidecar.pid().await?;
        wait_until("the sidecar under the profile", || {
            Ok(profile(pid)? == default)
        })?;
    }
    pod.remove().await
}
