//! Guests of every age: the release candidates of `wasi:http` from 2023, the HTTP interfaces of Spin's first SDKs, core
//! modules of those SDKs, and CGI programs.

use anyhow::{Context, Result};
use catena_test::broker::{publish, publish_mqtt, sqs};
use catena_test::{Backing, Catena};
use http::StatusCode;
use serde_json::json;
use tempfile::TempDir;

#[tokio::test]
async fn release_candidates_of_2023_answer_call_and_wait() -> Result<()> {
    let app = Catena::app("ages")?.start().await?;
    let mut client = app.http1().await?;
    for (route, stamp) in [("/october", "2023-10-18"), ("/november", "2023-11-10")] {
        let loud = client.post(route, "quiet").await?;
        assert_eq!(loud.text(), "QUIET", "{route}");
        assert_eq!(loud.header("x-candidate"), stamp);
        let path = format!("{route}/call?http://hello.spin.internal/");
        let called = client.get(&path).await?;
        assert_eq!(called.text(), "200 Hello from catena\n", "{route}");
        let path = format!("{route}/call?http://localhost/");
        let denied = client.get(&path).await?.text();
        assert!(denied.contains("HttpRequestDenied"), "{route}: {denied}");
        let slept = client.get(&format!("{route}/sleep")).await?;
        assert_eq!(slept.text(), "slept", "{route}");
    }
    let failed = client.get("/october/fail?").await?;
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
    Ok(())
}

#[tokio::test]
async fn the_http_interfaces_of_the_first_sdks() -> Result<()> {
    let app = Catena::app("ages")?.start().await?;
    let mut client = app.http1().await?;
    let answer = client.get("/inbound/a?b=c").await?;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.header("x-old"), "yes");
    assert_eq!(answer.text(), "/inbound/a?b=c /a");
    assert_eq!(client.post("/inbound/", "quiet").await?.text(), "QUIET");
    for (asked, told) in [
        (
            "call?http://hello.spin.internal/",
            "200 Hello from catena\n",
        ),
        ("post?/november", "200 SENT"),
        ("call?http://localhost/", "destination-not-allowed"),
        ("call?http://", "invalid-url"),
        ("call?ftp://self/", "invalid-url"),
    ] {
        let answer = client.get(&format!("/inbound/{asked}")).await?;
        let text = answer.text();
        assert!(text.contains(told), "{asked}: {text}");
    }
    let nothing = client.get("/inbound/nothing?status=0").await?;
    assert_eq!(nothing.status, StatusCode::INTERNAL_SERVER_ERROR);
    Ok(())
}

/// The candidate of `wasi:http` 0.3 that Spin 4.0 has.
#[tokio::test]
async fn the_release_candidate_of_march_2026_answers() -> Result<()> {
    let app = Catena::app("ages")?.start().await?;
    for _ in 0..2 {
        assert_eq!(app.get("/march").await?.text(), "Hello from catena\n");
    }
    Ok(())
}

/// A module of wit-bindgen 0.2: what it is passed arrives, what it answers comes back, and so with what it imports.
#[tokio::test]
async fn core_modules_of_the_first_sdks() -> Result<()> {
    let redis = Backing::redis()?;
    let address = format!("redis://{}", redis.address());
    let state = TempDir::new()?;
    let run = Catena::app("first")?.variable("redis", &address);
    let app = run.state_dir(state.path()).start().await?;
    let mut client = app.http1().await?;
    let answer = client.get("/a?b=c").await?;
    assert_eq!(answer.status.as_u16(), 203);
    assert_eq!(answer.header("x-first"), "yes");
    let text = answer.text();
    assert!(text.starts_with("0 /a?b=c params 0\n"), "{text}");
    assert!(text.contains("\nspin-path-info: /a\n"), "{text}");
    let text = client.post("/", "what it reads").await?.text();
    assert!(text.starts_with("1 / params 0\n"), "{text}");
    assert!(text.ends_with("\nwhat it reads"), "{text}");
    let nothing = client.get("/nothing").await?;
    assert_eq!(nothing.status, StatusCode::NO_CONTENT);
    let redis_path = format!("redis?{address}");
    for (asked, told) in [
        ("config?told", "<a value>"),
        (
            "call?http://hello.spin.internal/",
            "200, headers true: Hello from catena\n",
        ),
        ("call?http://localhost/", "error 1"),
        ("call?http://", "error 2"),
        ("keep?this", r#"0 0 this 1 ["kept"] 0 error 4 error 3"#),
        ("sql?this", "text whole real none this 7 1.5 kind 4"),
        (&redis_path, "a value, 1, binary a value, kind 0"),
        ("redis?redis://localhost:1", "error 1"),
    ] {
        let text = client.get(&format!("/{asked}")).await?.text();
        assert_eq!(text, told, "{asked}");
    }
    let unknown = client.get("/config?absent").await?.text();
    assert!(unknown.starts_with("error 0: "), "{unknown}");
    app.output().wait_for("first: answered /config").await?;
    Ok(())
}

#[tokio::test]
async fn messages_of_redis_wake_core_modules_of_the_first_sdks() -> Result<()> {
    let redis = Backing::redis()?;
    let address = format!("redis://{}", redis.address());
    let app = Catena::app("first")?.variable("redis", &address);
    let app = app.start().await?;
    app.output().wait_for("brings messages of news").await?;
    assert_eq!(publish(redis.address(), "news", "hello")?, 1);
    app.output().wait_for("recorded /first hello").await?;
    app.output()
        .wait_for("first: took hello: 200, headers true: recorded")
        .await?;
    publish(redis.address(), "news", "fail one")?;
    app.output().wait_for("it returned the error").await?;
    publish(redis.address(), "news", "after")?;
    app.output().wait_for("recorded /first after").await?;
    Ok(())
}

#[tokio::test]
async fn cgi_programs_see_their_request() -> Result<()> {
    let app = Catena::app("cgi")?.start().await?;
    let mut client = app.http1().await?;
    let answer = client
        .post("/module/a%20b?x=1&y=2", "what it reads")
        .await?;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("x-from"), "cgi");
    let text = answer.text();
    for line in [
        "argument 0: /module/a%20b",
        "argument 1: x=1",
        "argument 2: y=2",
        "CONTENT_LENGTH=13",
        "GATEWAY_INTERFACE=CGI/1.1",
        "OWN=own",
        "PATH_INFO=/a%20b",
        "PATH_TRANSLATED=/a b",
        "QUERY_STRING=x=1&y=2",
        "REMOTE_ADDR=127.0.0.1",
        "REQUEST_METHOD=POST",
        "SCRIPT_NAME=/module",
        "SERVER_PROTOCOL=HTTP/1.1",
        "X_MATCHED_ROUTE=/module/...",
        "X_RAW_COMPONENT_ROUTE=/module/...",
        "input: what it reads",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    let text = client.get("/component/ada/x?k").await?.text();
    for line in [
        "argument 0: program",
        "argument 1: k",
        "argument 2: last",
        "X_PATH_MATCH_NAME=ada",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    Ok(())
}

/// Two routes may lead to one program, each with its own arguments.
#[tokio::test]
async fn every_route_gives_a_cgi_program_its_own_arguments() -> Result<()> {
    let app = Catena::app("cgi")?.start().await?;
    for (path, arguments) in [
        ("/component/ada/x?k", ["program", "k", "last"].as_slice()),
        ("/again/x?k", &["again", "/again/x"]),
    ] {
        let text = app.get(path).await?.text();
        let found = text
            .lines()
            .filter_map(|line| line.strip_prefix("argument "))
            .filter_map(|line| line.split_once(": "));
        let found: Vec<&str> = found.map(|(_, argument)| argument).collect();
        assert_eq!(found, arguments, "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn cgi_programs_say_how_they_answer() -> Result<()> {
    let app = Catena::app("cgi")?.start().await?;
    let mut client = app.http1().await?;
    let moved = client.get("/module/moved").await?;
    assert_eq!(moved.status, StatusCode::FOUND);
    assert_eq!(moved.header("location"), "/elsewhere");
    let gone = client.get("/component/a/gone").await?;
    assert_eq!((gone.status, &*gone.text()), (StatusCode::GONE, "gone\n"));
    for path in ["/module/nothing", "/module/trap"] {
        let answer = client.get(path).await?;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
    }
    assert_eq!(client.get("/module/").await?.status, StatusCode::OK);
    Ok(())
}

/// What mqtt, cron and sqs wake, by the packages that these had before version 3.
#[tokio::test]
async fn triggers_wake_by_the_packages_before_version_3() -> Result<()> {
    let (mqtt, queues) = (Backing::mosquitto()?, Backing::sqs()?);
    let at = queues.address();
    let queue = sqs(at, "CreateQueue", &json!({ "QueueName": "q" }))?["QueueUrl"].clone();
    let queue = queue.as_str().context("a queue has a URL")?;
    let app = Catena::app("before-3")?
        .variable("mqtt", &format!("mqtt://{}", mqtt.address()))
        .variable("queue", queue)
        .env("AWS_ENDPOINT_URL", &format!("http://{at}"))
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .start()
        .await?;
    app.output().wait_for("brings messages of news/+").await?;
    publish_mqtt(mqtt.address(), "news/a", "hello")?;
    app.output().wait_for("recorded /mqtt/news/a hello").await?;
    app.output().wait_for("recorded /cron ").await?;
    let message = json!({ "QueueUrl": queue, "MessageBody": "there" });
    sqs(at, "SendMessage", &message)?;
    app.output().wait_for("recorded /sqs there").await?;
    Ok(())
}
