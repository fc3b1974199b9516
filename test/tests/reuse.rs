//! `CATENA_REUSE_INSTANCES`: instances of `wasi:http` 0.2 that answer one request after another, where that is asked
//! for, and what keeps one from doing so. `/count` says how many requests its instance has seen.

use std::time::Duration;

use anyhow::{Context, Result};
use catena_test::client::{Client, encode};
use catena_test::output::wait_until;
use catena_test::{Catena, Containerd, Running};
use http::{Method, StatusCode};

const SETTING: &str = "CATENA_REUSE_INSTANCES";

async fn start(app: &str, reused: &str) -> Result<Running> {
    Catena::app(app)?.env(SETTING, reused).start().await
}

/// The numbers that the next requests are told.
async fn counts<const N: usize>(client: &mut Client, path: &str) -> Result<[u32; N]> {
    let mut counts = [0; N];
    for count in &mut counts {
        let answer = client.get(path).await?;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        *count = answer.text().parse()?;
    }
    Ok(counts)
}

#[tokio::test]
async fn instances_are_reused_where_that_is_asked_for() -> Result<()> {
    let app = start("calls", "any").await?;
    let mut client = app.http1().await?;
    assert_eq!(counts(&mut client, "/~any/count").await?, [1, 2, 3, 4]);
    // No other component is meant.
    assert_eq!(counts(&mut client, "/~one/count").await?, [1, 1]);

    let app = start("calls", "all").await?;
    let mut client = app.http1().await?;
    assert_eq!(counts(&mut client, "/~any/count").await?, [1, 2]);
    assert_eq!(counts(&mut client, "/~one/count").await?, [1, 2]);

    let run = Catena::app("calls")?.env(SETTING, "any");
    let app = run.env("CATENA_INSTANCE_USES", "2").start().await?;
    let mut client = app.http1().await?;
    assert_eq!(counts(&mut client, "/~any/count").await?, [1, 2, 1, 2]);
    Ok(())
}

#[tokio::test]
async fn without_the_setting_every_request_has_its_own() -> Result<()> {
    for reused in [None, Some("none")] {
        let run = Catena::app("calls")?;
        let run = match reused {
            None => run,
            Some(value) => run.env(SETTING, value),
        };
        let app = run.start().await?;
        let mut client = app.http1().await?;
        assert_eq!(counts(&mut client, "/~any/count").await?, [1, 1, 1]);
    }
    Ok(())
}

#[tokio::test]
async fn a_callee_is_reused_too() -> Result<()> {
    let app = start("calls", "callee").await?;
    let mut client = app.http1().await?;
    let url = encode("http://callee.spin.internal/count");
    let call = format!("/~one/call?url={url}");
    assert_eq!(counts(&mut client, &call).await?, [1, 2, 3]);
    // A caller that is reused calls with what its present request brings.
    let app = start("calls", "one,callee").await?;
    let mut client = app.http1().await?;
    assert_eq!(counts(&mut client, &call).await?, [1, 2, 3]);
    assert_eq!(counts(&mut client, "/~one/count").await?, [4]);
    Ok(())
}

/// Each of these uses an instance that has answered before. None may come after it.
#[tokio::test]
async fn what_failed_or_left_something_behind_is_not_reused() -> Result<()> {
    let run = Catena::app("calls")?.env(SETTING, "any");
    let run = run.env("CATENA_RESPONSE_TIMEOUT", "500ms");
    let limit = (64 << 20).to_string();
    let app = run.env("SPIN_MAX_INSTANCE_MEMORY", &limit).start().await?;
    let mut client = app.http1().await?;
    let call = encode("http://callee.spin.internal/slow?ms=100");
    let send_off = format!("/~any/send-off?url={call}");
    for (path, status) in [
        ("/~any/trap", StatusCode::INTERNAL_SERVER_ERROR),
        ("/~any/panic", StatusCode::INTERNAL_SERVER_ERROR),
        ("/~any/exit", StatusCode::INTERNAL_SERVER_ERROR),
        ("/~any/slow?ms=60000", StatusCode::GATEWAY_TIMEOUT),
        ("/~any/spin", StatusCode::GATEWAY_TIMEOUT),
        ("/~any/allocate", StatusCode::OK),
        ("/~any/leak?what=headers", StatusCode::OK),
        ("/~any/leak?what=body", StatusCode::OK),
        ("/~any/leak?what=timer", StatusCode::OK),
        (&send_off, StatusCode::OK),
    ] {
        let before: [u32; 2] = counts(&mut client, "/~any/count").await?;
        assert_eq!(before, [1, 2], "before {path}");
        assert_eq!(client.get(path).await?.status, status, "{path}");
        assert_eq!(counts(&mut client, "/~any/count").await?, [1], "{path}");
        // Only to have the next round begin with a fresh one.
        client.get("/~any/trap").await?;
    }
    Ok(())
}

/// What every program does is no reason: it prints, and asks for its environment.
#[tokio::test]
async fn what_prints_streams_or_calls_is_reused() -> Result<()> {
    let app = start("calls", "any").await?;
    let mut client = app.http1().await?;
    let hello = encode("http://callee.spin.internal/count");
    let mut expected = 0;
    for path in [
        "/~any/print?out=to-stdout&err=to-stderr".to_owned(),
        "/~any/env".to_owned(),
        "/~any/large?bytes=200000".to_owned(),
        "/~any/drip?count=3&ms=20".to_owned(),
        "/~any/trailers".to_owned(),
        format!("/~any/report?url={hello}"),
        format!("/~any/call?url={hello}"),
    ] {
        for _ in 0..2 {
            assert_eq!(client.get(&path).await?.status, StatusCode::OK, "{path}");
        }
        expected += 3;
        assert_eq!(
            counts(&mut client, "/~any/count").await?,
            [expected],
            "{path}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_instance_whose_client_left_is_not_reused() -> Result<()> {
    let app = start("calls", "any").await?;
    let mut client = app.http1().await?;
    assert_eq!(counts(&mut client, "/~any/count").await?, [1, 2]);
    let mut leaving = app.http1().await?;
    let path = "/~any/drip?count=1000&ms=20";
    let mut exchange = leaving.request(Method::GET, path, &[]).await?;
    exchange.next().await?;
    drop(exchange);
    drop(leaving);
    // Long enough for catena to see it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(counts(&mut client, "/~any/count").await?, [1]);
    Ok(())
}

#[tokio::test]
async fn requests_side_by_side_have_instances_of_their_own() -> Result<()> {
    let app = start("calls", "any").await?;
    let slow = app.get("/~any/slow?ms=300");
    let others = async {
        let mut client = app.http1().await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        counts::<3>(&mut client, "/~any/count").await
    };
    let (slow, others) = tokio::join!(slow, others);
    assert_eq!(slow?.text(), "at last\n");
    assert_eq!(others?, [1, 2, 3]);
    Ok(())
}

#[tokio::test]
async fn what_the_setting_cannot_mean_is_refused() -> Result<()> {
    let run = Catena::app("calls")?.env(SETTING, "any,nobody-there,noone");
    let refused = run.env("CATENA_CHAIN_DEPTH", "0").finish().await?;
    assert!(!refused.status.success());
    // All problems together.
    for part in ["\"nobody-there\"", "\"noone\"", "CATENA_CHAIN_DEPTH=0"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    // A command has no requests to answer.
    let run = Catena::app("command")?.env(SETTING, "command");
    let refused = run.finish().await?;
    assert!(!refused.status.success());
    let reason =
        "names the component \"command\", which does not export wasi:http/incoming-handler";
    assert!(refused.stderr.contains(reason), "{}", refused.stderr);
    Ok(())
}

#[tokio::test]
async fn it_is_refused_in_create_and_heeded_under_containerd() -> Result<()> {
    let (containerd, image) = Containerd::with_app("calls")?;
    let refused = containerd.container(&image, "refused");
    let refused = refused.flags(&["--env", &format!("{SETTING}=nobody-there")]);
    let refused = refused.run()?;
    assert!(!refused.success);
    let reason = "names the component \"nobody-there\", which the application does not have";
    assert!(refused.stderr.contains(reason), "{}", refused.stderr);
    containerd.nothing_is_left_of("refused")?;
    let reused = containerd.container(&image, "reused");
    let reused = reused.flags(&["--env", &format!("{SETTING}=any")]);
    let task = reused.start()?;
    let mut most = 0;
    for _ in 0..5 {
        most = most.max(task.get("/~any/count").await?.text().parse()?);
    }
    assert_eq!(most, 5);
    task.remove()
}

/// How often the threads of a process have slept.
fn sleeps(pid: i32) -> Result<u64> {
    let mut sum = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = std::fs::read_to_string(thread?.path().join("status"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += line
            .context("no count of switches")?
            .trim()
            .parse::<u64>()?;
    }
    Ok(sum)
}

/// Instances that nobody asks are let go of, and then nothing wakes the process any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_nobody_asks_sleeps() -> Result<()> {
    let app = start("calls", "any").await?;
    let mut client = app.http1().await?;
    assert_eq!(counts(&mut client, "/~any/count").await?, [1, 2]);
    drop(client);
    // Twice, for the clock that watches idle instances has to begin again.
    for counted in [[1, 2]; 2] {
        wait_until("nothing wakes it", || {
            let before = sleeps(app.pid()?)?;
            std::thread::sleep(Duration::from_secs(8));
            Ok(sleeps(app.pid()?)? == before)
        })?;
        let mut client = app.http1().await?;
        assert_eq!(counts(&mut client, "/~any/count").await?, counted);
    }
    Ok(())
}
