//! TLS with everything that is no web server: the servers that components are clients of, the stores, and the servers
//! that triggers listen to. Certificates count for their names and their authorities, and nothing falls back to plain
//! text.

use anyhow::Result;
use catena_test::broker::{publish, publish_mqtt};
use catena_test::client::encode;
use catena_test::upstream::Authority;
use catena_test::{Backing, Catena, Running};
use tempfile::TempDir;

/// What is said of an authority that is not trusted, and of a name that is another's.
const UNKNOWN: &str = "UnknownIssuer";
const OTHER_NAME: &str = "not valid for name";

/// An app whose components may reach the server by its name and by its address.
async fn app(server: &Backing, trusted: Option<&Authority>) -> Result<Running> {
    let port = server.port().to_string();
    let run = Catena::app("databases")?.variable("port", &port);
    trusting(run.variable("named", &port), trusted)
        .start()
        .await
}

fn trusting(run: Catena, trusted: Option<&Authority>) -> Catena {
    match trusted {
        Some(authority) => run.host_env("SSL_CERT_FILE", authority.root()),
        None => run,
    }
}

async fn ask(app: &Running, path: &str, at: &str, more: &str) -> Result<String> {
    let question = format!("{path}?at={}&{more}", encode(at));
    Ok(app.get(&question).await?.text())
}

#[track_caller]
fn assert_in(said: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(said.contains(wanted), "no {wanted:?} in:\n{said}");
    }
}

/// What must fail at a server of TLS: an authority that nobody knows, and a name that is not the certificate's.
async fn refuses(
    server: &Backing,
    authority: &Authority,
    ask: impl AsyncFn(&Running, &str) -> Result<String>,
) -> Result<()> {
    let stranger = app(server, None).await?;
    assert_in(&ask(&stranger, "localhost").await?, &[UNKNOWN]);
    let friend = app(server, Some(authority)).await?;
    assert_in(&ask(&friend, "127.0.0.1").await?, &[OTHER_NAME]);
    Ok(())
}

#[tokio::test]
async fn components_speak_tls_with_redis() -> Result<()> {
    let authority = Authority::create()?;
    let (server, _) = Backing::redis_tls(&authority)?;
    let url = |host: &str, port: u16| format!("rediss://{host}:{port}");
    let port = server.port();
    let friend = app(&server, Some(&authority)).await?;
    for path in ["/~old/redis2", "/~new/redis"] {
        let said = ask(&friend, path, &url("localhost", port), "").await?;
        assert_in(&said, &["Ok(8)"]);
    }
    let insecure = format!("{}/#insecure", url("localhost", port));
    let said = ask(&friend, "/~new/redis", &insecure, "").await?;
    assert_in(&said, &["InvalidAddress"]);
    refuses(&server, &authority, async |app, host| {
        ask(app, "/~new/redis", &url(host, port), "").await
    })
    .await?;
    // Redis without TLS waits for the end of a line.
    let plain = Backing::redis()?;
    let run = Catena::app("databases")?.variable("port", "2");
    let run = run.variable("named", &plain.port().to_string());
    let run = run.env("CATENA_CONNECT_TIMEOUT", "1s");
    let app = trusting(run, Some(&authority)).start().await?;
    let said = ask(&app, "/~new/redis", &url("localhost", plain.port()), "").await?;
    assert_in(&said, &["Other", "connecting took longer than 1 s"]);
    Ok(())
}

#[tokio::test]
async fn components_speak_tls_with_mqtt() -> Result<()> {
    let authority = Authority::create()?;
    let (server, _) = Backing::mosquitto_tls(&authority)?;
    let port = server.port();
    let trusting = app(&server, Some(&authority)).await?;
    for (path, scheme) in [("/~old/mqtt2", "mqtts"), ("/~new/mqtt", "ssl")] {
        let at = format!("{scheme}://localhost:{port}");
        let said = ask(&trusting, path, &at, "topic=a/b").await?;
        assert_eq!(said, "[Ok(()), Ok(()), Ok(())]");
    }
    let url = |host: &str, port: u16| format!("mqtts://{host}:{port}");
    refuses(&server, &authority, async |app, host| {
        ask(app, "/~new/mqtt", &url(host, port), "topic=a/b").await
    })
    .await?;
    let plain = Backing::mosquitto()?;
    let trusting = app(&plain, Some(&authority)).await?;
    let at = url("localhost", plain.port());
    let said = ask(&trusting, "/~new/mqtt", &at, "topic=a/b").await?;
    assert_in(&said, &["ConnectionFailed", "TLS with localhost"]);
    Ok(())
}

#[tokio::test]
async fn components_speak_tls_with_postgres() -> Result<()> {
    let authority = Authority::create()?;
    let server = Backing::postgres_tls(&authority)?;
    let port = server.port();
    let ssl = format!(
        "sql={}",
        encode("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
    );
    let pairs = |host: &str, port: u16, mode: &str| {
        format!("host={host} port={port} user=postgres dbname=postgres sslmode={mode}")
    };
    let trusting = app(&server, Some(&authority)).await?;
    for path in ["/~old/postgres2", "/~new/postgres"] {
        for mode in ["prefer", "require", "verify-ca", "verify-full"] {
            let said = ask(&trusting, path, &pairs("localhost", port, mode), &ssl).await?;
            assert_in(&said, &["Boolean(true)"]);
            let url = format!("postgres://postgres@localhost:{port}/postgres?sslmode={mode}");
            assert_in(&ask(&trusting, path, &url, &ssl).await?, &["Boolean(true)"]);
        }
        let plain = pairs("localhost", port, "disable");
        let said = ask(&trusting, path, &plain, &ssl).await?;
        assert_in(&said, &["Boolean(false)"]);
    }
    for mode in ["prefer", "require", "verify-full"] {
        refuses(&server, &authority, async |app, host| {
            ask(app, "/~new/postgres", &pairs(host, port, mode), &ssl).await
        })
        .await?;
    }
    let plain = Backing::postgres()?;
    let trusting = app(&plain, Some(&authority)).await?;
    for mode in ["require", "verify-ca", "verify-full"] {
        let at = pairs("localhost", plain.port(), mode);
        let said = ask(&trusting, "/~new/postgres", &at, &ssl).await?;
        assert_in(&said, &["ConnectionFailed", "server does not support TLS"]);
    }
    Ok(())
}

#[tokio::test]
async fn components_speak_tls_with_mysql() -> Result<()> {
    let authority = Authority::create()?;
    let server = Backing::mariadb_tls(&authority)?;
    let port = server.port();
    let cipher = "select variable_value from information_schema.session_status \
                  where variable_name = 'Ssl_cipher'";
    let cipher = format!("sql={}", encode(cipher));
    let url = |host: &str, port: u16, mode: &str| {
        format!("mysql://catena:secret@{host}:{port}/test?{mode}")
    };
    let trusting = app(&server, Some(&authority)).await?;
    for path in ["/~old/mysql2", "/~new/mysql"] {
        for mode in [
            "ssl-mode=required",
            "sslMode=VERIFY_IDENTITY",
            "ssl-mode=preferred",
            "require_ssl=true",
        ] {
            let said = ask(&trusting, path, &url("localhost", port, mode), &cipher).await?;
            assert_in(&said, &["Str(\"TLS_"]);
        }
        let said = ask(&trusting, path, &url("localhost", port, ""), &cipher).await?;
        assert_in(&said, &["Str(\"\")"]);
    }
    for mode in [
        "ssl-mode=required",
        "ssl-mode=preferred",
        "require_ssl=true&verify_ca=false&verify_identity=false",
    ] {
        refuses(&server, &authority, async |app, host| {
            ask(app, "/~new/mysql", &url(host, port, mode), &cipher).await
        })
        .await?;
    }
    let plain = Backing::mariadb()?;
    let trusting = app(&plain, Some(&authority)).await?;
    let at = url("localhost", plain.port(), "ssl-mode=preferred");
    let said = ask(&trusting, "/~new/mysql", &at, &cipher).await?;
    assert_in(&said, &["ConnectionFailed", "SSL"]);
    Ok(())
}

/// A key-value store by TLS trusts whom everything else does.
#[tokio::test]
async fn stores_speak_tls_with_redis() -> Result<()> {
    let authority = Authority::create()?;
    let (server, _) = Backing::redis_tls(&authority)?;
    let folder = TempDir::new()?;
    let config = folder.path().join("runtime-config.toml");
    let start = async |host: &str, trusted: Option<&Authority>| {
        let url = format!("rediss://{host}:{}", server.port());
        std::fs::write(
            &config,
            format!(
                "[key_value_store.shared]\ntype = \"redis\"\nurl = \"{url}\"\n\
                 [sqlite_database.remote]\ntype = \"libsql\"\nurl = \"http://127.0.0.1:1\"\n\
                 token = \"secret\"\n"
            ),
        )?;
        let run = Catena::app("stores")?.runtime_config(&config);
        let run = run.state_dir(&folder.path().join("state"));
        trusting(run, trusted).start().await
    };
    let question = "/~new/key-value-3/set?store=shared&key=a&value=b";
    let friend = start("localhost", Some(&authority)).await?;
    assert_eq!(friend.get(question).await?.text(), "Ok(())");
    for (host, trusted, why) in [
        ("localhost", None, UNKNOWN),
        ("127.0.0.1", Some(&authority), OTHER_NAME),
    ] {
        let app = start(host, trusted).await?;
        let said = app.get(question).await?.text();
        assert_in(&said, &[why]);
    }
    Ok(())
}

/// Messages of both come by TLS, also after their servers were away.
#[tokio::test]
async fn triggers_listen_by_tls() -> Result<()> {
    let authority = Authority::create()?;
    let (mut redis, redis_plain) = Backing::redis_tls(&authority)?;
    let (mut mqtt, mqtt_plain) = Backing::mosquitto_tls(&authority)?;
    let run = Catena::app("triggers")?
        .variable("redis", &format!("rediss://localhost:{}", redis.port()))
        .variable("mqtt", &format!("mqtts://localhost:{}", mqtt.port()));
    let app = trusting(run, Some(&authority)).start().await?;
    for there in ["", "is there again, "] {
        for what in [
            "messages of channel",
            "messages of news/+",
            "messages of once/+",
        ] {
            let line = format!("{there}brings {what}");
            app.output().wait_for(&line).await?;
        }
        let message = format!("hello{}", there.len());
        publish(redis_plain, "channel", &message)?;
        let recorded = format!("recorded /redis {message}");
        app.output().wait_for(&recorded).await?;
        for topic in ["news/a", "once/b"] {
            publish_mqtt(mqtt_plain, topic, &message)?;
            let recorded = format!("recorded /mqtt/{topic} {message}");
            app.output().wait_for(&recorded).await?;
        }
        if there.is_empty() {
            redis.stop();
            mqtt.stop();
            app.output().wait_for("redis at localhost").await?;
            let lost = format!("mqtt at localhost:{} brings nothing", mqtt.port());
            app.output().wait_for(&lost).await?;
            redis.start()?;
            mqtt.start()?;
        }
    }
    Ok(())
}

/// It is said once, and tried again until the certificate counts; the app answers meanwhile.
#[tokio::test]
async fn a_trigger_says_why_a_certificate_does_not_count() -> Result<()> {
    let authority = Authority::create()?;
    let (redis, _) = Backing::redis_tls(&authority)?;
    let (mqtt, _) = Backing::mosquitto_tls(&authority)?;
    let cases = [
        ("localhost", None, UNKNOWN),
        ("127.0.0.1", Some(&authority), OTHER_NAME),
    ];
    for (host, trusted, why) in cases {
        let run = Catena::app("triggers")?
            .variable("redis", &format!("rediss://{host}:{}", redis.port()))
            .variable("mqtt", &format!("ssl://{host}:{}", mqtt.port()));
        let app = trusting(run, trusted).start().await?;
        for (server, count) in [("redis", 1), ("mqtt", 2)] {
            let port = if server == "redis" {
                redis.port()
            } else {
                mqtt.port()
            };
            let said = format!("{server} at {host}:{port} brings nothing: ");
            let line = app.output().wait_for(&said).await?;
            assert_in(&line, &[why, "trying again until it does"]);
            // Two more tries, of which nothing is said.
            tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
            assert_eq!(app.output().count(&said), count, "{}", app.output().text());
        }
        assert_eq!(app.get("/there").await?.status.as_u16(), 200);
    }
    Ok(())
}

/// Both are told apart from a server that is not there, in one sentence.
#[tokio::test]
async fn a_wrong_password_is_said_in_a_sentence() -> Result<()> {
    let redis = Backing::redis_with(&["--requirepass", "secret"])?;
    let mqtt = Backing::mosquitto_with_user()?;
    let run = |user: &str, password: &str, redis_user: &str| {
        let port = redis.port();
        let redis = format!("redis://{redis_user}127.0.0.1:{port}");
        Ok::<_, anyhow::Error>(
            Catena::app("triggers")?
                .variable("redis", &redis)
                .variable("mqtt", &format!("mqtt://127.0.0.1:{}", mqtt.port()))
                .variable("user", user)
                .variable("password", password),
        )
    };
    let wrong = run("catena", "wrong", ":wrong@")?.start().await?;
    let nobody = run("", "", "")?.start().await?;
    for (app, why) in [
        (&wrong, "it refuses the user name or the password"),
        (&nobody, "it wants a password, and the address has none"),
    ] {
        let said = format!("redis at 127.0.0.1:{} brings nothing: {why};", redis.port());
        app.output().wait_for(&said).await?;
        let said = format!(
            "mqtt at 127.0.0.1:{} brings nothing: the broker refuses the user",
            mqtt.port()
        );
        app.output().wait_for(&said).await?;
        assert_eq!(
            app.output().count("wrong@"),
            0,
            "a password is no one's business"
        );
    }
    let right = run("catena", "secret", "default:secret@")?.start().await?;
    right
        .output()
        .wait_for("brings messages of channel")
        .await?;
    right.output().wait_for("brings messages of news/+").await?;
    Ok(())
}

/// Of two users, one may listen to one of the app's two channels only.
#[tokio::test]
async fn a_user_of_redis_listens_where_it_may() -> Result<()> {
    let some = ["--user", "some", "on", ">secret", "&news", "+@all"];
    let all = ["--user", "all", "on", ">secret", "&*", "+@all"];
    let redis = Backing::redis_with(&[some, all].concat())?;
    let at = redis.address();
    let start = async |user: &str| {
        Catena::app("triggers")?
            .variable("redis", &format!("redis://{user}@{at}"))
            .variable("channel", "news")
            .start()
            .await
    };
    let refused = [
        ("all:wrong", "it refuses the user name or the password;"),
        ("some:secret", "the user may not listen: "),
    ];
    for (user, why) in refused {
        let app = start(user).await?;
        let why = format!("redis at {at} brings nothing: {why}");
        app.output().wait_for(&why).await?;
    }
    let app = start("all:secret").await?;
    let listening = "brings messages of news, other";
    app.output().wait_for(listening).await?;
    publish(at, "other", "hello")?;
    app.output().wait_for("recorded /redis hello").await?;
    Ok(())
}
