//! What `deploy/` makes: the bundle, the installer and its image, on nodes of every kind. As root.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use catena_test::output::Lines;
use catena_test::pack::{self, Form};
use catena_test::{Client, Containerd, Node, Packed, node, workspace};
use tokio::task::JoinSet;

const CONTAINERD: &str = "etc/containerd/config.toml";
const K3S: &str = "var/lib/rancher/k3s/agent/etc/containerd";
const RKE2: &str = "var/lib/rancher/rke2/agent/etc/containerd";
const SPIN: &str = "usr/local/bin/containerd-shim-spin-v2";

/// containerd 1.x as kubeadm's users have it; without an end of line at its end.
const VERSION_2: &str = r#"version = 2
[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "registry.test/pause:1"
    [plugins."io.containerd.grpc.v1.cri".containerd]
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes]
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
          runtime_type = "io.containerd.runc.v2"
          [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
            SystemdCgroup = true"#;

const VERSION_3: &str =
    "version = 3\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\n  sandbox = 'p'\n";

const ENTRY_2: &str = r#"[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.catena]"#;
const ENTRY_3: &str = "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.catena]";
const RUNC_2: &str = r#"[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]"#;
const BASE: &str = r#"{{ template "base" . }}"#;

/// What `ctr run` gives a container and deploy/chart/catena/values.yaml does not.
const DROPPED: [&str; 10] = [
    "CAP_FSETID",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A starting point and what has to become of it.
struct Case {
    what: &'static str,
    service: &'static str,
    before: Vec<(String, String)>,
    /// The file that gets the entry, and what it has to hold once each.
    file: String,
    holds: &'static [&'static str],
}

fn case(
    what: &'static str,
    service: &'static str,
    before: &[(&str, &str)],
    file: &str,
    holds: &'static [&'static str],
) -> Case {
    let own = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
    Case {
        what,
        service,
        before: before.iter().map(own).collect(),
        file: file.to_owned(),
        holds,
    }
}

fn cases() -> Vec<Case> {
    let importing = |text: &str| format!("imports = ['/etc/containerd/conf.d/*.toml']\n{text}");
    let k3s = |file: &str| format!("{K3S}/{file}");
    let drop_ins =
        format!("imports = [\n  \"/{K3S}/config-v3.toml.d/*.toml\", # all\n]\n{VERSION_3}");
    vec![
        case(
            "containerd without a configuration",
            "containerd",
            &[("etc/containerd/.keep", "")],
            CONTAINERD,
            &["version = 2", RUNC_2, ENTRY_2],
        ),
        case(
            "containerd 1.x",
            "containerd",
            &[(CONTAINERD, VERSION_2)],
            CONTAINERD,
            &["version = 2", RUNC_2, ENTRY_2, "sandbox_image"],
        ),
        case(
            "containerd 1.x without runtimes",
            "containerd",
            &[(CONTAINERD, "version = 2\nroot = \"/r\"\n")],
            CONTAINERD,
            &["version = 2", RUNC_2, ENTRY_2],
        ),
        case(
            "containerd 1.x whose import replaces CRI's section",
            "containerd",
            &[
                (CONTAINERD, &importing("version = 2\n")),
                ("etc/containerd/conf.d/cri.toml", VERSION_2),
                ("etc/containerd/conf.d/other.toml", "version = 2\n"),
            ],
            "etc/containerd/conf.d/cri.toml",
            &["version = 2", RUNC_2, ENTRY_2],
        ),
        case(
            "containerd 2.x",
            "containerd",
            &[(CONTAINERD, VERSION_3)],
            CONTAINERD,
            &["version = 3", ENTRY_3],
        ),
        case(
            "containerd 2.x that imports",
            "containerd",
            &[(CONTAINERD, &importing(VERSION_3))],
            "etc/containerd/conf.d/50-catena.toml",
            &["version = 3", ENTRY_3],
        ),
        case(
            "k3s with containerd 1.x",
            "k3s",
            &[(&k3s("config.toml"), VERSION_2)],
            &k3s("config.toml.tmpl"),
            &[BASE, ENTRY_2],
        ),
        case(
            "k3s with containerd 2.x",
            "k3s",
            &[(&k3s("config.toml"), VERSION_3)],
            &k3s("config-v3.toml.tmpl"),
            &[BASE, ENTRY_3],
        ),
        case(
            "k3s that imports",
            "k3s-agent",
            &[(&k3s("config.toml"), &drop_ins)],
            &k3s("config-v3.toml.d/50-catena.toml"),
            &["version = 3", ENTRY_3],
        ),
        case(
            "k3s with a template of somebody's",
            "k3s",
            &[
                (&k3s("config.toml"), VERSION_3),
                (
                    &k3s("config-v3.toml.tmpl"),
                    "{{ template \"base\" . }}\n# mine\n",
                ),
            ],
            &k3s("config-v3.toml.tmpl"),
            &[BASE, "# mine", ENTRY_3],
        ),
        case(
            "k3s with an older template of somebody's",
            "k3s",
            &[
                (&k3s("config.toml"), VERSION_2),
                (&k3s("config.toml.tmpl"), VERSION_2),
            ],
            &k3s("config.toml.tmpl"),
            &[RUNC_2, ENTRY_2],
        ),
        case(
            "rke2",
            "rke2-agent",
            &[(&format!("{RKE2}/config.toml"), VERSION_3)],
            &format!("{RKE2}/config-v3.toml.tmpl"),
            &[BASE, ENTRY_3],
        ),
    ]
}

/// On every kind of node the entry gets to where its containerd reads it, once; a second installation changes and
/// restarts nothing; and to uninstall leaves the node as it was, to the byte.
#[test]
fn every_kind_of_node_is_configured_and_restored() -> Result<()> {
    for case in cases() {
        let what = case.what;
        let node = Node::new()?;
        node.with_service(case.service)?;
        for (path, text) in &case.before {
            node.write(path, text)?;
        }
        let before = node.files()?;

        node.run_ok("install", &[]).context(what)?;
        let text = node.read(&case.file).context(what)?;
        for part in case.holds {
            assert_eq!(text.matches(part).count(), 1, "{what}: {part} in\n{text}");
        }
        let systemd = before
            .values()
            .any(|bytes| bytes.ends_with(b"SystemdCgroup = true"));
        let options = node.read("etc/catena/shim.toml")?;
        assert!(
            options.contains(&format!("SystemdCgroup = {systemd}")),
            "{what}: {options}"
        );
        let restart = format!("restart {}", case.service);
        assert_eq!(node.restarts(), [&*restart], "{what}");
        let status = node.run_ok("status", &[]).context(what)?;
        assert!(
            status.contains(&format!("configured: /{}", case.file)),
            "{what}: {status}"
        );

        let after = node.files()?;
        assert_eq!(
            node.run_ok("install", &[])?,
            "",
            "{what}: nothing is left to do"
        );
        assert!(
            after == node.files()?,
            "{what}: the second installation changed a file"
        );

        node.run_ok("uninstall", &[]).context(what)?;
        let left = node.files()?;
        assert!(
            left == before,
            "{what}: {:?} and {:?}",
            left.keys(),
            before.keys()
        );
        assert_eq!(node.restarts(), [&*restart, &*restart], "{what}");
    }
    Ok(())
}

/// Where the restart is left to people, it is said until it is done.
#[test]
fn a_restart_that_is_due_is_not_forgotten() -> Result<()> {
    let node = Node::new()?;
    node.with_service("containerd")?;
    node.write(CONTAINERD, VERSION_2)?;
    let said = node.run_ok("install", &[("RESTART", "0")])?;
    assert!(said.contains("restart containerd"), "{said}");
    assert!(
        !node.run("status", &[])?.success,
        "containerd does not know of it yet"
    );
    node.run_ok("install", &[])?;
    assert_eq!(node.restarts(), ["restart containerd"]);
    node.run_ok("status", &[])?;
    Ok(())
}

/// Pods of systemd's cgroups run with version 2 only, and the installer says so first.
#[test]
fn systemd_with_version_1_of_cgroups_is_warned_of() -> Result<()> {
    let warning = "this node has version 1 of cgroups";
    let node = Node::new()?;
    node.with_service("containerd")?;
    node.write(CONTAINERD, VERSION_2)?;
    node.write("sys/fs/cgroup/cgroup.controllers", "cpu memory\n")?;
    let said = node.run_ok("install", &[])?;
    assert!(!said.contains(warning), "{said}");
    std::fs::remove_file(node.path("sys/fs/cgroup/cgroup.controllers"))?;
    node.write("sys/fs/cgroup/systemd/tasks", "")?;
    let said = node.run_ok("install", &[])?;
    assert!(said.contains(warning), "{said}");
    let said = node.run_ok("install", &[("SYSTEMD_CGROUP", "false")])?;
    assert!(!said.contains(warning), "{said}");
    Ok(())
}

/// What somebody else wrote is left alone, and what cannot be understood is refused before it is touched.
#[test]
fn what_others_wrote_stays() -> Result<()> {
    let node = Node::new()?;
    node.with_service("containerd")?;
    let own = format!("{VERSION_2}\n{ENTRY_2}\n  runtime_type = \"io.containerd.catena.v1\"\n");
    node.write(CONTAINERD, &own)?;
    node.write("etc/catena/shim.toml", "SystemdCgroup = true\n")?;
    node.run_ok("install", &[])?;
    node.run_ok("status", &[])?;
    assert!(node.restarts().is_empty());
    node.run_ok("uninstall", &[])?;
    assert_eq!(node.read(CONTAINERD)?, own);
    assert_eq!(node.read("etc/catena/shim.toml")?, "SystemdCgroup = true\n");

    // Version 1, which is what a file without one is.
    node.write(CONTAINERD, "[plugins.cri]\n")?;
    let output = node.run("install", &[])?;
    assert!(
        !output.success && output.stderr.contains("containerd config migrate"),
        "{output:?}"
    );
    assert_eq!(node.read(CONTAINERD)?, "[plugins.cri]\n");

    // Docker's own, which serves no CRI.
    node.write(CONTAINERD, "disabled_plugins = [\"cri\"]\n")?;
    let said = node.run_ok("install", &[])?;
    assert!(said.contains("CRI is disabled"), "{said}");

    // What changed in between stays when the entry goes.
    node.write(CONTAINERD, VERSION_2)?;
    node.run_ok("install", &[])?;
    let changed = node
        .read(CONTAINERD)?
        .replace("registry.test", "other.test");
    node.write(CONTAINERD, &format!("{changed}# more\n"))?;
    node.run_ok("uninstall", &[])?;
    let expected = format!(
        "{}\n# more\n",
        VERSION_2.replace("registry.test", "other.test")
    );
    assert_eq!(node.read(CONTAINERD)?, expected);
    Ok(())
}

/// Another shim's place is taken, and given back.
#[test]
fn another_shim_is_stood_in_for_and_comes_back() -> Result<()> {
    let node = Node::new()?;
    node.write(SPIN, "the other shim")?;
    for drop_in in ["auto", "/usr/local/bin/containerd-shim-spin-v2"] {
        let settings = [("RUNTIME", "none"), ("DROP_IN", drop_in)];
        node.run_ok("install", &settings)?;
        let version = pack::run(node.command("/bin/sh").args(["-c", &format!("/{SPIN} -v")]))?;
        assert!(
            version.stdout.contains("containerd-shim-spin-v2"),
            "{version:?}"
        );
        node.run_ok("uninstall", &settings)?;
        assert_eq!(node.read(SPIN)?, "the other shim");
    }
    Ok(())
}

/// A version that containers run from stays until they have ended.
#[tokio::test]
async fn an_update_keeps_the_version_that_runs() -> Result<()> {
    let node = Node::new()?;
    node.run_ok("install", &[("RUNTIME", "none")])?;
    let old = node.installed()?;

    let next = tempfile::tempdir()?;
    let binary = next.path().join("containerd-shim-catena-v1");
    // The same, and yet another version.
    let mut objcopy = Command::new("objcopy");
    objcopy
        .arg("--add-section")
        .arg(format!(".catena.test={}", file!()));
    objcopy
        .current_dir(workspace::root())
        .arg(workspace::binary()?)
        .arg(&binary);
    assert!(objcopy.status()?.success());
    let bundle = next.path().join("bundle");
    let new = node::make_bundle(&binary, &bundle, Path::new("/opt/catena"))?;
    assert_ne!(old, new);
    let bundle = bundle.to_string_lossy();
    let settings = [("RUNTIME", "none"), ("BUNDLE", &*bundle)];

    let mut running = serve(&node).await?;
    let said = node.run_ok("install", &settings)?;
    assert_eq!(node.installed()?, new);
    assert!(said.contains(&format!("kept {old}")), "{said}");
    running.child.kill().await?;
    let said = node.run_ok("install", &settings)?;
    assert!(said.contains(&format!("removed {old}")), "{said}");
    assert!(!node.path("opt/catena").join(&old).exists());
    Ok(())
}

/// A copy that was damaged is replaced.
#[test]
fn a_damaged_copy_is_mended() -> Result<()> {
    let node = Node::new()?;
    node.run_ok("install", &[("RUNTIME", "none")])?;
    let library = format!("opt/catena/{}/lib/libm.so.6", node.installed()?);
    let sound = fs::read(node.path(&library))?;
    node.write(&library, "damaged")?;
    node.run_ok("install", &[("RUNTIME", "none")])?;
    assert!(fs::read(node.path(&library))? == sound);
    Ok(())
}

/// Installed on a node with no C library at all, catena compiles and serves an application.
#[tokio::test]
async fn the_bundle_runs_without_the_nodes_libraries() -> Result<()> {
    let node = Node::new()?;
    node.run_ok("install", &[("RUNTIME", "none")])?;
    let mut running = serve(&node).await?;
    let response = Client::http1(running.address).await?.get("/").await?;
    assert_eq!(response.status, 200);
    running.child.kill().await?;
    Ok(())
}

/// `catena run` on a node.
struct Served {
    child: tokio::process::Child,
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

async fn serve(node: &Node) -> Result<Served> {
    let packed = Packed::app("hello", Form::Rootfs)?;
    fs::copy(packed.path(), node.path("hello.tar"))?;
    let mut command = tokio::process::Command::from(node.command("/usr/local/bin/catena"));
    let mut child = command
        .args(["run", "/hello.tar", "--listen", "127.0.0.1:0"])
        .env("CATENA_CACHE_DIR", "/var/cache/catena")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut tasks = JoinSet::new();
    let stdout = child.stdout.take().context("taking stdout")?;
    let stderr = child.stderr.take().context("taking stderr")?;
    let output = Lines::follow(vec![Box::new(stdout), Box::new(stderr)], &mut tasks);
    let line = output.wait_for(" on http://").await?;
    let address = line
        .split(" on http://")
        .nth(1)
        .and_then(|rest| rest.split(|c: char| c == '/' || c.is_whitespace()).next())
        .and_then(|address| address.parse().ok());
    Ok(Served {
        child,
        address: address.with_context(|| format!("no address in {line:?}"))?,
        _tasks: tasks,
    })
}

/// The installer's image, with the privileges that the DaemonSet gives it and no other, installs on a node.
#[test]
fn the_image_installs_with_the_daemon_sets_privileges() -> Result<()> {
    let node = Node::new()?;
    node.with_service("containerd")?;
    node.write(CONTAINERD, VERSION_2)?;
    let before = node.files()?;
    let folder = tempfile::tempdir()?;
    let archive = folder.path().join("installer.tar");
    let name = node::make_image(&node::bundle()?, &archive)?;
    let again = folder.path().join("again.tar");
    node::make_image(&node::bundle()?, &again)?;
    assert!(
        fs::read(&archive)? == fs::read(&again)?,
        "the same content gives the same image"
    );

    let containerd = Containerd::start()?;
    assert_eq!(containerd.import(&archive)?, name);
    let mount = format!(
        "type=bind,src={},dst=/host,options=rbind:rw",
        node.path("").display()
    );
    for action in ["install", "status", "uninstall"] {
        let mut arguments = vec!["run", "--rm", "--runtime", "io.containerd.runc.v2"];
        arguments.extend(["--read-only", "--env", "HOST_ROOT=/host"]);
        arguments.extend(["--mount", &mount, "--cap-add", "CAP_SYS_PTRACE"]);
        for dropped in DROPPED {
            arguments.extend(["--cap-drop", dropped]);
        }
        arguments.extend([&*name, action, "/install.sh", action]);
        let said = containerd.ctr_ok(&arguments)?;
        if action == "install" {
            assert!(said.contains("restarted containerd"), "{said}");
            assert_eq!(node.restarts().len(), 1);
        }
    }
    assert!(node.files()? == before);
    Ok(())
}

/// On this machine, into a folder: containerd reads what was written, and runs an application with what was installed,
/// by catena's name and as the drop-in of containerd-shim-spin.
#[tokio::test]
async fn containerd_runs_what_was_installed() -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("catena-installed-")
        .tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let version = node::make_bundle(&workspace::binary()?, &at("bundle"), &at("opt"))?;
    fs::write(at("config.toml"), VERSION_2)?;
    fs::create_dir(at("bin"))?;
    let paths = [
        ("PREFIX", at("opt")),
        ("BUNDLE", at("bundle")),
        ("BIN_DIR", at("bin")),
        ("SHIM_TOML", at("catena/shim.toml")),
        ("CACHE_DIR", at("cache/catena")),
        ("CONTAINERD_CONFIG", at("config.toml")),
        ("DROP_IN", at("bin/containerd-shim-spin-v2")),
    ];
    let mut settings: Vec<(&str, &OsStr)> = paths
        .iter()
        .map(|(name, path)| (*name, path.as_os_str()))
        .collect();
    settings.extend([
        ("RUNTIME", OsStr::new("containerd")),
        ("RESTART", OsStr::new("0")),
    ]);
    let output = node::install_sh("install", &settings)?;
    assert!(output.success, "{output:?}");

    let mut dump = Command::new("containerd");
    let dump = pack::run(
        dump.arg("--config")
            .arg(at("config.toml"))
            .args(["config", "dump"]),
    )?;
    for part in [
        ENTRY_2,
        RUNC_2,
        "registry.test/pause:1",
        "SystemdCgroup = true",
        "shim.toml",
    ] {
        assert!(dump.stdout.contains(part), "{part} in {dump:?}");
    }

    let containerd = Containerd::start()?;
    for name in ["containerd-shim-catena-v1", "containerd-shim-spin-v2"] {
        let link = containerd.path("bin").join(name);
        _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(at("bin").join(name), link)?;
    }
    let packed = Packed::app("hello", Form::Rootfs)?;
    let image = containerd.import(packed.path())?;
    for runtime in ["io.containerd.catena.v1", "io.containerd.spin.v2"] {
        let id = runtime.replace('.', "-");
        let task = containerd
            .container(&image, &id)
            .flags(&["--runtime", runtime])
            .start()?;
        let exe = fs::read_link(format!("/proc/{}/exe", task.pid))?;
        assert!(
            exe.starts_with(at("opt").join(&version)),
            "{}",
            exe.display()
        );
        let response = Client::http1(task.address()?).await?.get("/").await?;
        assert_eq!(response.status, 200);
        containerd.ctr_ok(&["tasks", "delete", "--force", &id])?;
        containerd.ctr_ok(&["containers", "delete", &id])?;
        containerd.nothing_is_left_of(&id)?;
    }
    let output = node::install_sh("uninstall", &settings)?;
    assert!(output.success, "{output:?}");
    assert_eq!(fs::read_to_string(at("config.toml"))?, VERSION_2);
    assert_eq!(fs::read_dir(at("bin"))?.count(), 0);
    Ok(())
}
