//! Databases and brokers over every version of their interfaces, with the real servers.

use std::time::{Duration, Instant};

use anyhow::Result;
use catena_test::client::encode;
use catena_test::{Backing, Catena, Client, Running};
use tokio::task::JoinSet;

/// Guests may reach this server only.
async fn app(server: &Backing) -> Result<Running> {
    run(server, "600s").await
}

async fn run(server: &Backing, within: &str) -> Result<Running> {
    Catena::app("databases")?
        .variable("port", &server.port().to_string())
        .env("CATENA_UPSTREAM_TIMEOUT", within)
        .start()
        .await
}

async fn ask(app: &Running, path: &str, at: &str, more: &[(&str, &str)]) -> Result<String> {
    let mut question = format!("{path}?at={}", encode(at));
    for (name, value) in more {
        question += &format!("&{name}={}", encode(value));
    }
    Ok(app.get(&question).await?.text())
}

async fn sql(app: &Running, path: &str, at: &str, statement: &str) -> Result<String> {
    ask(app, path, at, &[("sql", statement)]).await
}

#[track_caller]
fn assert_in(said: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(said.contains(wanted), "no {wanted:?} in:\n{said}");
    }
}

fn redis(server: &Backing) -> String {
    format!("redis://{}", server.address())
}

fn postgres(server: &Backing) -> String {
    let port = server.port();
    format!("host=127.0.0.1 port={port} user=postgres dbname=postgres sslmode=disable")
}

fn mysql(server: &Backing) -> String {
    format!("mysql://catena:secret@{}/test", server.address())
}

#[tokio::test]
async fn every_function_of_redis_works_in_every_version() -> Result<()> {
    let server = Backing::redis()?;
    let app = app(&server).await?;
    for path in ["/~old/redis", "/~old/redis2", "/~new/redis"] {
        let said = ask(&app, path, &redis(&server), &[]).await?;
        let lines: Vec<&str> = said.lines().collect();
        let seven = if path.ends_with("old/redis") {
            "Ok([55])"
        } else {
            "Ok(Some([55]))"
        };
        assert_eq!(&lines[..2], ["Ok(())", seven], "{path}: {said}");
        assert_eq!(lines[3], "Ok(8)", "{path}: {said}");
        assert_eq!(lines[4], "Ok(())", "{path}: {said}");
        assert_eq!(
            &lines[5..8],
            ["Ok(2)", "Ok(1)", "Ok([\"a\"])"],
            "{path}: {said}"
        );
        assert_in(&said, &["Error"]);
        let deleted = if path == "/~old/redis2" {
            "Ok(3)"
        } else {
            "Ok(2)"
        };
        assert_eq!(lines.last(), Some(&deleted), "{path}: {said}");
    }
    let said = ask(&app, "/~old/redis2", &redis(&server), &[]).await?;
    let list = "Ok([RedisResult::Int64(1), RedisResult::Binary([120])])";
    // What was pushed are a number and a text: Redis keeps both as text.
    let list = list.replace("Int64(1)", "Binary([49])");
    let pong = "Ok([RedisResult::Status(\"PONG\")])";
    assert_in(
        &said,
        &[
            &list,
            pong,
            "Ok([RedisResult::Nil])",
            "TypeError",
            "MONITOR",
        ],
    );
    Ok(())
}

#[tokio::test]
async fn what_a_guest_did_to_its_connection_is_not_seen_by_the_next() -> Result<()> {
    let server = Backing::redis()?;
    let app = app(&server).await?;
    let at = redis(&server);
    let execute = async |command| sql(&app, "/~new/execute", &at, command).await;
    execute("set where zero").await?;
    assert_in(&execute("select 1").await?, &["Ok"]);
    assert_in(&execute("get where").await?, &["Binary"]);
    assert_in(&execute("multi").await?, &["Ok"]);
    assert_in(&execute("get where").await?, &["Binary"]);
    let server = Backing::postgres()?;
    let app = run(&server, "600s").await?;
    let at = postgres(&server);
    let execute = async |statement| sql(&app, "/~new/postgres", &at, statement).await;
    for statement in [
        "set application_name = 'left'",
        "begin",
        "prepare left_over as select 1",
        "create temporary table left_over (a int)",
    ] {
        for _ in 0..3 {
            assert_in(&execute(statement).await?, &["Ok(0)"]);
        }
    }
    let said = execute("select current_setting('application_name')").await?;
    assert!(!said.contains("left\""), "{said}");
    Ok(())
}

#[tokio::test]
async fn values_of_every_type_go_to_postgres_and_come_back() -> Result<()> {
    let server = Backing::postgres()?;
    let app = app(&server).await?;
    let at = postgres(&server);
    let types = [
        "bool",
        "\"char\"",
        "int2",
        "int4",
        "int8",
        "float4",
        "float8",
        "text",
        "bytea",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "uuid",
        "jsonb",
        "numeric",
        "int4range",
        "int8range",
        "numrange",
        "int4[]",
        "int8[]",
        "numeric[]",
        "text[]",
        "interval",
        "text",
    ];
    let places = |types: &[&str]| {
        let places = types.iter().enumerate();
        let places = places.map(|(index, kind)| format!("${}::{kind} as c{index}", index + 1));
        format!("select {}", places.collect::<Vec<_>>().join(", "))
    };
    let said = sql(&app, "/~new/postgres", &at, &places(&types)).await?;
    assert_in(
        &said,
        &[
            "Boolean(true)",
            "Int8(-1)",
            "Int16(-2)",
            "Int32(-3)",
            "Int64(-4)",
            "Floating32(1.5)",
            "Floating64(2.5)",
            "Str(\"text\")",
            "Binary([0, 255])",
            "Date((2024, 2, 29))",
            "Time((1, 2, 3, 4000))",
            "Datetime((2024, 2, 29, 1, 2, 3, 4000))",
            "Timestamp(1700000000)",
            "Uuid(\"0190c2e0-0000-7000-8000-000000000001\")",
            "Jsonb([123,",
            "Decimal(\"-12345.6789\")",
            "RangeInt32((Some((1, RangeBoundKind::Inclusive)), Some((5, RangeBoundKind::Exclusive))))",
            "RangeInt64((Some((1, RangeBoundKind::Inclusive)), None))",
            "RangeDecimal((None, Some((\"1.5\", RangeBoundKind::Inclusive))))",
            "ArrayInt32([Some(1), None])",
            "ArrayInt64([Some(2), None])",
            "ArrayDecimal([Some(\"3.5\"), None])",
            "ArrayStr([Some(\"x\"), None])",
            "micros: 1, days: 2, months: 3",
            "DbNull",
            "1 rows, Ok(())",
        ],
    );
    let other = sql(&app, "/~new/postgres", &at, "select '10.0.0.1'::inet").await?;
    assert_in(&other, &["Other(\"inet\")", "Unsupported(["]);
    let common = [
        "bool", "int2", "int4", "int8", "float4", "float8", "text", "bytea", "text",
    ];
    for version in ["", "2", "3", "4"] {
        let path = format!("/~old/postgres{version}");
        let said = sql(&app, &path, &at, &places(&common)).await?;
        let floats = ["Floating32(1.5)", "Floating64(2.5)"];
        let rest = [
            "Boolean(true)",
            "Int16(-2)",
            "Int32(-3)",
            "Int64(-4)",
            "Str(\"text\")",
        ];
        assert_in(&said, &floats);
        assert_in(&said, &rest);
        assert_in(&said, &["Binary([0, 255])", "DbNull"]);
        let table = format!("things{version}");
        let create = format!("create table {table} (a int)");
        assert_in(&sql(&app, &path, &at, &create).await?, &["Ok(0)"]);
        let insert = format!("insert into {table} values (1), (2)");
        assert_in(&sql(&app, &path, &at, &insert).await?, &["Ok(2)"]);
        let wrong = sql(&app, &path, &at, "select nothing from nowhere").await?;
        assert_in(&wrong, &["QueryFailed", "nowhere"]);
        let unknown = sql(&app, &path, &at, "select '10.0.0.1'::inet").await?;
        assert_in(&unknown, &["Unsupported"]);
    }
    let wrong = sql(&app, "/~new/postgres", &at, "select nothing from nowhere").await?;
    assert_in(&wrong, &["QueryFailed", "42P01", "severity: \"ERROR\""]);
    Ok(())
}

#[tokio::test]
async fn values_of_every_type_go_to_mysql_and_come_back() -> Result<()> {
    let server = Backing::mariadb()?;
    let app = app(&server).await?;
    let at = mysql(&server);
    let create = "create table kinds (a bool, b tinyint, c smallint, d int, e bigint, f tinyint unsigned, \
                  g smallint unsigned, h int unsigned, i bigint unsigned, j float, k double, l text, \
                  m blob, n varchar(9))";
    assert_in(&sql(&app, "/~new/mysql", &at, create).await?, &["Ok(())"]);
    let insert = format!("insert into kinds values ({})", ["?"; 14].join(", "));
    assert_in(&sql(&app, "/~new/mysql", &at, &insert).await?, &["Ok(())"]);
    for path in ["/~new/mysql", "/~old/mysql", "/~old/mysql2"] {
        let said = sql(&app, path, &at, "select * from kinds").await?;
        assert_in(
            &said,
            &["Int8(1)", "Int8(-1)", "Int16(-2)", "Int32(-3)", "Int64(-4)"],
        );
        assert_in(&said, &["Uint8(1)", "Uint16(2)", "Uint32(3)", "Uint64(4)"]);
        assert_in(
            &said,
            &["Floating32(1.5)", "Floating64(2.5)", "Str(\"text\")"],
        );
        assert_in(&said, &["Binary([0, 255])", "DbNull"]);
        let other = sql(&app, path, &at, "select cast(1.5 as decimal(5, 2))").await?;
        assert_in(&other, &["Other", "Unsupported"]);
        let wrong = sql(&app, path, &at, "select nothing from nowhere").await?;
        assert_in(&wrong, &["QueryFailed", "nowhere"]);
    }
    for path in ["/~old/mysql", "/~old/mysql2"] {
        let insert =
            "insert into kinds (a, c, d, e, j, k, l, m, n) values (?, ?, ?, ?, ?, ?, ?, ?, ?)";
        assert_in(&sql(&app, path, &at, insert).await?, &["Ok(())"]);
    }
    let many = "select seq from seq_1_to_5000";
    assert_in(
        &sql(&app, "/~new/mysql", &at, many).await?,
        &["5000 rows, Ok(())"],
    );
    Ok(())
}

#[tokio::test]
async fn messages_are_published_with_every_quality_of_service() -> Result<()> {
    let mut server = Backing::mosquitto()?;
    let app = app(&server).await?;
    let at = format!("mqtt://{}", server.address());
    let well = "[Ok(()), Ok(()), Ok(())]";
    // Another application hears what is published.
    let hearing = Catena::app("triggers")?.variable("mqtt", &at);
    let hearing = hearing.start().await?;
    hearing
        .output()
        .wait_for("brings messages of news/+")
        .await?;
    for (path, payload) in [("/~old/mqtt2", "two"), ("/~new/mqtt", "three")] {
        for _ in 0..2 {
            assert_eq!(ask(&app, path, &at, &[("topic", "news/b")]).await?, well);
        }
        // Each with every quality of service.
        let heard = format!("recorded /mqtt/news/b {payload}");
        let begun = Instant::now();
        while hearing.output().count(&heard) < 6 {
            let output = hearing.output().text();
            assert!(begun.elapsed() < Duration::from_secs(30), "{output}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let bad = ask(&app, path, &at, &[("topic", "a/#")]).await?;
        assert_in(&bad, &["Other"]);
        let elsewhere = ask(&app, path, "mqtt://localhost:1", &[("topic", "a")]).await?;
        assert_in(&elsewhere, &["ConnectionFailed", "not permitted"]);
        assert_in(
            &ask(&app, path, "no address", &[]).await?,
            &["InvalidAddress"],
        );
    }
    server.stop();
    let lost = ask(&app, "/~new/mqtt", &at, &[("topic", "a/b")]).await?;
    assert_in(&lost, &["ConnectionFailed"]);
    server.start()?;
    assert_eq!(
        ask(&app, "/~new/mqtt", &at, &[("topic", "a/b")]).await?,
        well
    );
    Ok(())
}

#[tokio::test]
async fn only_allowed_addresses_are_connected_to() -> Result<()> {
    let server = Backing::redis()?;
    let app = app(&server).await?;
    let port = server.port();
    for at in [
        "redis://localhost",
        "redis+unix:///run/redis.sock",
        "no address",
        &format!("redis://localhost:{port}"),
    ] {
        for path in ["/~old/redis2", "/~new/redis"] {
            assert_in(&ask(&app, path, at, &[]).await?, &["InvalidAddress"]);
        }
        assert_in(
            &ask(&app, "/~old/redis", at, &[]).await?,
            &["name: \"error\""],
        );
    }
    for (at, why) in [
        ("host=localhost user=a", "not permitted"),
        ("host=/run/postgresql user=a", "Unix socket"),
        ("hostaddr=127.0.0.1 host=127.0.0.1 user=a", "hostaddr"),
        (
            &format!("host=127.0.0.1,localhost port={port} user=a"),
            "not permitted",
        ),
        ("user=a", "no host"),
    ] {
        for path in [
            "/~old/postgres",
            "/~old/postgres2",
            "/~old/postgres3",
            "/~new/postgres",
        ] {
            let said = sql(&app, path, at, "select 1").await?;
            assert_in(&said, &["ConnectionFailed", why]);
        }
    }
    for path in ["/~old/mysql", "/~old/mysql2", "/~new/mysql"] {
        let said = sql(&app, path, "mysql://a@localhost/b", "select 1").await?;
        assert_in(&said, &["ConnectionFailed", "not permitted"]);
    }
    Ok(())
}

/// Networks that nobody may reach, whatever a component is allowed.
#[tokio::test]
async fn no_client_reaches_blocked_networks() -> Result<()> {
    let server = Backing::redis()?;
    let config = tempfile::NamedTempFile::new()?;
    let blocked = "[outbound_networking]\nblock_networks = [\"private\"]\n";
    std::fs::write(&config, blocked)?;
    let app = Catena::app("databases")?
        .variable("port", &server.port().to_string())
        .runtime_config(config.path())
        .start()
        .await?;
    let denied = "the network of 127.0.0.1 is not permitted";
    for path in ["/~old/redis2", "/~new/redis"] {
        let said = ask(&app, path, &redis(&server), &[]).await?;
        assert_in(&said, &[denied]);
    }
    for path in ["/~old/postgres3", "/~new/postgres"] {
        let said = sql(&app, path, &postgres(&server), "select 1").await?;
        assert_in(&said, &["ConnectionFailed", denied]);
    }
    for path in ["/~old/mysql2", "/~new/mysql"] {
        let said = sql(&app, path, &mysql(&server), "select 1").await?;
        assert_in(&said, &["ConnectionFailed", denied]);
    }
    for path in ["/~old/mqtt2", "/~new/mqtt"] {
        let at = format!("mqtt://{}", server.address());
        let said = ask(&app, path, &at, &[("topic", "a")]).await?;
        assert_in(&said, &[denied]);
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_was_lost_is_found_again() -> Result<()> {
    let mut server = Backing::redis()?;
    let app1 = app(&server).await?;
    let at = redis(&server);
    assert_in(&ask(&app1, "/~new/redis", &at, &[]).await?, &["Ok(8)"]);
    server.stop();
    assert_in(&ask(&app1, "/~new/redis", &at, &[]).await?, &["Other"]);
    server.start()?;
    assert_in(&ask(&app1, "/~new/redis", &at, &[]).await?, &["Ok(8)"]);
    for (launch, path, at, one) in [
        (
            Backing::postgres as fn() -> Result<Backing>,
            "/~new/postgres",
            postgres as fn(&Backing) -> String,
            "Int32(1)",
        ),
        (Backing::mariadb, "/~new/mysql", mysql, "(1)"),
    ] {
        let mut server = launch()?;
        let app = app(&server).await?;
        let at = at(&server);
        assert_in(&sql(&app, path, &at, "select 1").await?, &[one]);
        server.stop();
        assert_in(&sql(&app, path, &at, "select 1").await?, &["Failed"]);
        server.start()?;
        let begun = Instant::now();
        // It listens before it takes clients.
        while !sql(&app, path, &at, "select 1").await?.contains(one) {
            assert!(begun.elapsed() < Duration::from_secs(30));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_slow_query_meets_the_timeout_and_many_run_at_once() -> Result<()> {
    let server = Backing::postgres()?;
    let app = run(&server, "1s").await?;
    let at = postgres(&server);
    for path in ["/~old/postgres", "/~old/postgres3", "/~new/postgres"] {
        let said = sql(&app, path, &at, "select pg_sleep(30)").await?;
        assert_in(&said, &["no answer within 1 s"]);
    }
    let begun = Instant::now();
    let nap = encode("select pg_sleep(0.5)");
    let nap = format!("/~new/postgres?at={}&sql={nap}", encode(&at));
    let mut naps = JoinSet::new();
    for _ in 0..10 {
        let (address, nap) = (app.address(), nap.clone());
        naps.spawn(async move { Client::http1(address).await?.get(&nap).await });
    }
    while let Some(said) = naps.join_next().await {
        assert_in(&said??.text(), &["1 rows, Ok(())"]);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "one after the other"
    );
    let large = "select repeat('x', 1000000) from generate_series(1, 100)";
    let said = sql(&app, "/~old/postgres3", &at, large).await?;
    assert_in(&said, &["the answer is larger than 64 MiB"]);
    Ok(())
}
