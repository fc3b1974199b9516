//! Key-value stores and SQLite databases: every operation of every version of the interfaces, on every
//! back end, and what components may not do with them.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use catena_test::backing::Backing;
use catena_test::catena::Running;
use catena_test::client::encode;
use catena_test::{Catena, Client, Containerd, workspace};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// What stands behind the label "shared", unless a test says otherwise.
const MEMORY: &str = "type = \"memory\"";

/// A database that nothing answers for.
const NOWHERE: &str = "http://127.0.0.1:1";

/// An application that runs, and the folder of its state.
struct App {
    running: Running,
    folder: TempDir,
}

async fn start(shared: &str, remote: &str) -> Result<App> {
    let folder = TempDir::new()?;
    let running = start_in(&folder, shared, remote).await?;
    Ok(App { running, folder })
}

async fn start_in(folder: &TempDir, shared: &str, remote: &str) -> Result<Running> {
    let config = folder.path().join("runtime-config.toml");
    std::fs::write(
        &config,
        format!(
            "[key_value_store.shared]\n{shared}\n\
             [sqlite_database.remote]\ntype = \"libsql\"\nurl = \"{remote}\"\ntoken = \"secret\"\n"
        ),
    )?;
    let state = folder.path().join("state");
    let run = Catena::app("stores")?.runtime_config(&config);
    run.state_dir(&state).start().await
}

/// Asks a component to act: `path?name=value&..`.
async fn ask(app: &Running, path: &str, pairs: &[(&str, &str)]) -> Result<String> {
    let pairs = pairs.iter();
    let pairs = pairs.map(|(name, value)| format!("{name}={}", encode(value)));
    let query = pairs.collect::<Vec<_>>().join("&");
    Ok(app.get(&format!("{path}?{query}")).await?.text())
}

/// Asks, and compares.
async fn expect(app: &Running, path: &str, pairs: &[(&str, &str)], answer: &str) -> Result<()> {
    assert_eq!(
        ask(app, path, pairs).await?,
        answer,
        "{path} {pairs:?}\n{}",
        app.output().text()
    );
    Ok(())
}

/// Every operation of every interface of key-value stores, by components that share the store.
async fn every_operation(app: &Running, label: &str) -> Result<()> {
    let store = ("store", label);
    let (a, one) = ([store, ("key", "a")], ("value", "1"));
    let interfaces = [
        ("/~old/key-value", "Ok(\"1\")", "Err(Error::NoSuchKey)"),
        ("/~old/key-value-2", "Ok(Some(\"1\"))", "Ok(None)"),
        ("/~old/wasi", "Ok(Some(\"1\"))", "Ok(None)"),
        ("/~new/key-value-3", "Ok(Some(\"1\"))", "Ok(None)"),
    ];
    for (at, found, missing) in interfaces {
        let path = |act: &str| format!("{at}/{act}");
        expect(app, &path("get"), &a, missing).await?;
        expect(app, &path("exists"), &a, "Ok(false)").await?;
        expect(app, &path("set"), &[a[0], a[1], one], "Ok(())").await?;
        expect(app, &path("exists"), &a, "Ok(true)").await?;
        let keys = match at {
            "/~old/wasi" => "Ok(([\"a\"], None))",
            _ => "Ok([\"a\"])",
        };
        expect(app, &path("keys"), &[store], keys).await?;
        // Whoever wrote it, all see it.
        for (reader, found, _) in interfaces {
            expect(app, &format!("{reader}/get"), &a, found).await?;
        }
        expect(app, &path("get"), &a, found).await?;
        expect(app, &path("delete"), &a, "Ok(())").await?;
        expect(app, &path("delete"), &a, "Ok(())").await?;
    }
    let many = [
        store,
        ("key", "a"),
        ("value", "1"),
        ("key", "b"),
        ("value", "2"),
    ];
    expect(app, "/~old/wasi/set-many", &many, "Ok(())").await?;
    let three = [store, ("key", "a"), ("key", "none"), ("key", "b")];
    let found = r#"Ok([("a", Some("1")), ("none", None), ("b", Some("2"))])"#;
    expect(app, "/~old/wasi/get-many", &three, found).await?;
    let swapped = r#"Ok(Some("1")) Ok(Some("another")) Ok(())"#;
    let swap = [store, ("key", "a"), ("value", "new")];
    expect(app, "/~old/wasi/swap", &swap, swapped).await?;
    expect(app, "/~old/wasi/get", &a, "Ok(Some(\"new\"))").await?;
    let fresh = [store, ("key", "fresh"), ("value", "new")];
    let swapped = r#"Ok(None) Ok(Some("another")) Ok(())"#;
    expect(app, "/~old/wasi/swap", &fresh, swapped).await?;
    let all = [store, ("key", "a"), ("key", "b"), ("key", "fresh")];
    expect(app, "/~old/wasi/delete-many", &all, "Ok(())").await?;
    let add = |value| [store, ("key", "sum"), ("value", value)];
    expect(app, "/~old/wasi/increment", &add("5"), "Ok(5)").await?;
    expect(app, "/~old/wasi/increment", &add("-7"), "Ok(-2)").await?;
    let sum = [store, ("key", "sum")];
    expect(app, "/~old/key-value-2/delete", &sum, "Ok(())").await?;
    // More than one page of a stream.
    expect(app, "/~new/key-value-3/count", &[store], "Ok(2500)").await
}

#[tokio::test]
async fn every_operation_on_sqlite_and_in_memory() -> Result<()> {
    let app = start(MEMORY, NOWHERE).await?;
    every_operation(&app.running, "shared").await?;
    every_operation(&app.running, "default").await
}

#[tokio::test]
async fn every_operation_on_redis() -> Result<()> {
    let mut redis = Backing::redis()?;
    let shared = format!("type = \"redis\"\nurl = \"redis://{}\"", redis.address());
    let app = start(&shared, NOWHERE).await?;
    every_operation(&app.running, "shared").await?;
    // A server that is gone is an error, and one that is back is found again.
    redis.stop();
    let get = [("store", "shared"), ("key", "a")];
    let gone = ask(&app.running, "/~old/key-value-2/get", &get).await?;
    assert!(
        gone.contains("Error::Other") && gone.contains("Redis"),
        "{gone}"
    );
    redis.start()?;
    for _ in 0..100 {
        if ask(&app.running, "/~old/key-value-2/get", &get).await? == "Ok(None)" {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    anyhow::bail!("{}", app.running.output().text())
}

#[tokio::test]
async fn a_store_without_permission_is_denied_and_bounds_hold() -> Result<()> {
    let app = start(MEMORY, NOWHERE).await?;
    let app = &app.running;
    let at = |label| [("store", label), ("key", "a")];
    for path in ["/~none/key-value", "/~none/key-value-2", "/~none/wasi"] {
        let get = format!("{path}/get");
        expect(app, &get, &at("default"), "Error::AccessDenied").await?;
        expect(app, &get, &at("nothing"), "Error::NoSuchStore").await?;
    }
    expect(
        app,
        "/~new/key-value-3/get",
        &at("nothing"),
        "Error::NoSuchStore",
    )
    .await?;
    app.output()
        .wait_for("add it to the component's key_value_stores")
        .await?;
    let made_up = "Err(Error::InvalidStore)";
    expect(app, "/~old/key-value/made-up", &at("shared"), made_up).await?;
    expect(app, "/~old/key-value/closed", &at("shared"), made_up).await?;
    let hoard = "255 Error::StoreTableFull";
    expect(app, "/~old/key-value-2/hoard", &at("shared"), hoard).await?;
    let large = ask(app, "/~old/key-value-2/large", &at("shared")).await?;
    assert!(large.contains("larger than"), "{large}");
    let denied = [("database", "default")];
    expect(app, "/~none/sqlite-2/x", &denied, "Error::AccessDenied").await?;
    let unknown = [("database", "nothing")];
    expect(app, "/~old/sqlite-3/x", &unknown, "Error::NoSuchDatabase").await
}

/// All increments count, however many requests make them at once.
#[tokio::test]
async fn increments_add_up() -> Result<()> {
    let redis = Backing::redis()?;
    let shared = format!("type = \"redis\"\nurl = \"redis://{}\"", redis.address());
    let app = start(&shared, NOWHERE).await?;
    for label in ["shared", "default"] {
        let mut writers = JoinSet::new();
        let address = app.running.address();
        let path = format!("/~old/wasi/increment?store={label}&key=sum&value=3");
        for _ in 0..8 {
            let path = path.clone();
            writers.spawn(async move {
                for _ in 0..10 {
                    Client::http1(address).await?.get(&path).await?;
                }
                anyhow::Ok(())
            });
        }
        for done in writers.join_all().await {
            done?;
        }
        let none = [("store", label), ("key", "sum"), ("value", "0")];
        expect(&app.running, "/~old/wasi/increment", &none, "Ok(240)").await?;
    }
    Ok(())
}

/// What Spin wrote is read, and what is written is there after a restart.
#[tokio::test]
async fn a_store_outlives_the_worker() -> Result<()> {
    let folder = TempDir::new()?;
    let state = folder.path().join("state");
    std::fs::create_dir(&state)?;
    python(&[
        "-c",
        "import sqlite3, sys\n\
         db = sqlite3.connect(sys.argv[1])\n\
         db.execute('CREATE TABLE spin_key_value (store TEXT NOT NULL, key TEXT NOT NULL, \
         value BLOB NOT NULL, PRIMARY KEY (store, key))')\n\
         db.execute(\"INSERT INTO spin_key_value VALUES ('default', 'old', x'31')\")\n\
         db.commit()",
        &state.join("sqlite_key_value.db").display().to_string(),
    ])?;
    let mut app = start_in(&folder, "type = \"spin\"", NOWHERE).await?;
    let old = [("store", "default"), ("key", "old")];
    expect(&app, "/~old/key-value-2/get", &old, "Ok(Some(\"1\"))").await?;
    let new = [("store", "shared"), ("key", "new"), ("value", "2")];
    expect(&app, "/~old/key-value-2/set", &new, "Ok(())").await?;
    // The stores of one file do not see each other.
    let other = [("store", "default"), ("key", "new")];
    expect(&app, "/~old/key-value-2/get", &other, "Ok(None)").await?;
    app.stop().await?;
    let app = start_in(&folder, "type = \"spin\"", NOWHERE).await?;
    expect(&app, "/~old/key-value-2/get", &new[..2], "Ok(Some(\"2\"))").await
}

/// The folder that the runtime configuration names, unless the command line names one.
#[tokio::test]
async fn the_state_folder_is_where_the_configuration_says() -> Result<()> {
    let folder = TempDir::new()?;
    let config = folder.path().join("runtime-config.toml");
    let rest =
        "[key_value_store.shared]\ntype = \"spin\"\n[sqlite_database.remote]\ntype = \"spin\"\n";
    std::fs::write(&config, format!("state_dir = \"said\"\n{rest}"))?;
    let set = [("store", "default"), ("key", "a"), ("value", "1")];
    for (flag, there, other) in [(false, "said", "flag"), (true, "flag", "said")] {
        let mut run = Catena::app("stores")?.runtime_config(&config);
        if flag {
            run = run.state_dir(&folder.path().join("flag"));
        }
        let app = run.start().await?;
        expect(&app, "/~old/key-value-2/set", &set, "Ok(())").await?;
        let at = |name: &str| folder.path().join(name).join("sqlite_key_value.db");
        assert!(at(there).exists() && !at(other).exists(), "{there}");
        std::fs::remove_dir_all(folder.path().join(there))?;
    }
    Ok(())
}

#[tokio::test]
async fn labels_that_nothing_configures_are_refused_together() -> Result<()> {
    let run = Catena::app("stores")?.finish().await?;
    assert!(!run.status.success());
    for part in [
        "component \"old\" uses the key-value store \"shared\", which is not configured",
        "component \"new\" uses the SQLite database \"remote\", which is not configured",
        "[sqlite_database.remote] to /runtime-config.toml",
    ] {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
    Ok(())
}

/// Where the state folder cannot be written to, guests get an error and the log says what to do.
#[tokio::test]
async fn a_folder_that_is_not_writable_is_told() -> Result<()> {
    let folder = TempDir::new()?;
    let config = folder.path().join("runtime-config.toml");
    let text =
        format!("[key_value_store.shared]\n{MEMORY}\n[sqlite_database.remote]\ntype = \"spin\"\n");
    std::fs::write(&config, &text)?;
    let run = Catena::app("stores")?.runtime_config(&config);
    let app = run.state_dir(Path::new("/proc/catena")).start().await?;
    let default = [("store", "default"), ("key", "a")];
    let error = ask(&app, "/~old/key-value-2/get", &default).await?;
    assert!(
        error.contains("cannot be opened: /proc/catena: "),
        "{error}"
    );
    let default = [("database", "default"), ("sql", "SELECT 1")];
    let error = ask(&app, "/~new/sqlite-3.1/run", &default).await?;
    assert!(
        error.contains("cannot be opened: /proc/catena: "),
        "{error}"
    );
    for part in [
        "a key-value store cannot be opened",
        "a SQLite database cannot be opened",
    ] {
        let line = app.output().wait_for(part).await?;
        assert!(line.contains("mount a volume"), "{line}");
    }
    Ok(())
}

/// Every operation of every interface of SQLite, by components that share the database.
async fn every_statement(app: &Running, label: &str) -> Result<()> {
    let database = ("database", label);
    let create = [
        database,
        ("sql", "CREATE TABLE t (id INTEGER PRIMARY KEY, a)"),
    ];
    expect(app, "/~old/sqlite/run", &create, "[] []").await?;
    let interfaces = [
        "/~old/sqlite",
        "/~old/sqlite-2",
        "/~old/sqlite-3",
        "/~new/sqlite-3.1",
    ];
    for at in interfaces {
        let types = r#"["a", "b", "c", "d", "e"] [[Value::Integer(-9223372036854775808), Value::Real(1.5), Value::Text("text"), Value::Blob([0, 255]), Value::Null]]"#;
        expect(app, &format!("{at}/types"), &[database], types).await?;
        // A connection keeps its transaction.
        let undone = [
            database,
            ("sql", "BEGIN"),
            ("sql", "INSERT INTO t (a) VALUES ('x')"),
            ("sql", "ROLLBACK"),
            ("sql", "SELECT count(*) AS n FROM t"),
        ];
        let none = r#"["n"] [[Value::Integer(0)]]"#;
        expect(app, &format!("{at}/run"), &undone, none).await?;
        let wrong = [database, ("sql", "SELECT missing")];
        let error = ask(app, &format!("{at}/run"), &wrong).await?;
        assert!(error.contains("no such column: missing"), "{at}: {error}");
    }
    let insert = [
        database,
        ("sql", "INSERT INTO t (a) VALUES ('x'), (?)"),
        ("value", "y"),
    ];
    expect(app, "/~old/sqlite-3/changes", &insert, "2 2 [] []").await?;
    let update = [
        database,
        ("sql", "INSERT INTO t (a) VALUES ('z')"),
        ("sql", "UPDATE t SET a = 'w'"),
    ];
    expect(app, "/~new/sqlite-3.1/changes", &update, "3 3 [] []").await?;
    let select = [database, ("sql", "SELECT a FROM t WHERE id = 2")];
    for at in interfaces {
        let row = r#"["a"] [[Value::Text("w")]]"#;
        expect(app, &format!("{at}/run"), &select, row).await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_statement_on_a_file() -> Result<()> {
    let app = start(MEMORY, NOWHERE).await?;
    every_statement(&app.running, "default").await?;
    assert!(app.folder.path().join("state/sqlite_db.db").exists());
    let attach = [("database", "default"), ("sql", "ATTACH '/tmp/x.db' AS x")];
    let denied = ask(&app.running, "/~old/sqlite-2/run", &attach).await?;
    assert!(denied.contains("not authorized"), "{denied}");
    let made_up = "Err(Error::InvalidConnection)";
    let default = [("database", "default")];
    expect(&app.running, "/~old/sqlite/made-up", &default, made_up).await
}

#[tokio::test]
async fn every_statement_on_a_libsql_server() -> Result<()> {
    let folder = TempDir::new()?;
    let server = Hrana::start(&folder.path().join("remote.db"))?;
    let app = start(MEMORY, &format!("http://127.0.0.1:{}", server.port)).await?;
    every_statement(&app.running, "remote").await?;
    drop(server);
    let select = [("database", "remote"), ("sql", "SELECT 1")];
    let gone = ask(&app.running, "/~old/sqlite-2/run", &select).await?;
    assert!(gone.contains("Error::Io(\"libSQL: "), "{gone}");
    Ok(())
}

/// A server that speaks to clients of libSQL.
struct Hrana {
    child: Child,
    port: u16,
}

impl Hrana {
    fn start(file: &Path) -> Result<Self> {
        let mut child = Command::new("python3")
            .arg(workspace::root().join("test/scripts/hrana.py"))
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting hrana.py")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("taking stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().parse().context("a port")?;
        Ok(Self { child, port })
    }
}

impl Drop for Hrana {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn python(arguments: &[&str]) -> Result<()> {
    let status = Command::new("python3").args(arguments).status()?;
    anyhow::ensure!(status.success(), "python3: {status}");
    Ok(())
}

/// Under containerd: refused in Create without a configuration, kept in the container's own root file
/// system, and told where that is read-only.
#[tokio::test]
async fn a_container_keeps_its_stores_or_says_why_not() -> Result<()> {
    let (containerd, image) = Containerd::with_app("stores")?;
    let refused = containerd.container(&image, "refused").run()?;
    assert!(!refused.success, "{refused:?}");
    let reason = "uses the key-value store \"shared\", which is not configured";
    assert!(refused.stderr.contains(reason), "{refused:?}");
    containerd.nothing_is_left_of("refused")?;

    let config = containerd.path("runtime-config.toml");
    let text =
        format!("[key_value_store.shared]\n{MEMORY}\n[sqlite_database.remote]\ntype = \"spin\"\n");
    std::fs::write(&config, &text)?;
    let mount = format!(
        "type=bind,src={},dst=/runtime-config.toml,options=rbind:ro",
        config.display()
    );
    let set = "store=default&key=a&value=1";
    let writable = containerd.container(&image, "writable");
    let task = writable.flags(&["--mount", &mount]).start()?;
    let answer = task.get(&format!("/~old/key-value-2/set?{set}")).await?;
    assert_eq!(answer.text(), "Ok(())");
    let answer = task
        .get("/~new/key-value-3/get?store=default&key=a")
        .await?;
    assert_eq!(answer.text(), "Ok(Some(\"1\"))");
    let select = "/~old/sqlite-2/run?database=default&sql=SELECT%201%20AS%20n";
    let answer = task.get(select).await?;
    assert_eq!(answer.text(), "[\"n\"] [[Value::Integer(1)]]");
    task.remove()?;

    // Another folder, on a volume.
    let volume = containerd.path("volume");
    std::fs::create_dir(&volume)?;
    let state = containerd.path("state-config.toml");
    std::fs::write(&state, format!("state_dir = \"/data\"\n{text}"))?;
    let flags = [
        format!(
            "type=bind,src={},dst=/runtime-config.toml,options=rbind:ro",
            state.display()
        ),
        format!(
            "type=bind,src={},dst=/data,options=rbind:rw",
            volume.display()
        ),
    ];
    let moved = containerd.container(&image, "moved");
    let task = moved
        .flags(&["--mount", &flags[0], "--mount", &flags[1]])
        .start()?;
    let answer = task.get(&format!("/~old/key-value-2/set?{set}")).await?;
    assert_eq!(answer.text(), "Ok(())");
    assert!(volume.join("sqlite_key_value.db").exists());
    task.remove()?;

    let readonly = containerd.container(&image, "readonly");
    let readonly = readonly.flags(&["--read-only", "--mount", &mount]);
    let task = readonly.start()?;
    let answer = task.get(&format!("/~old/key-value-2/set?{set}")).await?;
    let answer = answer.text();
    assert!(
        answer.contains("cannot be opened: /.spin: Read-only file system"),
        "{answer}"
    );
    task.remove()
}
