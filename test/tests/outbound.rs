//! Calls that leave the app: what may be reached, over what, and for how long. The servers are real and local.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;
use catena_test::client::encode;
use catena_test::upstream::{self, Authority};
use catena_test::{Catena, Response, Running, Upstream};
use http::StatusCode;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

async fn outbound(server: SocketAddr) -> Result<Running> {
    let app = Catena::app("outbound")?;
    app.variable("server", &server.to_string()).start().await
}

async fn call(app: &Running, caller: &str, url: &str) -> Result<Response> {
    app.get(&format!("/~{caller}/call?url={}", encode(url)))
        .await
}

fn assert_denied(answer: &Response, what: &str) {
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{what}");
    assert_eq!(answer.text(), "HttpRequestDenied", "{what}");
}

#[tokio::test]
async fn only_allowed_hosts_are_reached() -> Result<()> {
    let server = Upstream::start().await?;
    let other = Upstream::start().await?;
    let app = outbound(server.address()).await?;
    let allowed = format!("http://{}/hello?x=1", server.address());
    for caller in ["one", "p3", "wildcard", "cidr"] {
        let answer = call(&app, caller, &allowed).await?;
        assert_eq!(answer.status, StatusCode::OK, "{caller}: {}", answer.text());
        assert!(
            answer.text().starts_with("GET /hello?x=1\n"),
            "{}",
            answer.text()
        );
    }
    let asked = server.requests();
    assert_denied(&call(&app, "nobody", &allowed).await?, "nobody");
    let elsewhere = format!("http://{}/", other.address());
    for caller in ["one", "p3", "nobody"] {
        assert_denied(&call(&app, caller, &elsewhere).await?, caller);
    }
    let other_scheme = format!("https://{}/", server.address());
    assert_denied(&call(&app, "one", &other_scheme).await?, "another scheme");
    let by_name = format!("http://localhost:{}/", server.address().port());
    assert_denied(
        &call(&app, "one", &by_name).await?,
        "another name of the same host",
    );
    assert_denied(
        &call(&app, "cidr", &by_name).await?,
        "a name is in no block of addresses",
    );
    assert_eq!(server.requests(), asked, "what was denied was never sent");
    assert_eq!(other.connections(), 0);
    Ok(())
}

#[tokio::test]
async fn what_to_allow_is_said_in_the_log() -> Result<()> {
    let server = Upstream::start().await?;
    let app = outbound(server.address()).await?;
    call(&app, "nobody", &format!("http://{}/", server.address())).await?;
    let line = app.output().wait_for("allowed_outbound_hosts").await?;
    assert!(line.contains(&server.address().to_string()), "{line}");
    Ok(())
}

#[tokio::test]
async fn the_host_is_the_one_of_the_url() -> Result<()> {
    let server = Upstream::start().await?;
    let app = outbound(server.address()).await?;
    let url = encode(&format!("http://{}/", server.address()));
    for caller in ["one", "p3"] {
        let answer = app
            .get(&format!("/~{caller}/call?url={url}&host=evil.example"))
            .await?;
        let expected = format!("host: {}\n", server.address());
        assert!(
            answer.text().contains(&expected),
            "{caller}: {}",
            answer.text()
        );
        assert!(!answer.text().contains("evil.example"), "{caller}");
    }
    Ok(())
}

/// Also across requests to the app, whose instances are fresh.
#[tokio::test]
async fn connections_are_pooled() -> Result<()> {
    let server = Upstream::start().await?;
    let app = outbound(server.address()).await?;
    let url = encode(&format!("http://{}/", server.address()));
    for _ in 0..5 {
        let reported = app
            .get(&format!("/~one/report?times=3&url={url}"))
            .await?
            .json()?;
        assert_eq!(reported[2]["status"], 200, "{reported}");
    }
    assert_eq!(server.requests(), 15);
    assert_eq!(server.connections(), 1);
    Ok(())
}

#[tokio::test]
async fn bodies_go_out_and_come_back() -> Result<()> {
    let server = Upstream::start().await?;
    let app = outbound(server.address()).await?;
    let url = encode(&format!("http://{}/echo", server.address()));
    for caller in ["one", "p3"] {
        let body = vec![b'x'; 1 << 20];
        let path = format!("/~{caller}/call?method=POST&url={url}");
        let answer = app.http1().await?.post(&path, body.clone()).await?;
        assert_eq!(answer.body, body, "{caller}");
    }
    Ok(())
}

#[tokio::test]
async fn tls_with_an_authority_that_is_trusted() -> Result<()> {
    let authority = Authority::create()?;
    let server = Upstream::start_tls(&authority).await?;
    let url = format!("https://localhost:{}/secret", server.address().port());
    let app = Catena::app("outbound")?
        .variable("server", "127.0.0.1:1")
        .host_env("SSL_CERT_FILE", authority.root())
        .start()
        .await?;
    let answer = call(&app, "one", &url).await?;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert!(
        answer.text().starts_with("GET /secret"),
        "{}",
        answer.text()
    );
    Ok(())
}

#[tokio::test]
async fn tls_with_an_authority_that_nobody_knows() -> Result<()> {
    let authority = Authority::create()?;
    let server = Upstream::start_tls(&authority).await?;
    let url = format!("https://localhost:{}/secret", server.address().port());
    let app = outbound(server.address()).await?;
    let answer = call(&app, "one", &url).await?;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(answer.text().starts_with("Tls"), "{}", answer.text());
    assert_eq!(server.requests(), 0);
    Ok(())
}

#[tokio::test]
async fn plain_http_spoken_to_a_tls_port_is_an_error_value() -> Result<()> {
    let plain = Upstream::start().await?;
    let app = outbound(plain.address()).await?;
    let url = format!("https://localhost:{}/", plain.address().port());
    let answer = call(&app, "one", &url).await?;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{}", answer.text());
    Ok(())
}

#[tokio::test]
async fn names_are_resolved() -> Result<()> {
    let server = Upstream::start().await?;
    let app = outbound(server.address()).await?;
    let url = format!("http://localhost:{}/", server.address().port());
    assert_eq!(call(&app, "wildcard", &url).await?.status, StatusCode::OK);
    let answer = call(&app, "wildcard", "http://no-such-host.invalid/").await?;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(answer.text().starts_with("Dns"), "{}", answer.text());
    Ok(())
}

#[tokio::test]
async fn where_nobody_listens_the_connection_is_refused() -> Result<()> {
    let nobody = upstream::nobody().await?;
    let app = outbound(nobody).await?;
    for caller in ["one", "p3"] {
        let answer = call(&app, caller, &format!("http://{nobody}/")).await?;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert!(
            answer.text().starts_with("ConnectionRefused"),
            "{}",
            answer.text()
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_host_that_never_answers_is_given_up() -> Result<()> {
    let server = Upstream::start().await?;
    let app = Catena::app("outbound")?
        .variable("server", &server.address().to_string())
        .env("CATENA_UPSTREAM_TIMEOUT", "500ms")
        .start()
        .await?;
    for caller in ["one", "p3"] {
        let started = Instant::now();
        let answer = call(&app, caller, &format!("http://{}/never", server.address())).await?;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert!(answer.text().contains("Timeout"), "{}", answer.text());
        assert!(started.elapsed() < Duration::from_secs(5));
    }
    Ok(())
}

/// A host that takes no more connections: its kernel answers to none.
#[tokio::test]
async fn a_connection_that_is_not_made_is_given_up() -> Result<()> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        held.push(stream);
    }
    let app = Catena::app("outbound")?
        .variable("server", &address.to_string())
        .env("CATENA_CONNECT_TIMEOUT", "500ms")
        .start()
        .await?;
    for caller in ["one", "p3"] {
        let started = Instant::now();
        let answer = call(&app, caller, &format!("http://{address}/")).await?;
        assert_eq!(answer.text(), "ConnectionTimeout", "{caller}");
        assert!(started.elapsed() < Duration::from_secs(5), "{caller}");
    }
    Ok(())
}

/// A guest whose client has left makes no more calls.
#[tokio::test]
async fn a_client_that_leaves_cancels_the_call() -> Result<()> {
    let server = Upstream::start().await?;
    let app = outbound(server.address()).await?;
    let url = encode(&format!("http://{}/slow", server.address()));
    let mut client = app.http1().await?;
    let path = format!("/~one/report?times=50&url={url}");
    let exchange = client.request(http::Method::GET, &path, &[]).await?;
    while server.requests() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(exchange);
    drop(client);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(server.requests() <= 2, "{} calls", server.requests());
    Ok(())
}

/// Sockets are no way around the list.
#[tokio::test]
async fn sockets_do_not_reach_what_is_not_allowed() -> Result<()> {
    let server = Upstream::start().await?;
    let app = outbound(server.address()).await?;
    let address = server.address();
    for caller in ["nobody", "cidr"] {
        let answer = app
            .get(&format!("/~{caller}/tcp?address={address}"))
            .await?;
        assert_eq!(
            answer.status,
            StatusCode::FORBIDDEN,
            "{caller}: {}",
            answer.text()
        );
    }
    assert_eq!(server.connections(), 0);
    Ok(())
}

#[tokio::test]
async fn sockets_reach_what_is_allowed() -> Result<()> {
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let port = tcp.local_addr()?.port();
    let udp = UdpSocket::bind("127.0.0.1:0").await?;
    let datagrams = udp.local_addr()?;
    let app = outbound(datagrams).await?;
    let mut servers = JoinSet::new();
    servers.spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
    });
    servers.spawn(async move {
        let mut datagram = [0; 1500];
        while let Ok((length, from)) = udp.recv_from(&mut datagram).await {
            let _ = udp.send_to(&datagram[..length], from).await;
        }
    });
    // An address that nobody named, until a name that has it was looked up.
    let steps = [
        (format!("named/tcp?address=127.0.0.1:{port}"), None),
        (
            format!("named/tcp?address=localhost:{port}&say=hi"),
            Some("hi"),
        ),
        (
            format!("named/tcp?address=127.0.0.1:{port}&say=ho"),
            Some("ho"),
        ),
        (
            format!("wildcard/tcp?address=127.0.0.1:{port}&say=ha"),
            Some("ha"),
        ),
        (
            format!("wildcard/tcp?address=localhost:{port}&say=he"),
            Some("he"),
        ),
        (format!("named/udp?address={datagrams}&say=hu"), Some("hu")),
        (format!("named/udp?address=127.0.0.1:{port}&say=hu"), None),
        (
            format!("named-p3/connect?host=localhost&port={port}"),
            Some("connected"),
        ),
        ("named/tcp?address=localhost.example:1".to_owned(), None),
        (
            "named-p3/connect?host=localhost.example&port=1".to_owned(),
            None,
        ),
        ("wildcard/listen?address=127.0.0.1:0".to_owned(), None),
        ("wildcard/listen?address=0.0.0.0:0".to_owned(), None),
    ];
    for (path, heard) in steps {
        let answer = app.get(&format!("/~{path}")).await?;
        match heard {
            Some(heard) => assert_eq!(answer.text(), heard, "{path}"),
            None => assert_eq!(
                answer.status,
                StatusCode::FORBIDDEN,
                "{path}: {}",
                answer.text()
            ),
        }
    }
    for said in [
        format!("add \"tcp://127.0.0.1:{port}\" to"),
        format!("add \"udp://127.0.0.1:{port}\" to"),
        "add \"tcp://localhost.example:*\" to".to_owned(),
    ] {
        app.output().wait_for(&said).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_variable_without_a_value_keeps_the_app_from_starting() -> Result<()> {
    let run = Catena::app("outbound")?.finish().await?;
    assert!(!run.status.success());
    assert!(run.stderr.contains("server"), "{run:?}");
    assert!(run.stderr.contains("SPIN_VARIABLE_SERVER"), "{run:?}");
    Ok(())
}
