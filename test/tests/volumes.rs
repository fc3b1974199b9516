//! What components see of their pod: the volumes that it mounts, and its environment. Pods are made through
//! containerd's CRI plugin, as a kubelet asks for them; this needs what `cri.rs` needs.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use anyhow::{Context, Result};
use catena_test::client::encode;
use catena_test::cri::{BUSYBOX_IMAGE, Container, Sandbox, Volume, v1};
use catena_test::pack::{Form, Packed};
use catena_test::{Catena, Cri};

/// What a kubelet mounts into every container.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A daemon that has the app, and its image's name.
async fn start() -> Result<(Cri, String)> {
    let cri = Cri::start().await?;
    let packed = Packed::app("volumes", Form::Rootfs)?;
    let image = cri.import(packed.path()).await?;
    Ok((cri, image))
}

/// A folder of the node that everybody may write to, as an emptyDir is.
fn empty_dir(cri: &Cri, name: &str) -> Result<PathBuf> {
    let folder = cri.containerd().path(name);
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, Permissions::from_mode(0o777))?;
    Ok(folder)
}

/// The application at port 8080, to which `volumes` are given.
fn app<'a>(pod: &'a Sandbox<'a>, image: &str, volumes: &str) -> Container<'a> {
    let app = pod.container(image, "app").port(8080);
    app.env("CATENA_GUEST_VOLUMES", volumes)
}

/// Status and text of the answer to a question.
async fn ask(pod: &Sandbox<'_>, path: &str) -> Result<(u16, String)> {
    let answer = pod.get(8080, path).await?;
    Ok((answer.status.as_u16(), answer.text()))
}

/// The text of a file, as the components see it that `prefix` leads to.
async fn file(pod: &Sandbox<'_>, prefix: &str, path: &str) -> Result<(u16, String)> {
    ask(pod, &format!("{prefix}/file?path={}", encode(path))).await
}

async fn write(pod: &Sandbox<'_>, prefix: &str, path: &str) -> Result<(u16, String)> {
    ask(
        pod,
        &format!("{prefix}/write?path={path}&text=written+here"),
    )
    .await
}

/// What a component can do with paths that go to the host as they are.
async fn raw(pod: &Sandbox<'_>, act: &str, volume: &str, path: &str) -> Result<(u16, String)> {
    let path = encode(path);
    ask(pod, &format!("/raw?act={act}&volume={volume}&path={path}")).await
}

fn ok(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

/// A ConfigMap, a Secret and a token, over both versions of WASI; and what a kubelet changes in them is seen at once.
#[tokio::test]
async fn what_a_kubelet_writes_is_read() -> Result<()> {
    let (cri, image) = start().await?;
    let folder = |name| cri.containerd().path(name);
    let mut config = Volume::new(folder("config"))?;
    config.write(&[("key", "first"), ("other", "same")])?;
    let mut secret = Volume::new(folder("secret"))?.mode(0o400);
    secret.write(&[("password", "hunter2")])?;
    let mut token = Volume::new(folder("token"))?;
    token.write(&[("token", "jwt-1")])?;
    let pod = cri.pod("reading").start().await?;
    let app = app(&pod, &image, &format!("/etc/config,web=/secret/,{TOKEN}"));
    let app = app
        .mount(config.path(), "/etc/config")
        .mount(secret.path(), "/secret")
        .mount(token.path(), TOKEN)
        .mount(&empty_dir(&cri, "unasked")?, "/unasked");
    let app = app.start().await?;

    for prefix in ["", "/~other", "/~p3"] {
        assert_eq!(file(&pod, prefix, "/etc/config/key").await?, ok("first"));
        let path = format!("{TOKEN}/token");
        assert_eq!(file(&pod, prefix, &path).await?, ok("jwt-1"));
        let (status, error) = write(&pod, prefix, "/etc/config/key").await?;
        assert_eq!(status, 403, "{error}");
    }
    let names = file(&pod, "", "/etc/config").await?.1;
    assert_eq!(names, "..2026_11_21_12_00_00.1\n..data\nkey\nother");
    // A secret of root's, for a container of root's; and for one component only.
    assert_eq!(file(&pod, "", "/secret/password").await?, ok("hunter2"));
    for prefix in ["/~other", "/~p3"] {
        assert_eq!(file(&pod, prefix, "/secret/password").await?.0, 403);
    }
    let folders = format!("/\n/etc/config\n/secret\n{TOKEN}");
    assert_eq!(ask(&pod, "/folders").await?, ok(&folders));
    // A volume covers what the image has there, and nothing beside it.
    assert_eq!(file(&pod, "", "/etc/config/only-here").await?.0, 403);
    assert_eq!(
        file(&pod, "", "/etc/note").await?,
        ok("a note of the image\n")
    );

    config.write(&[("key", "second"), ("new", "file")])?;
    token.write(&[("token", "jwt-2")])?;
    for prefix in ["", "/~p3"] {
        assert_eq!(file(&pod, prefix, "/etc/config/key").await?, ok("second"));
        assert_eq!(file(&pod, prefix, "/etc/config/new").await?, ok("file"));
        let path = format!("{TOKEN}/token");
        assert_eq!(file(&pod, prefix, &path).await?, ok("jwt-2"));
    }
    app.stop(10).await?;
    app.remove().await?;
    cri.containerd().nothing_is_left_of(&app.id)?;
    pod.remove().await
}

/// A pod of a user that is not root, with a group for its volumes: it may what the user and the group may.
#[tokio::test]
async fn a_pod_that_is_not_root_reads_what_it_may() -> Result<()> {
    let (cri, image) = start().await?;
    let folder = |name| cri.containerd().path(name);
    let mut ours = Volume::new(folder("ours"))?.mode(0o440).of_group(2000)?;
    ours.write(&[("password", "hunter2")])?;
    let mut theirs = Volume::new(folder("theirs"))?.mode(0o400);
    theirs.write(&[("password", "of root")])?;
    let data = empty_dir(&cri, "data")?;
    let pod = cri.pod("restricted").start().await?;
    let app = app(&pod, &image, "all,/data:rw").security(|context| {
        context.run_as_user = Some(v1::Int64Value { value: 1000 });
        context.run_as_group = Some(v1::Int64Value { value: 1000 });
        context.supplemental_groups = vec![2000];
        context.readonly_rootfs = true;
        context.no_new_privs = true;
        context.capabilities = Some(v1::Capability {
            drop_capabilities: vec!["ALL".to_owned()],
            ..Default::default()
        });
    });
    let app = app
        .mount(ours.path(), "/ours")
        .mount(theirs.path(), "/theirs")
        .mount_writable(&data, "/data");
    app.start().await?;
    for prefix in ["", "/~p3"] {
        assert_eq!(file(&pod, prefix, "/ours/password").await?, ok("hunter2"));
        assert_eq!(file(&pod, prefix, "/theirs/password").await?.0, 403);
        assert_eq!(write(&pod, prefix, "/data/mine").await?.0, 200);
        assert_eq!(file(&pod, prefix, "/data/mine").await?, ok("written+here"));
    }
    // All that the user mounted, and nothing that every container has.
    let folders = "/\n/data\n/ours\n/theirs";
    assert_eq!(ask(&pod, "/folders").await?, ok(folders));
    pod.remove().await
}

/// An emptyDir between a component and an ordinary container: to be written only where that was said.
#[tokio::test]
async fn a_sidecar_and_a_component_share_a_folder() -> Result<()> {
    let (cri, image) = start().await?;
    let data = empty_dir(&cri, "data")?;
    let closed = empty_dir(&cri, "closed")?;
    let pod = cri.pod("sharing").start().await?;
    let sidecar = pod.container(BUSYBOX_IMAGE, "sidecar");
    let script = "echo from the sidecar > /shared/note; exec /bin/busybox sleep 1000";
    let sidecar = sidecar.mount_writable(&data, "/shared").shell(script);
    let sidecar = sidecar.start().await?;
    let app = app(&pod, &image, "/data,web=/data:rw,p3=/data:rw,/closed");
    let app = app
        .mount_writable(&data, "/data")
        .mount_writable(&closed, "/closed");
    app.start().await?;

    let wait = "until [ -s /shared/note ]; do /bin/busybox sleep 1; done";
    let waited = sidecar.exec(&["/bin/busybox", "sh", "-c", wait]).await?;
    assert_eq!(waited.0, 0);
    for prefix in ["", "/~other", "/~p3"] {
        let note = file(&pod, prefix, "/data/note").await?;
        assert_eq!(note, ok("from the sidecar\n"));
    }
    for (prefix, name) in [("", "web"), ("/~p3", "p3")] {
        let path = format!("/data/{name}");
        assert_eq!(write(&pod, prefix, &path).await?.0, 200);
        let path = format!("/shared/{name}");
        let shown = sidecar.exec(&["/bin/busybox", "cat", &path]).await?;
        assert_eq!(shown, (0, "written+here".to_owned()));
        assert_eq!(write(&pod, prefix, "/closed/file").await?.0, 403);
    }
    assert_eq!(raw(&pod, "mkdir", "/data", "folder").await?.0, 200);
    assert!(data.join("folder").is_dir());
    assert_eq!(raw(&pod, "remove", "/data", "note").await?.0, 200);
    assert_eq!(write(&pod, "/~other", "/data/other").await?.0, 403);
    assert_eq!(fs::read_dir(&closed)?.count(), 0);
    pod.remove().await
}

/// A component that means ill gets at nothing but its volume: not by `..`, not by links, not over a mount in it.
#[tokio::test]
async fn a_volume_has_no_way_out() -> Result<()> {
    let (cri, image) = start().await?;
    let data = empty_dir(&cri, "data")?;
    let closed = empty_dir(&cri, "closed")?;
    let inner = empty_dir(&cri, "inner")?;
    for folder in [&closed, &inner] {
        fs::write(folder.join("secret"), "nobody's business")?;
    }
    fs::write(cri.containerd().path("secret"), "nobody's business")?;
    fs::create_dir(data.join("sub"))?;
    fs::write(data.join("sub/file"), "text")?;
    // What another container of the pod may have put there.
    for (target, name) in [
        ("/etc/hosts", "absolute"),
        ("../secret", "upwards"),
        ("sub/../../secret", "around"),
        ("/", "root"),
        ("..", "parent"),
        ("/proc/self/root", "magic"),
        ("sub/../sub/file", "inside"),
    ] {
        symlink(target, data.join(name))?;
    }
    let pod = cri.pod("hostile").start().await?;
    let app = app(&pod, &image, "/data:rw,/closed");
    let app = app
        .mount_writable(&data, "/data")
        .mount(&closed, "/closed")
        .mount(&inner, "/data/inner");
    app.start().await?;

    assert_eq!(raw(&pod, "read", "/data", "inside").await?, ok("text"));
    for path in [
        "..",
        "../secret",
        "sub/../../secret",
        "/etc/hosts",
        "/data/sub/file",
        "absolute",
        "upwards",
        "around",
        "root/etc/hosts",
        "parent/secret",
        "magic/etc/hosts",
        "inner/secret",
    ] {
        let (status, error) = raw(&pod, "read", "/data", path).await?;
        assert_eq!(status, 403, "{path}: {error}");
        let seen = file(&pod, "", &format!("/data/{path}")).await?;
        assert_ne!(seen.1, "nobody's business", "{path}");
        let path = encode(path);
        let seen = ask(&pod, &format!("/~p3/file?volume=/data&path={path}")).await?;
        assert_eq!(seen.0, 403, "{path}: {seen:?}");
    }
    for path in ["../made", "upwards", "absolute", "parent/made", "root/made"] {
        for act in ["write", "remove", "mkdir"] {
            // A link itself may be removed: it is in the folder.
            if act != "remove" || path.contains('/') {
                let (status, error) = raw(&pod, act, "/data", path).await?;
                assert_eq!(status, 403, "{act} {path}: {error}");
            }
        }
    }
    assert!(!cri.containerd().path("made").exists());
    // Its own links lead no further.
    for (target, status) in [("/etc", 403), ("../secret", 200)] {
        let question = format!("/raw?act=symlink&volume=/data&path={target}&name=own");
        let answer = ask(&pod, &question).await?;
        assert_eq!(answer.0, status, "{target}: {answer:?}");
    }
    assert_eq!(raw(&pod, "read", "/data", "own").await?.0, 403);
    // Nothing is taken from where it may only read, and nothing put there.
    for act in ["hardlink", "rename"] {
        for (from, to, path) in [
            ("/closed", "/data", "secret"),
            ("/data", "/closed", "sub/file"),
            ("/data", "/data", "../secret"),
        ] {
            let question = format!("/raw?act={act}&volume={from}&to={to}&path={path}&name=taken");
            let (status, error) = ask(&pod, &question).await?;
            assert_eq!(status, 403, "{question}: {error}");
        }
    }
    for act in ["write", "remove", "mkdir"] {
        assert_eq!(raw(&pod, act, "/closed", "secret").await?.0, 403, "{act}");
    }
    assert_eq!(
        fs::read_to_string(closed.join("secret"))?,
        "nobody's business"
    );
    pod.remove().await
}

/// The pod's environment: not without being asked for, then all of it or by names; the lockfile's own word wins.
#[tokio::test]
async fn the_environment_is_given_where_it_is_asked_for() -> Result<()> {
    let (cri, image) = start().await?;
    let pod = cri.pod("speaking").start().await?;
    let cases: [(&str, &[&str]); 5] = [
        ("", &[]),
        ("none", &[]),
        (
            "all",
            &["DB_HOST=db", "DB_PORT=5432", "POD_NAME=speaking-1"],
        ),
        (
            "DB_*,RUST_LOG,MISSING",
            &["DB_HOST=db", "DB_PORT=5432", "RUST_LOG=warn"],
        ),
        ("POD_NAME,OWN", &["POD_NAME=speaking-1"]),
    ];
    for (attempt, (setting, seen)) in cases.into_iter().enumerate() {
        let app = pod.container(&image, "app").port(8080);
        // What a ConfigMap and the downward API come to.
        let app = app
            .attempt(attempt.try_into()?)
            .env("DB_HOST", "db")
            .env("DB_PORT", "5432")
            .env("POD_NAME", "speaking-1")
            .env("OWN", "the pod's")
            .env("RUST_LOG", "warn");
        let app = match setting {
            "" => app,
            setting => app.env("CATENA_GUEST_ENV", setting),
        };
        let app = app.start().await?;
        let of_p3 = ask(&pod, "/~p3/env").await?.1;
        for name in [
            "DB_HOST", "DB_PORT", "POD_NAME", "RUST_LOG", "SPIN_", "CATENA_",
        ] {
            let of_p3 = of_p3.lines().find(|line| line.starts_with(name));
            let expected = seen.iter().find(|line| line.starts_with(name)).copied();
            assert_eq!(of_p3, expected, "{setting}");
        }
        let of_web = pod.get(8080, "/env").await?.json()?;
        let of_web: Vec<_> = of_web["variables"]
            .as_array()
            .context("no variables")?
            .iter()
            .filter_map(|pair| Some(format!("{}={}", pair[0].as_str()?, pair[1].as_str()?)))
            .collect();
        for line in seen {
            assert!(
                of_web.iter().any(|one| one == line),
                "{setting}: {of_web:?}"
            );
        }
        assert!(
            of_web.contains(&"OWN=the component's".to_owned()),
            "{of_web:?}"
        );
        let own = of_web
            .iter()
            .filter(|line| line.starts_with("OWN="))
            .count();
        assert_eq!(own, 1, "{of_web:?}");
        if seen.is_empty() {
            assert_eq!(of_web.len(), 1, "{of_web:?}");
        }
        app.stop(10).await?;
        app.remove().await?;
    }
    pod.remove().await
}

/// A command of the application in the running container, also one of the first WASI: it sees what the others see.
#[tokio::test]
async fn an_executed_command_sees_the_same() -> Result<()> {
    let (cri, image) = start().await?;
    let mut config = Volume::new(cri.containerd().path("config"))?;
    config.write(&[("key", "value")])?;
    let pod = cri.pod("executing").start().await?;
    let app = app(&pod, &image, "tool=/etc/config,legacy=/etc/config");
    let app = app
        .mount(config.path(), "/etc/config")
        .env("SHOW", "/etc/config/key")
        .env("CATENA_GUEST_ENV", "SHOW");
    let app = app.start().await?;
    for command in ["tool", "legacy"] {
        let (code, output) = app.exec(&[command]).await?;
        assert_eq!(code, 0, "{output}");
        assert!(output.contains("shown: value"), "{command}: {output}");
    }
    // A file of the root file system is none of the components that the setting names.
    let (code, output) = app.exec(&["/components/tool.wasm"]).await?;
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("not shown"), "{output}");
    assert_eq!(file(&pod, "", "/etc/config/key").await?.0, 403);
    pod.remove().await
}

/// What cannot be given keeps the container from being made, with every reason and the remedy.
#[tokio::test]
async fn what_cannot_be_given_is_refused() -> Result<()> {
    let (cri, image) = start().await?;
    let data = empty_dir(&cri, "data")?;
    let single = data.join("app.conf");
    fs::write(&single, "text")?;
    let pod = cri.pod("refused").start().await?;
    let app = app(
        &pod,
        &image,
        "/data:rw,/nowhere,/etc/app.conf,nobody=/data,/proc",
    );
    let app = app
        .mount(&data, "/data")
        .mount(&single, "/etc/app.conf")
        .env("CATENA_CHAIN_DEPTH", "0");
    let told = app.start().await.err().context("it was started")?;
    let told = format!("{told:#}");
    for part in [
        "refused for 6 reasons",
        "CATENA_CHAIN_DEPTH=0: this must be greater than 0",
        "/data is to be written to (:rw), but is mounted read-only",
        "nothing is mounted at /nowhere; mount a volume there or correct the path (mounted are: /data, /etc/app.conf)",
        "/etc/app.conf is a single file",
        "; correct the name (there are: web, other, p3, tool, legacy)",
        "/proc is a file system of the container's own (proc)",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let app = pod.container(&image, "spelled");
    let app = app
        .env("CATENA_GUEST_VOLUMES", "data")
        .env("CATENA_GUEST_ENV", "ALL,all");
    let told = app.start().await.err().context("it was started")?;
    let told = format!("{told:#}");
    for part in [
        "refused for 2 reasons",
        "CATENA_GUEST_VOLUMES=data: ",
        "is no path; name a mount point in the container, such as /etc/app",
        "CATENA_GUEST_ENV=ALL,all: ",
        "has to stand alone",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    pod.remove().await
}

/// On one machine, with no container: folders and variables by flags.
#[tokio::test]
async fn folders_are_mounted_on_one_machine() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("note"), "text")?;
    let [read, written] = ["/read", "/written"];
    let app = Catena::app("volumes")?
        .mount(folder.path(), &format!("{read}/"))
        .mount(folder.path(), &format!("{written}:rw"))
        .env("CATENA_GUEST_ENV", "GREETING")
        .env("GREETING", "hello")
        .start()
        .await?;
    for prefix in ["", "/~p3"] {
        let of = |what: &str| format!("{prefix}{what}");
        let seen = app.get(&of("/file?path=/read/note")).await?;
        assert_eq!(seen.text(), "text");
        let refused = app.get(&of("/write?path=/read/note&text=changed")).await?;
        assert_eq!(refused.status.as_u16(), 403);
        let answer = app.get(&of("/write?path=/written/new&text=here")).await?;
        assert_eq!(answer.status.as_u16(), 200);
        assert!(app.get(&of("/env")).await?.text().contains("GREETING"));
    }
    assert_eq!(fs::read_to_string(folder.path().join("new"))?, "here");
    let limited = Catena::app("volumes")?
        .mount(folder.path(), "/data:rw")
        .env("CATENA_GUEST_VOLUMES", "web=/data")
        .start()
        .await?;
    assert_eq!(limited.get("/folders").await?.text(), "/\n/data");
    let answer = limited.get("/write?path=/data/new&text=no").await?;
    assert_eq!(answer.status.as_u16(), 403);
    let answer = limited.get("/~other/folders").await?;
    assert_eq!(answer.text(), "");
    Ok(())
}
