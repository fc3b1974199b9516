//! Pods through containerd's CRI plugin, as a kubelet asks for them. Sandbox, applications and ordinary containers of
//! a pod all run under catena. These tests need root, containerd, Debian's CNI plugins and busybox; each has a daemon
//! and a network of its own.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use catena_test::cri::{BUSYBOX_IMAGE, v1};
use catena_test::output::PATIENCE;
use catena_test::pack::{Form, Packed};
use catena_test::{Backing, Client, Cri};
use http::{Method, StatusCode};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::task::JoinSet;

/// A daemon that has the image of an app, and the image's name.
async fn cri_with(app: &str) -> Result<(Cri, String)> {
    let cri = Cri::start().await?;
    let image = cri.import(Packed::app(app, Form::Rootfs)?.path()).await?;
    Ok((cri, image))
}

/// A line of `/proc/<pid>/status`.
fn field(pid: i32, name: &str) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    Ok(value.context("no such line")?.1.trim().to_owned())
}

/// The main job: a pod of its own address, where the whole app answers; and nothing is left when it is removed.
#[tokio::test]
async fn a_pod_answers_and_leaves_nothing() -> Result<()> {
    let (cri, image) = cri_with("chain").await?;
    let pod = cri.pod("web").start().await?;
    let app = pod.container(&image, "app").start().await?;
    let answer = pod.get(80, "/").await?.json()?;
    assert_eq!(answer["accounts"]["ledger"]["balance"], 1815);
    assert_eq!(cri.containerd().shims().len(), 1);
    let status = app.status().await?;
    assert_eq!(status.state(), v1::ContainerState::ContainerRunning);
    let names = [pod.id.clone(), app.id.clone()];
    pod.remove().await?;
    for name in names {
        cri.containerd().nothing_is_left_of(&name)?;
    }
    assert_eq!(cri.containerd().shims(), [0; 0]);
    Ok(())
}

#[tokio::test]
async fn a_pod_on_the_hosts_network() -> Result<()> {
    let (cri, image) = cri_with("hello").await?;
    let pod = cri.pod("host").on_host_network().start().await?;
    let app = pod.container(&image, "app");
    let app = app.env("SPIN_HTTP_LISTEN_ADDR", "127.0.0.1:0");
    let app = app.start().await?;
    let address = catena_test::containerd::listening(app.pid().await?)?;
    let answer = Client::http1(address).await?.get("/").await?;
    assert_eq!(answer.status, StatusCode::OK);
    app.stop(10).await?;
    pod.remove().await
}

/// Two apps and an ordinary container: one shim, one network namespace, one another's ports on localhost.
#[tokio::test]
async fn containers_of_a_pod_share_its_network() -> Result<()> {
    let (cri, image) = cri_with("hello").await?;
    let pod = cri.pod("three").start().await?;
    let first = pod.container(&image, "first").port(8080).start().await?;
    let second = pod.container(&image, "second").port(8081).start().await?;
    for port in [8080, 8081] {
        assert_eq!(pod.get(port, "/").await?.text(), "Hello from catena\n");
    }
    let script = "for port in 8080 8081; do /bin/busybox wget -q -O - http://127.0.0.1:$port/; done; \
                  exec /bin/busybox sleep 1000";
    let sidecar = pod.container(BUSYBOX_IMAGE, "sidecar").shell(script);
    let sidecar = sidecar.start().await?;
    let started = Instant::now();
    while sidecar.log()?.len() < 2 {
        assert!(started.elapsed() < PATIENCE, "{:?}", sidecar.log()?);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for line in sidecar.log()? {
        assert_eq!(
            (line.stream.as_str(), line.text.as_str()),
            ("stdout", "Hello from catena")
        );
    }
    let network = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/net"));
    let of_first = network(first.pid().await?)?;
    assert_eq!(network(second.pid().await?)?, of_first);
    assert_eq!(network(sidecar.pid().await?)?, of_first);
    assert_ne!(fs::read_link("/proc/self/ns/net")?, of_first);
    assert_eq!(cri.containerd().shims().len(), 1);
    // They come and go one by one.
    first.stop(10).await?;
    first.remove().await?;
    cri.containerd().nothing_is_left_of(&first.id)?;
    assert_eq!(pod.get(8081, "/").await?.status, StatusCode::OK);
    pod.remove().await
}

/// Exec probes: of a sidecar any program, of an app its commands, and what is none is refused with what there is.
#[tokio::test]
async fn probes_execute_commands() -> Result<()> {
    let cri = Cri::start().await?;
    let packed = Packed::text(PROBED, Form::Rootfs)?;
    let image = cri.import(packed.path()).await?;
    let pod = cri.pod("probed").start().await?;
    let app = pod.container(&image, "app").start().await?;
    let sidecar = pod.container(BUSYBOX_IMAGE, "sidecar");
    let sidecar = sidecar
        .shell("exec /bin/busybox sleep 1000")
        .start()
        .await?;
    let well = ["/bin/busybox", "sh", "-c", "echo well; exit 0"];
    assert_eq!(sidecar.exec(&well).await?, (0, "well\n".to_owned()));
    let ill = ["/bin/busybox", "sh", "-c", "exit 3"];
    assert_eq!(sidecar.exec(&ill).await?, (3, String::new()));
    let (code, said) = app.exec(&["check", "deeply"]).await?;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("argument 1: deeply"), "{said}");
    let (code, said) = app.exec(&["fails"]).await?;
    assert_eq!(code, 1, "{said}");
    let error = app.exec(&["sh"]).await.err().context("sh was executed")?;
    let told = format!("{error:#}");
    assert!(told.contains("hello, check, fails"), "{told}");
    assert_eq!(pod.get(80, "/").await?.status, StatusCode::OK);
    pod.remove().await
}

/// An app with commands for probes: one that succeeds, one that fails.
const PROBED: &str = r#"
spin_manifest_version = 2
[application]
name = "probed"
[[trigger.http]]
route = "/..."
component = "hello"
[component.hello]
source = "GUESTS/hello.wasm"
[component.check]
source = "GUESTS/command.wasm"
[component.fails]
source = "GUESTS/command.wasm"
environment = { EXIT = "1" }
"#;

/// `shareProcessNamespace`: an app joins the sandbox's PID namespace, and its end is still its own.
#[tokio::test]
async fn containers_of_a_pod_may_share_processes() -> Result<()> {
    let (cri, image) = cri_with("hello").await?;
    let pod = cri.pod("shared").with_shared_processes().start().await?;
    let app = pod.container(&image, "app").port(8080).start().await?;
    let script = "/bin/busybox ps; exec /bin/busybox sleep 1000";
    let sidecar = pod.container(BUSYBOX_IMAGE, "sidecar").shell(script);
    let sidecar = sidecar.start().await?;
    sidecar.logs("sleep 2147483647").await?;
    assert_eq!(pod.get(8080, "/").await?.status, StatusCode::OK);
    let processes = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid"));
    assert_eq!(
        processes(app.pid().await?)?,
        processes(sidecar.pid().await?)?
    );
    app.stop(10).await?;
    assert_eq!(app.ended().await?.exit_code, 0);
    // It is not the first process of its namespace, so SIGTERM ends it at once.
    sidecar.stop(20).await?;
    assert_eq!(sidecar.ended().await?.exit_code, 143);
    pod.remove().await
}

#[tokio::test]
async fn the_logs_tell_the_streams_apart() -> Result<()> {
    let (cri, image) = cri_with("routes").await?;
    let pod = cri.pod("printing").start().await?;
    let app = pod.container(&image, "app").port(8080).start().await?;
    pod.get(8080, "/print?out=to-stdout&err=to-stderr").await?;
    assert_eq!(app.logs("to-stdout").await?.stream, "stdout");
    assert_eq!(app.logs("to-stderr").await?.stream, "stderr");
    pod.remove().await
}

/// A stop within the grace period: what is in flight is finished, and the app has completed.
#[tokio::test]
async fn a_stop_drains_within_the_grace_period() -> Result<()> {
    let (cri, image) = cri_with("routes").await?;
    let pod = cri.pod("draining").start().await?;
    let app = pod.container(&image, "app").port(8080).start().await?;
    let mut client = Client::http1(pod.address(8080)?).await?;
    let exchange = client.request(Method::GET, "/slow?ms=1500", &[]).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (stopped, answer) = tokio::join!(app.stop(20), exchange.response());
    stopped?;
    assert_eq!(answer?.text(), "at last\n");
    let status = app.status().await?;
    assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
    assert!(status.finished_at >= status.started_at && status.started_at > 0);
    pod.remove().await
}

/// A stop beyond the grace period ends in SIGKILL.
#[tokio::test]
async fn a_stop_beyond_the_grace_period_kills() -> Result<()> {
    let (cri, image) = cri_with("routes").await?;
    let pod = cri.pod("stubborn").start().await?;
    let app = pod.container(&image, "app").port(8080).start().await?;
    let mut client = Client::http1(pod.address(8080)?).await?;
    let exchange = client.request(Method::GET, "/slow?ms=20000", &[]).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = Instant::now();
    app.stop(1).await?;
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    let status = app.status().await?;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
    assert!(exchange.response().await.is_err());
    pod.remove().await
}

/// The code of a command, and what the interface makes of it.
#[tokio::test]
async fn exit_codes_and_reasons() -> Result<()> {
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
    let (cri, image) = cri_with("command").await?;
    let failing = Packed::text(manifest, Form::Rootfs)?;
    let failing = cri.import(failing.path()).await?;
    let pod = cri.pod("batch").start().await?;
    for (image, name, code, reason) in [
        (image.as_str(), "well", 0, "Completed"),
        (failing.as_str(), "badly", 1, "Error"),
    ] {
        let status = pod.container(image, name).start().await?.ended().await?;
        assert_eq!(
            (status.exit_code, status.reason.as_str()),
            (code, reason),
            "{name}"
        );
    }
    let linux = pod.container(BUSYBOX_IMAGE, "linux").shell("exit 7");
    let status = linux.start().await?.ended().await?;
    assert_eq!((status.exit_code, status.reason.as_str()), (7, "Error"));
    pod.remove().await
}

/// The pod's event says why: the reason is in the answer, and no process of the container has ever been.
#[tokio::test]
async fn a_refused_image_fails_with_the_reason() -> Result<()> {
    let (cri, image) = cri_with("refused").await?;
    let pod = cri.pod("refused").start().await?;
    let Err(error) = pod.container(&image, "app").start().await else {
        panic!("the image was not refused");
    };
    let error = format!("{error:#}");
    assert!(error.contains("must_understand lists"), "{error}");
    assert!(error.contains("teleportation"), "{error}");
    // What `kubectl describe` shows.
    let status = pod.status_of("app").await?;
    assert_eq!(status.state(), v1::ContainerState::ContainerExited);
    assert_eq!(
        (status.exit_code, status.reason.as_str()),
        (128, "StartError")
    );
    assert!(
        status.message.contains("teleportation"),
        "{}",
        status.message
    );
    // The pod is well: the next container runs.
    let hello = Packed::app("hello", Form::Rootfs)?;
    let hello = cri.import(hello.path()).await?;
    pod.container(&hello, "app-2").start().await?;
    assert_eq!(pod.get(80, "/").await?.status, StatusCode::OK);
    pod.remove().await
}

/// Images without a file system, where containerd unpacks them. The interface wants a command of a container, and
/// these images name none: any will do.
#[tokio::test]
async fn images_without_a_file_system() -> Result<()> {
    let cri = Cri::start().await?;
    if !cri.containerd().installation().unpacks_custom_layers() {
        let packed = Packed::app("hello", Form::Wasm)?;
        let Err(error) = cri.import(packed.path()).await else {
            panic!("this containerd unpacks what it should not");
        };
        let told = format!("{error:#}");
        assert!(told.contains("mismatched image rootfs"), "{told}");
        return Ok(());
    }
    let pod = cri.pod("artefacts").start().await?;
    for (form, port) in [(Form::Spin, 8080), (Form::Wasm, 8081)] {
        let image = cri.import(hello(form)?.path()).await?;
        let app = pod.container(&image, form.name()).port(port);
        app.command(&["/"]).start().await?;
        assert_eq!(pod.get(port, "/").await?.text(), "Hello from catena\n");
    }
    pod.remove().await
}

/// Images as they come to a node: pulled from a registry, in every form that containerd unpacks.
#[tokio::test]
async fn images_are_pulled_from_a_registry() -> Result<()> {
    let registry = Backing::registry()?;
    let cri = Cri::start().await?;
    let every = cri.containerd().installation().unpacks_custom_layers();
    let pod = cri.pod("pulled").start().await?;
    for (form, port) in [(Form::Rootfs, 8080), (Form::Spin, 8081), (Form::Wasm, 8082)] {
        let image = cri
            .containerd()
            .push(hello(form)?.path(), registry.address())?;
        let pulled = cri.pull(&image).await;
        if form != Form::Rootfs && !every {
            let told = format!("{:#}", pulled.err().context("it was unpacked")?);
            assert!(told.contains("mismatched image rootfs"), "{told}");
            continue;
        }
        pulled?;
        let app = pod.container(&image, form.name()).port(port);
        app.command(&["/"]).start().await?;
        assert_eq!(pod.get(port, "/").await?.text(), "Hello from catena\n");
    }
    pod.remove().await
}

/// `hello`, by a name that tells the form.
fn hello(form: Form) -> Result<Packed> {
    Packed::text(&MANIFEST.replace("NAME", form.name()), form)
}

/// `hello` by another name.
const MANIFEST: &str = r#"
spin_manifest_version = 2
[application]
name = "NAME"
[[trigger.http]]
route = "/..."
component = "hello"
[component.hello]
source = "GUESTS/hello.wasm"
"#;

/// A guest that takes more than the container may have: the kernel ends the worker, and the reason is told.
#[tokio::test]
async fn a_memory_limit_binds() -> Result<()> {
    let (cri, image) = cri_with("routes").await?;
    let pod = cri.pod("greedy").start().await?;
    let app = pod.container(&image, "app").port(8080);
    let app = app.resources(|limits| limits.memory_limit_in_bytes = 96 << 20);
    let app = app.start().await?;
    assert_eq!(pod.get(8080, "/allocate?mib=8").await?.text(), "8");
    assert!(pod.get(8080, "/allocate?mib=400").await.is_err());
    let status = app.ended().await?;
    assert_eq!(status.exit_code, 137);
    // The two events of the end reach the plugin on two ways.
    let started = Instant::now();
    while app.status().await?.reason != "OOMKilled" {
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{:?}",
            app.status().await?
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    pod.remove().await
}

/// Half a processor: in the cgroup, and in the number of threads that run guests.
#[tokio::test]
async fn a_processor_limit_binds() -> Result<()> {
    let (cri, image) = cri_with("hello").await?;
    let pod = cri.pod("slow").start().await?;
    let app = pod.container(&image, "app").resources(|limits| {
        limits.cpu_period = 100_000;
        limits.cpu_quota = 50_000;
        limits.cpu_shares = 512;
    });
    let app = app.start().await?;
    assert_eq!(pod.get(80, "/").await?.status, StatusCode::OK);
    let quota = match app.cgroup_file("cpu", "cpu.cfs_quota_us").await {
        Ok(quota) => quota,
        Err(_) => app.cgroup_file("cpu", "cpu.max").await?,
    };
    assert!(quota.starts_with("50000"), "{quota}");
    let mut runtime = 0;
    for thread in fs::read_dir(format!("/proc/{}/task", app.pid().await?))? {
        let name = fs::read_to_string(thread?.path().join("comm"))?;
        runtime += usize::from(name.starts_with("tokio"));
    }
    assert_eq!(runtime, 1);
    pod.remove().await
}

/// The numbers of the interface are those of the cgroup.
#[tokio::test]
async fn stats_are_those_of_the_cgroup() -> Result<()> {
    let (cri, image) = cri_with("routes").await?;
    let pod = cri.pod("measured").start().await?;
    let app = pod.container(&image, "app").port(8080).start().await?;
    for _ in 0..20 {
        pod.get(8080, "/allocate?mib=16").await?;
    }
    let cpu = async || -> Result<u64> {
        let text = match app.cgroup_file("cpuacct", "cpuacct.usage").await {
            Ok(text) => text,
            Err(_) => {
                let text = app.cgroup_file("cpu", "cpu.stat").await?;
                let micros = text.split_whitespace().nth(1).context("no usage")?;
                format!("{micros}000")
            }
        };
        Ok(text.trim().parse()?)
    };
    let before = cpu().await?;
    let stats = app.stats().await?;
    let after = cpu().await?;
    let told = stats.cpu.context("no cpu")?.usage_core_nano_seconds;
    let told = told.context("no usage")?.value;
    // Version 2 counts in microseconds.
    assert!(
        (before / 1000 * 1000..=after).contains(&told),
        "{before} {told} {after}"
    );
    assert!(told > 1_000_000, "{told} ns");
    let usage = match app.cgroup_file("memory", "memory.usage_in_bytes").await {
        Ok(text) => text,
        Err(_) => app.cgroup_file("memory", "memory.current").await?,
    };
    let usage: u64 = usage.trim().parse()?;
    let told = stats.memory.context("no memory")?.working_set_bytes;
    let told = told.context("no working set")?.value;
    // The working set is the usage without the file pages that nobody needs.
    assert!(
        told > 1 << 20 && told <= usage + (4 << 20),
        "{told} of {usage}"
    );
    let mut client = cri.client();
    let listed = client.list_container_stats(v1::ListContainerStatsRequest::default());
    let listed = listed.await?.into_inner().stats;
    let ids = listed.iter().filter_map(|stats| stats.attributes.as_ref());
    assert_eq!(ids.map(|of| &of.id).collect::<Vec<_>>(), [&app.id]);
    assert!(listed[0].cpu.is_some() && listed[0].memory.is_some());
    pod.remove().await
}

/// What a pod mounts and sets: an app's worker reads the file that a setting of it names, an ordinary container all.
#[tokio::test]
async fn mounts_and_variables_are_there() -> Result<()> {
    let (cri, image) = cri_with("outbound").await?;
    let config = cri.containerd().path("config-map");
    fs::create_dir(&config)?;
    fs::write(config.join("ca.pem"), "no certificate\n")?;
    fs::write(config.join("key"), "value\n")?;
    let pod = cri.pod("mounted").start().await?;
    let container = |name| {
        pod.container(&image, name)
            .mount(&config, "/etc/config")
            .env("SSL_CERT_FILE", "/etc/config/ca.pem")
    };
    // The variable is the app's: without it, it would be refused.
    let Err(error) = container("unset").start().await else {
        panic!("a required variable was missing");
    };
    assert!(format!("{error:#}").contains("server"), "{error:#}");
    let app = container("set").port(8080);
    let app = app.env("SPIN_VARIABLE_SERVER", "127.0.0.1:1");
    let app = app.start().await?;
    let inside = format!("/proc/{}/root/etc/config/key", app.pid().await?);
    assert_eq!(fs::read_to_string(&inside)?, "value\n");
    assert!(
        fs::write(&inside, "changed").is_err(),
        "the mount is read-only"
    );
    assert_eq!(
        pod.get(8080, "/~nobody/count").await?.status,
        StatusCode::OK
    );
    // It is read where it is mounted: one that is not there is an error.
    let missing = pod.container(&image, "missing").port(8081);
    let missing = missing
        .env("SPIN_VARIABLE_SERVER", "127.0.0.1:1")
        .env("SSL_CERT_FILE", "/etc/config/ca.pem");
    let Err(error) = missing.start().await else {
        panic!("the file is not there");
    };
    assert!(
        format!("{error:#}").contains("/etc/config/ca.pem"),
        "{error:#}"
    );
    let linux = pod.container(BUSYBOX_IMAGE, "linux");
    let linux = linux
        .mount(&config, "/etc/config")
        .env("GREETING", "hello from a variable")
        .shell("echo $GREETING; exec /bin/busybox cat /etc/config/key");
    let linux = linux.start().await?;
    assert_eq!(linux.ended().await?.exit_code, 0);
    linux.logs("hello from a variable").await?;
    linux.logs("value").await?;
    pod.remove().await
}

/// The restricted pod security standard: no root, nothing writable, no capability, seccomp.
#[tokio::test]
async fn a_restricted_pod_runs() -> Result<()> {
    let (cri, image) = cri_with("chain").await?;
    let pod = cri.pod("restricted").start().await?;
    let restrict = |context: &mut v1::LinuxContainerSecurityContext| {
        context.run_as_user = Some(v1::Int64Value { value: 1000 });
        context.run_as_group = Some(v1::Int64Value { value: 1000 });
        context.readonly_rootfs = true;
        context.no_new_privs = true;
        context.capabilities = Some(v1::Capability {
            drop_capabilities: vec!["ALL".to_owned()],
            ..Default::default()
        });
    };
    let app = pod.container(&image, "app").port(8080).security(restrict);
    let app = app.start().await?;
    let linux = pod.container(BUSYBOX_IMAGE, "linux").security(restrict);
    let linux = linux.shell("/bin/busybox id; exec /bin/busybox sleep 1000");
    let linux = linux.start().await?;
    linux.logs("uid=1000 gid=1000").await?;
    assert_eq!(pod.get(8080, "/").await?.status, StatusCode::OK);
    for pid in [app.pid().await?, linux.pid().await?] {
        assert_eq!(field(pid, "Uid")?, "1000\t1000\t1000\t1000");
        assert_eq!(field(pid, "Gid")?, "1000\t1000\t1000\t1000");
        assert_eq!(field(pid, "Seccomp")?, "2");
        assert_eq!(field(pid, "NoNewPrivs")?, "1");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(u64::from_str_radix(&field(pid, set)?, 16)?, 0, "{set}");
        }
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
        let root = mounts
            .lines()
            .find(|line| line.split(' ').nth(4) == Some("/"));
        let root = root.context("no root")?;
        assert!(
            root.split(' ')
                .nth(5)
                .is_some_and(|how| how.starts_with("ro")),
            "{root}"
        );
    }
    pod.remove().await
}

/// What a kubelet mounts into every container, where nothing in the image is there for it and the root is read-only.
#[tokio::test]
async fn the_mounts_of_a_kubelet_find_their_places() -> Result<()> {
    let (cri, image) = cri_with("outbound").await?;
    let folder = cri.containerd().path("kubelet");
    let token = folder.join("serviceaccount");
    fs::create_dir_all(&token)?;
    fs::write(token.join("token"), "secret")?;
    let [hosts, message] = ["hosts", "termination-log"].map(|name| folder.join(name));
    fs::write(&hosts, "127.0.0.1 localhost\n127.0.0.1 upstream.example\n")?;
    fs::write(&message, "")?;
    let pod = cri.pod("mounting").start().await?;
    let upstream = pod.container(BUSYBOX_IMAGE, "upstream");
    let script = "echo found > /tmp/index.html; exec /bin/busybox httpd -f -p 8081 -h /tmp";
    upstream.shell(script).start().await?;
    let place = "/var/run/secrets/kubernetes.io/serviceaccount";
    let app = pod.container(&image, "app").port(8080);
    let app = app
        .env("SPIN_VARIABLE_SERVER", "upstream.example:8081")
        .mount_writable(&hosts, "/etc/hosts")
        .mount_writable(&message, "/dev/termination-log")
        .mount(&token, place)
        .security(|context| context.readonly_rootfs = true);
    let app = app.start().await?;
    let root = format!("/proc/{}/root", app.pid().await?);
    assert_eq!(
        fs::read_to_string(format!("{root}{place}/token"))?,
        "secret"
    );
    fs::write(format!("{root}/dev/termination-log"), "written")?;
    assert_eq!(fs::read_to_string(&message)?, "written");
    // The name is known from the file that was mounted.
    let url = "http%3A%2F%2Fupstream.example%3A8081%2F";
    let answer = pod.get(8080, &format!("/~one/call?url={url}")).await?;
    assert!(answer.text().contains("found"), "{}", answer.text());
    pod.remove().await
}

/// A container that has ended is made again under its name, as often as a kubelet likes.
#[tokio::test]
async fn a_container_is_made_again_in_its_pod() -> Result<()> {
    let (cri, image) = cri_with("routes").await?;
    let pod = cri.pod("again").start().await?;
    let mut last = None;
    for attempt in 0..3 {
        let app = pod.container(&image, "app").port(8080).attempt(attempt);
        let app = app.start().await?;
        assert_eq!(pod.get(8080, "/count").await?.text(), "1");
        app.stop(10).await?;
        assert_eq!(app.ended().await?.exit_code, 0);
        last = Some(app);
    }
    let last = last.context("no attempt")?;
    last.remove().await?;
    cri.containerd().nothing_is_left_of(&last.id)?;
    pod.remove().await
}

/// A setting of the kernel is the pod's.
#[tokio::test]
async fn a_pod_has_its_own_settings_of_the_kernel() -> Result<()> {
    let (cri, image) = cri_with("hello").await?;
    let pod = cri
        .pod("set")
        .sysctl("net.ipv4.ip_unprivileged_port_start", "0");
    let pod = pod.start().await?;
    // So a user other than root may listen at 80.
    let app = pod.container(&image, "app");
    let app = app.security(|context| context.run_as_user = Some(v1::Int64Value { value: 1000 }));
    app.start().await?;
    assert_eq!(pod.get(80, "/").await?.status, StatusCode::OK);
    pod.remove().await
}

/// A kubelet names the cgroup. It is its to remove, and empty then.
#[tokio::test]
async fn a_pod_is_in_the_cgroup_that_is_asked_for() -> Result<()> {
    let (cri, image) = cri_with("hello").await?;
    let pod = cri.pod("grouped").start().await?;
    let app = pod.container(&image, "app").start().await?;
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", app.pid().await?))?;
    let parent = pod.cgroup_parent().to_owned();
    assert!(groups.contains(&format!("{parent}/{}", app.id)), "{groups}");
    pod.remove().await?;
    let mut hierarchies = vec![PathBuf::from("/sys/fs/cgroup")];
    for entry in fs::read_dir("/sys/fs/cgroup")? {
        hierarchies.push(entry?.path());
    }
    let mut removed = 0;
    for hierarchy in hierarchies {
        let folder = hierarchy.join(parent.trim_start_matches('/'));
        if folder.exists() {
            // Only an empty one can be.
            fs::remove_dir(&folder).with_context(|| folder.display().to_string())?;
            removed += 1;
        }
    }
    assert!(removed > 0, "{groups}");
    Ok(())
}

/// The shim of a pod is killed: containerd hears that all in it ended, and the pod can be removed.
#[tokio::test]
async fn a_killed_shim_is_the_end_of_a_pods_containers() -> Result<()> {
    let (cri, image) = cri_with("hello").await?;
    let pod = cri.pod("bereft").start().await?;
    let app = pod.container(&image, "app").start().await?;
    assert_eq!(pod.get(80, "/").await?.status, StatusCode::OK);
    let shims = cri.containerd().shims();
    let [shim] = shims[..] else {
        anyhow::bail!("{shims:?}");
    };
    kill(Pid::from_raw(shim), Signal::SIGKILL)?;
    // What its exit code was, nobody is there to tell: containerd's own word for that is 255.
    let status = app.ended().await?;
    assert_eq!(status.exit_code, 255, "{status:?}");
    let names = [pod.id.clone(), app.id.clone()];
    pod.remove().await?;
    for name in names {
        cri.containerd().nothing_is_left_of(&name)?;
    }
    Ok(())
}

/// How many lines an application writes while containerd is restarted.
const LINES: usize = 60;

/// Pods outlive containerd, and obey it when it is back. What they wrote meanwhile is in their logs.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_survives_a_restart_of_containerd() -> Result<()> {
    let (mut cri, image) = cri_with("routes").await?;
    let (pod_id, id, address, log) = {
        let pod = cri.pod("steady").start().await?;
        let app = pod.container(&image, "app").port(8080).start().await?;
        let log = app.log_file().to_owned();
        (pod.id.clone(), app.id, pod.address(8080)?, log)
    };
    let mut writing = JoinSet::new();
    writing.spawn(async move {
        let mut client = Client::http1(address).await?;
        for line in 0..LINES {
            let path = format!("/print?out=line-{line}-&err=none");
            assert_eq!(client.get(&path).await?.status, StatusCode::OK);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    });
    cri.restart().await?;
    let written = writing.join_next().await.context("nobody wrote")?;
    written??;
    let started = Instant::now();
    loop {
        let text = fs::read_to_string(&log)?;
        let lines: Vec<_> = text.lines().filter(|line| line.contains("line-")).collect();
        let in_order = |(number, line): (usize, &&str)| line.contains(&format!("line-{number}-"));
        if lines.len() == LINES && lines.iter().enumerate().all(in_order) {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut client = cri.client();
    let request = v1::ContainerStatusRequest {
        container_id: id.clone(),
        verbose: false,
    };
    let status = client
        .container_status(request.clone())
        .await?
        .into_inner()
        .status;
    let status = status.context("no status")?;
    assert_eq!(status.state(), v1::ContainerState::ContainerRunning);
    let stop = v1::StopContainerRequest {
        container_id: id.clone(),
        timeout: 10,
    };
    client.stop_container(stop).await?;
    let status = client.container_status(request).await?.into_inner().status;
    assert_eq!(status.context("no status")?.exit_code, 0);
    cri.remove_pod(&pod_id).await?;
    for name in [pod_id, id] {
        cri.containerd().nothing_is_left_of(&name)?;
    }
    Ok(())
}
