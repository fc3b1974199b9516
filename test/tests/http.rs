//! The HTTP trigger, from outside: protocols, limits, routes, headers, and guests that misbehave.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::Result;
use catena_test::client::{self, Client};
use catena_test::{Catena, Running};
use http::{Method, StatusCode};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

async fn routes() -> Result<Running> {
    Catena::app("routes")?.start().await
}

#[tokio::test]
async fn hello_over_both_protocols() -> Result<()> {
    let app = Catena::app("hello")?.start().await?;
    for mut client in [app.http1().await?, app.http2().await?] {
        let answer = client.get("/").await?;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.text(), "Hello from catena\n");
        assert_eq!(answer.header("content-type"), "text/plain");
    }
    Ok(())
}

/// The guest of `wasi:http` 0.3, which the benches use.
#[tokio::test]
async fn hello_p3() -> Result<()> {
    let app = Catena::app("hello-p3")?.start().await?;
    for mut client in [app.http1().await?, app.http2().await?] {
        for _ in 0..20 {
            let answer = client.get("/").await?;
            assert_eq!(answer.text(), "Hello from catena\n");
            assert_eq!(answer.header("content-type"), "text/plain");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_is_kept_alive() -> Result<()> {
    let app = routes().await?;
    for mut client in [app.http1().await?, app.http2().await?] {
        for _ in 0..10 {
            assert_eq!(client.get("/count").await?.text(), "1");
        }
        // Also after errors that are the guest's.
        assert_eq!(
            client.get("/trap").await?.status,
            StatusCode::INTERNAL_SERVER_ERROR
        );
        assert_eq!(client.get("/count").await?.status, StatusCode::OK);
    }
    Ok(())
}

#[tokio::test]
async fn many_streams_share_a_connection() -> Result<()> {
    let app = routes().await?;
    let mut client = app.http2().await?;
    let started = Instant::now();
    let mut exchanges = Vec::new();
    for _ in 0..20 {
        exchanges.push(client.request(Method::GET, "/slow?ms=300", &[]).await?);
    }
    for exchange in exchanges {
        assert_eq!(exchange.response().await?.text(), "at last\n");
    }
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    Ok(())
}

/// A fresh instance for every request of 0.2; of 0.3, instances are reused.
#[tokio::test]
async fn instances_are_fresh_or_reused_as_the_interface_allows() -> Result<()> {
    let app = routes().await?;
    let mut client = app.http1().await?;
    let mut most = 0;
    for _ in 0..10 {
        assert_eq!(client.get("/count").await?.text(), "1");
        most = most.max(client.get("/~p3/count").await?.text().parse()?);
    }
    assert!(most > 1, "no instance of 0.3 was used twice");
    // An instance that trapped is never used again.
    client.get("/~p3/trap").await?;
    assert_eq!(client.get("/~p3/count").await?.status, StatusCode::OK);
    let once = Catena::app("routes")?.env("CATENA_INSTANCE_USES", "1");
    let once = once.start().await?;
    for _ in 0..3 {
        assert_eq!(once.get("/~p3/count").await?.text(), "1");
    }
    Ok(())
}

#[tokio::test]
async fn bodies_stream_both_ways() -> Result<()> {
    let app = routes().await?;
    for path in ["/echo", "/~p3/echo"] {
        for mut client in [app.http1().await?, app.http2().await?] {
            let mut exchange = client.request(Method::POST, path, &[]).await?;
            for turn in ["one", "two", "three"] {
                exchange.send(turn).await?;
                exchange.expect(turn).await?;
            }
            exchange.finish();
            assert_eq!(exchange.next().await?, None);
        }
    }
    Ok(())
}

#[tokio::test]
async fn large_bodies_are_whole() -> Result<()> {
    let app = routes().await?;
    for prefix in ["", "/~p3"] {
        for mut client in [app.http1().await?, app.http2().await?] {
            let answer = client.get(&format!("{prefix}/large?bytes=5000000")).await?;
            assert_eq!(answer.body.len(), 5_000_000, "{prefix}");
            let body = vec![b'x'; 5_000_000];
            let answer = client.post(&format!("{prefix}/sink"), body).await?;
            assert_eq!(answer.text(), "5000000", "{prefix}");
        }
    }
    Ok(())
}

/// A slow reader holds the guest back: what is not read is not held in memory.
#[tokio::test]
async fn a_reader_that_stops_stops_the_writer() -> Result<()> {
    let app = routes().await?;
    let mut client = app.http1().await?;
    let path = "/drip?count=1000000&ms=0&size=10000&name=held";
    let mut exchange = client.request(Method::GET, path, &[]).await?;
    exchange.next().await?;
    // The kernel's buffers take some mebibytes first.
    let mut before = 0;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = app.output().count("held");
        if now == before {
            return Ok(());
        }
        before = now;
    }
    anyhow::bail!("the guest goes on writing: {before} pieces of 10 kB")
}

/// A client whose kernel holds little that it has not read.
async fn with_small_buffer(app: &Running) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(64 << 10)?;
    Ok(socket.connect(app.address()).await?)
}

/// A client that reads nothing loses its connection, and its instance serves the next one.
#[tokio::test]
async fn a_client_that_never_reads_is_cut() -> Result<()> {
    let app = Catena::app("routes")?.env("CATENA_WRITE_TIMEOUT", "1s");
    let app = app.env("CATENA_MAX_INSTANCES", "1").start().await?;
    for path in [
        "/drip?count=100000000&ms=0&size=10000",
        "/~p3/large?bytes=100000000000",
    ] {
        let mut stream = with_small_buffer(&app).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        // The only instance is at work.
        let started = Instant::now();
        let waiting = app.get("/count").await?;
        let waited = started.elapsed();
        assert_eq!(waiting.status, StatusCode::OK, "{path}: {}", waiting.text());
        assert!(waited > Duration::from_millis(500), "{path}: {waited:?}");
        assert!(waited < Duration::from_secs(10), "{path}: {waited:?}");
        // Reset: what was under way is not worth sending.
        let mut rest = Vec::new();
        let error = stream.read_to_end(&mut rest).await.err();
        let kind = error.map(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::ConnectionReset), "{path}");
    }
    Ok(())
}

/// Over HTTP/2 it is one stream that is not read: its instance is free again, and the other streams go on.
#[tokio::test]
async fn a_stream_that_is_never_read_is_cut() -> Result<()> {
    let app = Catena::app("routes")?.env("CATENA_WRITE_TIMEOUT", "1s");
    let app = app.env("CATENA_MAX_INSTANCES", "1").start().await?;
    let mut client = app.http2().await?;
    for path in [
        "/drip?count=100000000&ms=0&size=10000",
        "/~p3/large?bytes=100000000000",
    ] {
        let mut unread = client.request(Method::GET, path, &[]).await?;
        assert_eq!(unread.head().await?.status(), StatusCode::OK, "{path}");
        let started = Instant::now();
        let waiting = client.get("/count").await?;
        let waited = started.elapsed();
        assert_eq!(waiting.status, StatusCode::OK, "{path}: {}", waiting.text());
        assert!(waited > Duration::from_millis(500), "{path}: {waited:?}");
        assert!(waited < Duration::from_secs(10), "{path}: {waited:?}");
        // What came before can be read; then it breaks off.
        let broken = loop {
            match unread.next().await {
                Ok(Some(_)) => {}
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        assert!(broken, "{path} looks whole");
    }
    Ok(())
}

/// Whoever reads slowly, but reads, may take as long as it takes.
#[tokio::test]
async fn a_client_that_reads_slowly_is_not_cut() -> Result<()> {
    let app = Catena::app("routes")?.env("CATENA_WRITE_TIMEOUT", "1s");
    let app = app.start().await?;
    let mut stream = with_small_buffer(&app).await?;
    let request = "GET /large?bytes=20000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut piece = vec![0; 64 << 10];
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        stream.read_exact(&mut piece).await?;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await?;
    assert!(rest.ends_with(b"\r\n0\r\n\r\n"), "the body is not whole");
    Ok(())
}

/// At the limit a client waits until another has gone.
#[tokio::test]
async fn connections_are_limited() -> Result<()> {
    let app = Catena::app("routes")?.env("CATENA_MAX_CONNECTIONS", "2");
    let mut app = app.start().await?;
    let mut first = app.http1().await?;
    let mut second = app.http2().await?;
    assert_eq!(first.get("/count").await?.status, StatusCode::OK);
    assert_eq!(second.get("/count").await?.status, StatusCode::OK);
    let mut third = app.http1().await?;
    let exchange = third.request(Method::GET, "/count", &[]).await?;
    let mut answer = std::pin::pin!(exchange.response());
    let early = tokio::time::timeout(Duration::from_millis(500), &mut answer).await;
    assert!(early.is_err(), "a third connection was served: {early:?}");
    app.output().wait_for("CATENA_MAX_CONNECTIONS").await?;
    // Those that are there are served as ever.
    assert_eq!(first.get("/count").await?.status, StatusCode::OK);
    assert_eq!(second.get("/count").await?.status, StatusCode::OK);
    drop(first);
    assert_eq!(answer.await?.status, StatusCode::OK);
    // A full house does not hold up the end.
    let _waiting = app.http1().await?;
    assert_eq!(app.stop().await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn trailers_come_through() -> Result<()> {
    let app = routes().await?;
    let answer = app.http2().await?.get("/trailers").await?;
    assert_eq!(answer.text(), "body\n");
    assert_eq!(
        answer.trailers.get("x-sum").map(|sum| sum.as_bytes()),
        Some(&b"42"[..])
    );
    Ok(())
}

#[tokio::test]
async fn methods_statuses_and_headers() -> Result<()> {
    let app = routes().await?;
    let mut client = app.http1().await?;
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE"] {
        let exchange = client.request(method.parse()?, "/see", &[]).await?;
        assert_eq!(exchange.response().await?.json()?["method"], method);
    }
    let answer = client
        .request(Method::HEAD, "/see", &[])
        .await?
        .response()
        .await?;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    let answer = client
        .get("/status?code=418&header=x-one:1&header=x-one:2")
        .await?;
    assert_eq!(answer.status.as_u16(), 418);
    assert_eq!(answer.headers.get_all("x-one").iter().count(), 2);
    let answer = client
        .get_with("/see?q=a%20b", &[("x-two", "first"), ("x-two", "second")])
        .await?;
    assert_eq!(answer.json()?["path"], "/see?q=a%20b", "as it was sent");
    assert_eq!(answer.seen("x-two")?, ["first", "second"]);
    Ok(())
}

#[tokio::test]
async fn routes_exact_wildcard_and_named() -> Result<()> {
    let app = routes().await?;
    let mut client = app.http1().await?;
    for (path, route, info) in [
        ("/anything/at/all", "/...", "/anything/at/all"),
        ("/", "/...", "/"),
        ("/exact", "/exact", ""),
        ("/exact/more", "/...", "/exact/more"),
        ("/users/7", "/users/:id", ""),
        ("/users/7/files/a/b", "/users/:id/files/...", "/a/b"),
        ("/users/7/other", "/...", "/users/7/other"),
    ] {
        let answer = client.get(path).await?;
        assert_eq!(answer.seen("spin-matched-route")?, [route], "{path}");
        assert_eq!(answer.seen("spin-path-info")?, [info], "{path}");
    }
    let answer = client.get("/users/ada").await?;
    assert_eq!(answer.seen("spin-path-match-id")?, ["ada"]);
    Ok(())
}

/// As Spin does it: the last one counts, and people are told.
#[tokio::test]
async fn of_a_route_that_stands_twice_the_last_counts() -> Result<()> {
    let app = routes().await?;
    let answer = app.get("/~twice/env").await?.text();
    assert!(answer.contains("[\"NAME\",\"last\"]"), "{answer}");
    let warned = app.output().all();
    assert!(
        warned
            .iter()
            .any(|line| line.contains("/~twice") && line.contains("last")),
        "{warned:?}"
    );
    Ok(())
}

#[tokio::test]
async fn nothing_is_where_there_is_no_route() -> Result<()> {
    let app = Catena::app("calls")?.start().await?;
    let answer = app.get("/nowhere").await?;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    Ok(())
}

#[tokio::test]
async fn a_static_response() -> Result<()> {
    let app = routes().await?;
    for mut client in [app.http1().await?, app.http2().await?] {
        let answer = client.get("/static").await?;
        assert_eq!(answer.status.as_u16(), 418);
        assert_eq!(answer.header("x-kind"), "static");
        assert_eq!(answer.text(), "short and stout");
    }
    Ok(())
}

#[tokio::test]
async fn health() -> Result<()> {
    let app = routes().await?;
    let info = app.get("/.well-known/spin/info").await?;
    assert_eq!(info.header("content-type"), "application/json");
    assert_eq!(
        info.json()?,
        serde_json::json!({"name": "routes", "version": "0.1.0"})
    );
    let answer = app.get("/.well-known/spin/health").await?;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (StatusCode::OK, "OK")
    );
    Ok(())
}

#[tokio::test]
async fn the_spin_headers() -> Result<()> {
    let app = routes().await?;
    let address = app.address();
    let answer = app.get("/users/ada/files/a/b?x=1").await?;
    let full = format!("http://{address}/users/ada/files/a/b?x=1");
    for (name, value) in [
        ("spin-full-url", full.as_str()),
        ("spin-path-info", "/a/b"),
        ("spin-matched-route", "/users/:id/files/..."),
        ("spin-component-route", "/users/:id/files"),
        ("spin-raw-component-route", "/users/:id/files/..."),
        ("spin-base-path", "/"),
        ("spin-path-match-id", "ada"),
    ] {
        assert_eq!(answer.seen(name)?, [value], "{name}");
    }
    let client = answer.seen("spin-client-addr")?;
    assert_eq!(client.len(), 1);
    assert!(client[0].starts_with("127.0.0.1:"), "{client:?}");
    Ok(())
}

/// What a client sends under their names is removed, also under names that catena does not set.
#[tokio::test]
async fn a_clients_own_spin_headers_are_removed() -> Result<()> {
    let app = routes().await?;
    for mut client in [app.http1().await?, app.http2().await?] {
        let forged = [
            ("spin-path-info", "/forged"),
            ("Spin-Client-Addr", "1.2.3.4:5"),
            ("spin-path-match-id", "forged"),
            ("spin-anything", "forged"),
        ]
        .map(|(name, value)| (name.to_lowercase(), value));
        let forged: Vec<_> = forged
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let answer = client.get_with("/users/ada", &forged).await?;
        assert!(!answer.text().contains("forged"), "{}", answer.text());
        assert!(!answer.text().contains("1.2.3.4"), "{}", answer.text());
    }
    Ok(())
}

#[tokio::test]
async fn the_head_of_a_request_is_limited_in_size() -> Result<()> {
    let app = Catena::app("routes")?.env("CATENA_MAX_HEADER_BYTES", "16384");
    let app = app.start().await?;
    let fits = "x".repeat(8 << 10);
    let too_large = "x".repeat(64 << 10);
    let answer = app
        .http1()
        .await?
        .get_with("/see", &[("x-big", &fits)])
        .await?;
    assert_eq!(answer.status, StatusCode::OK);
    let request = format!("GET /see HTTP/1.1\r\nHost: a\r\nX-Big: {too_large}\r\n\r\n");
    let answer = client::raw(app.address(), request.as_bytes()).await?;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let mut http2 = app.http2().await?;
    if let Ok(answer) = http2.get_with("/see", &[("x-big", &too_large)]).await {
        assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    // It serves on.
    assert_eq!(app.get("/count").await?.text(), "1");
    Ok(())
}

#[tokio::test]
async fn the_head_of_a_request_is_limited_in_time() -> Result<()> {
    let app = Catena::app("routes")?.env("CATENA_HEADER_TIMEOUT", "500ms");
    let app = app.start().await?;
    // The preface, no settings, and a head that is to be continued.
    let unfinished =
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\0\0\0\0\x01\x02";
    for beginning in [
        "",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ",
        "PRI",
        unfinished,
    ] {
        let started = Instant::now();
        let mut stream = TcpStream::connect(app.address()).await?;
        stream.write_all(beginning.as_bytes()).await?;
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer));
        // Closed, or reset: both are an end.
        let ended = ended.await;
        assert!(ended.is_ok(), "{beginning:?} holds the connection");
        assert!(
            started.elapsed() >= Duration::from_millis(400),
            "{beginning:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_body_may_be_limited() -> Result<()> {
    let app = Catena::app("routes")?.env("CATENA_MAX_BODY_BYTES", "1000");
    let app = app.start().await?;
    let mut client = app.http1().await?;
    assert_eq!(client.post("/sink", vec![b'x'; 1000]).await?.text(), "1000");
    let request =
        "POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\nConnection: close\r\n\r\n";
    let answer = client::raw(app.address(), request.as_bytes()).await?;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn what_is_not_http_is_refused() -> Result<()> {
    let app = routes().await?;
    for request in [
        "\0\0\0\0\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
    ] {
        let request = request.replace(" HTTP/1.1\r\n", " HTTP/1.1\r\nConnection: close\r\n");
        let answer = client::raw(app.address(), request.as_bytes()).await?;
        assert!(answer.starts_with("HTTP/1.1 4"), "{request:?}: {answer:?}");
    }
    assert_eq!(app.get("/count").await?.text(), "1");
    Ok(())
}

#[tokio::test]
async fn a_guest_that_fails_is_a_500() -> Result<()> {
    let app = routes().await?;
    let mut client = app.http1().await?;
    for path in [
        "/trap",
        "/panic",
        "/silent",
        "/silent?ms=300",
        "/exit?code=1",
        "/~p3/trap",
        "/~p3/error",
    ] {
        let answer = client.get(path).await?;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert!(
            !answer.text().contains("wasm"),
            "no inner detail: {}",
            answer.text()
        );
    }
    // The reason is in the log, with the component's name.
    app.output().wait_for("root").await?;
    Ok(())
}

#[tokio::test]
async fn a_body_that_is_not_finished_is_aborted() -> Result<()> {
    let app = routes().await?;
    for path in [
        "/unfinished",
        "/trap-after?bytes=5",
        "/~p3/unfinished",
        "/~p3/trap-after?bytes=5",
    ] {
        for mut client in [app.http1().await?, app.http2().await?] {
            // Over HTTP/1.1 a body that ends at once may take the head with it.
            let answer = client.get(path).await;
            assert!(answer.is_err(), "{path} looks whole: {answer:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_guest_that_never_answers_is_cut() -> Result<()> {
    let app = Catena::app("routes")?.env("CATENA_RESPONSE_TIMEOUT", "500ms");
    let app = app.start().await?;
    for path in ["/slow?ms=60000", "/spin", "/~p3/slow?ms=60000"] {
        let started = Instant::now();
        let answer = app.get(path).await?;
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT, "{path}");
        assert!(started.elapsed() < Duration::from_secs(10), "{path}");
    }
    // The spinning guest is gone: nothing takes the processor any more.
    let before = processor_time(app.pid()?)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = processor_time(app.pid()?)?;
    assert!(
        after - before < 50,
        "{} ticks in a second of idleness",
        after - before
    );
    Ok(())
}

/// While a guest spins, others are served.
#[tokio::test]
async fn a_guest_that_spins_does_not_stop_the_others() -> Result<()> {
    let app = Catena::app("routes")?.env("CATENA_RESPONSE_TIMEOUT", "3s");
    let app = app.start().await?;
    let mut spinners = Vec::new();
    for _ in 0..4 {
        let mut client = app.http1().await?;
        let exchange = client.request(Method::GET, "/spin", &[]).await?;
        spinners.push((client, exchange));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    assert_eq!(app.get("/count").await?.text(), "1");
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    Ok(())
}

/// User and system time of a process, in hundredths of a second.
fn processor_time(pid: i32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

#[tokio::test]
async fn memory_is_limited() -> Result<()> {
    let limit = (64 << 20).to_string();
    let app = Catena::app("routes")?.env("SPIN_MAX_INSTANCE_MEMORY", &limit);
    let app = app.start().await?;
    let got: u64 = app.get("/allocate").await?.text().parse()?;
    assert!((32..64).contains(&got), "{got} MiB under a limit of 64");
    assert_eq!(app.get("/allocate?mib=8").await?.text(), "8");
    Ok(())
}

#[tokio::test]
async fn a_response_head_may_be_large() -> Result<()> {
    let app = routes().await?;
    let answer = app.get("/status?big-header=20000").await?;
    assert_eq!(answer.header("x-big").len(), 20_000);
    Ok(())
}

#[tokio::test]
async fn stdout_and_stderr_of_guests_are_the_processs() -> Result<()> {
    let app = routes().await?;
    app.get("/print?out=to-stdout&err=to-stderr").await?;
    app.output().wait_for("to-stdout").await?;
    app.output().wait_for("to-stderr").await?;
    Ok(())
}

/// A request under way is finished, and nothing new is accepted.
#[tokio::test]
async fn sigterm_drains() -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut app = routes().await?;
        let mut client = app.http1().await?;
        let exchange = client.request(Method::GET, "/slow?ms=1000", &[]).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        app.signal(signal)?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(
            Client::http1(app.address()).await.is_err(),
            "the port is closed"
        );
        assert_eq!(exchange.response().await?.text(), "at last\n");
        assert_eq!(app.ended().await?.code(), Some(0));
    }
    Ok(())
}

/// Who balances the load hears of the end a little later: until then everything goes on.
#[tokio::test]
async fn the_end_may_be_delayed() -> Result<()> {
    let mut app = Catena::app("routes")?
        .env("CATENA_DRAIN_DELAY", "2s")
        .start()
        .await?;
    let mut kept = app.http1().await?;
    kept.get("/count").await?;
    let started = Instant::now();
    app.signal(Signal::SIGTERM)?;
    while started.elapsed() < Duration::from_secs(1) {
        assert_eq!(app.get("/count").await?.status, StatusCode::OK);
        assert_eq!(kept.get("/count").await?.status, StatusCode::OK);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(app.ended().await?.code(), Some(0));
    assert!(started.elapsed() > Duration::from_secs(2));
    Ok(())
}

/// Instances that wait for their next request do not hold up the end.
#[tokio::test]
async fn sigterm_ends_an_app_with_idle_instances() -> Result<()> {
    let mut app = Catena::app("hello-p3")?.start().await?;
    app.get("/").await?;
    assert_eq!(app.stop().await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn a_drain_has_an_end() -> Result<()> {
    let app = Catena::app("routes")?.env("CATENA_DRAIN_TIMEOUT", "500ms");
    let mut app = app.start().await?;
    let mut client = app.http1().await?;
    let _exchange = client.request(Method::GET, "/slow?ms=60000", &[]).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = Instant::now();
    assert_eq!(app.stop().await?.code(), Some(0));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() -> Result<()> {
    let mut app = routes().await?;
    let mut clients = [app.http1().await?, app.http2().await?];
    for client in &mut clients {
        client.get("/count").await?;
    }
    let silent = std::net::TcpStream::connect(app.address())?;
    let started = Instant::now();
    assert_eq!(app.stop().await?.code(), Some(0));
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    drop(silent);
    Ok(())
}
