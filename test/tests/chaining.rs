//! Service chaining, sentence by sentence of SIP-017: every test of one quotes it. What the SIP leaves open
//! (loops, cancellation, unknown targets) follows.
//!
//! The app `calls` has callers with every kind of permission, each at `/~<name>/...`, and two private callees.

use std::time::Duration;

use anyhow::Result;
use catena_test::client::{self, Client, encode};
use catena_test::layout::{Layout, lockfile};
use catena_test::pack::{Form, Packed};
use catena_test::{Catena, Running, workspace};
use http::{Method, StatusCode};
use serde_json::{Value, json};

const CALLEE: &str = "http://callee.spin.internal";

async fn calls() -> Result<Running> {
    Catena::app("calls")?.start().await
}

/// The path at which `caller` calls `url` and relays what comes.
fn call(caller: &str, url: &str) -> String {
    format!("/~{caller}/call?url={}", encode(url))
}

/// The path at which `caller` calls `url` to the end and reports what came.
fn report(caller: &str, url: &str) -> String {
    format!("/~{caller}/report?url={}", encode(url))
}

/// "Thus, the URL http://accounts.spin.internal would invoke the accounts component. This bypasses routing, which
/// should simplify implementation."
#[tokio::test]
async fn a_component_is_invoked_by_its_name() -> Result<()> {
    let app = calls().await?;
    for caller in ["one", "p3"] {
        let url = format!("{CALLEE}/some/path?x=1");
        let answer = app.get(&call(caller, &url)).await?;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let seen = answer.json()?;
        assert_eq!(
            seen["path"], "/some/path?x=1",
            "as it was sent, by no route"
        );
        assert_eq!(seen["method"], "GET");
        assert_eq!(seen["scheme"], "http");
    }
    Ok(())
}

/// "an internal microservice is not exposed to the network (does not have a HTTP route) and so is accessible only
/// from within the application"; and: "many chaining targets should be called only by other components, not by
/// external entities. Such "private endpoints" should be planned for".
#[tokio::test]
async fn a_private_component_is_for_the_app_only() -> Result<()> {
    let app = calls().await?;
    for path in ["/", "/callee", "/~callee/count", "/private", "/some/path"] {
        assert_eq!(app.get(path).await?.status, StatusCode::NOT_FOUND, "{path}");
    }
    // Nor does its name as the host lead to it.
    let mut http1 = app.http1().await?.as_host("callee.spin.internal");
    assert_eq!(http1.get("/count").await?.status, StatusCode::NOT_FOUND);
    let mut http2 = app.http2().await?.as_host("callee.spin.internal");
    assert_eq!(http2.get("/count").await?.status, StatusCode::NOT_FOUND);
    let from_within = app.get(&call("one", &format!("{CALLEE}/count"))).await?;
    assert_eq!(from_within.text(), "1");
    Ok(())
}

/// "To avoid spoofing, Spin must strip any Host: *.spin.internal headers from routed requests."
#[tokio::test]
async fn a_client_cannot_pass_for_a_component() -> Result<()> {
    let app = calls().await?;
    let names = [
        "callee.spin.internal",
        "callee.spin.internal:80",
        "CALLEE.Spin.Internal",
        "callee.spin.internal.",
        "spin.internal",
    ];
    for name in names {
        let http1 = app.http1().await?.as_host(name);
        let http2 = app.http2().await?.as_host(name);
        for mut client in [http1, http2] {
            let answer = client.get("/~nobody/see").await?;
            assert_eq!(answer.status, StatusCode::OK, "{name}");
            assert_unspoofed(&answer.text(), name);
        }
        let absolute = format!(
            "GET http://{name}/~nobody/see HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
        );
        let answer = client::raw(app.address(), absolute.as_bytes()).await?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{name}: {answer}");
        assert_unspoofed(&answer, name);
    }
    // User information would let a guest that cuts at the colon believe in the wrong name.
    let request = "GET /~nobody/see HTTP/1.1\r\nHost: callee.spin.internal:x@example.com\r\n\
                   Connection: close\r\n\r\n";
    let answer = client::raw(app.address(), request.as_bytes()).await?;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    // An absolute target beside an honest Host.
    let request = "GET http://callee.spin.internal/~nobody/see HTTP/1.1\r\nHost: example.com\r\n\
                   Connection: close\r\n\r\n";
    let answer = client::raw(app.address(), request.as_bytes()).await?;
    assert_unspoofed(&answer, "an absolute target");
    // `:authority` and `Host` at once, over HTTP/2.
    let mut http2 = app.http2().await?.as_host("callee.spin.internal");
    let answer = http2
        .get_with("/~nobody/see", &[("host", "callee.spin.internal")])
        .await?;
    assert_unspoofed(&answer.text(), ":authority and Host");
    Ok(())
}

fn assert_unspoofed(answer: &str, what: &str) {
    let folded = answer.to_ascii_lowercase();
    assert!(!folded.contains("spin.internal"), "{what}: {answer}");
}

/// "Additionally, Spin will provide a Host: <component>.spin.internal header on the chained request, overwriting any
/// host header set in the request."
#[tokio::test]
async fn the_callee_sees_its_own_name_as_host() -> Result<()> {
    let app = calls().await?;
    for caller in ["one", "p3"] {
        for extra in ["", "&host=evil.example", "&header=Host:evil.example"] {
            let path = call(caller, &format!("{CALLEE}/see")) + extra;
            let answer = app.get(&path).await?;
            assert_eq!(answer.seen("host")?, ["callee.spin.internal"], "{path}");
            assert_eq!(
                answer.json()?["authority"],
                "callee.spin.internal",
                "{path}"
            );
        }
    }
    Ok(())
}

/// "Other Spin headers such as spin-full-url should be set where appropriate (e.g. spin-path-info) and omitted where
/// not (e.g. spin-client-addr)."
#[tokio::test]
async fn spin_headers_on_a_chained_request() -> Result<()> {
    let app = calls().await?;
    let url = format!("{CALLEE}/some/path?x=1");
    let answer = app.get(&call("one", &url)).await?;
    assert_eq!(answer.seen("spin-full-url")?, [url.as_str()]);
    assert_eq!(answer.seen("spin-path-info")?, ["/some/path"]);
    assert_eq!(answer.seen("spin-client-addr")?, [""; 0], "omitted");
    // What a caller sets under these names does not reach the callee.
    let forged = "&header=spin-client-addr:1.2.3.4:5&header=spin-path-info:/forged";
    let answer = app.get(&(call("one", &url) + forged)).await?;
    assert_eq!(answer.seen("spin-client-addr")?, [""; 0]);
    assert_eq!(answer.seen("spin-path-info")?, ["/some/path"]);
    // A routed request has them all.
    let routed = app.get("/~one/see").await?;
    assert_eq!(routed.seen("spin-client-addr")?.len(), 1);
    Ok(())
}

/// "The developer must enable chaining to a component by adding http://<component-name>.spin.internal, or
/// http://*.spin.internal to allow any destination component, to the list of allowed outbound hosts."
#[tokio::test]
async fn chaining_is_permitted_by_name_or_for_all() -> Result<()> {
    let app = calls().await?;
    let other = "http://callee-p3.spin.internal/count";
    let answer = app.get(&call("one", &format!("{CALLEE}/count"))).await?;
    assert_eq!(answer.status, StatusCode::OK);
    denied(&app, "one", other).await?;
    for caller in ["any", "p3"] {
        for url in [other, "http://callee.spin.internal/count"] {
            let answer = app.get(&call(caller, url)).await?;
            assert_eq!(answer.status, StatusCode::OK, "{caller} {url}");
        }
    }
    denied(&app, "nobody", other).await
}

/// "self permission does not grant permissing to make chained requests; nor, as noted above, does the wildcard
/// permission."
#[tokio::test]
async fn self_and_the_wildcard_do_not_permit_chaining() -> Result<()> {
    let app = calls().await?;
    for caller in ["selfish", "self-p3", "wildcard"] {
        for url in [
            "http://callee.spin.internal/count",
            "http://callee.spin.internal:80/count",
        ] {
            denied(&app, caller, url).await?;
        }
    }
    Ok(())
}

/// "A templated host (https://{{ accounts_service }}:*), with the variable set to a spin.internal subdomain, will not,
/// by itself, allow service chaining."
#[tokio::test]
async fn a_template_does_not_permit_chaining() -> Result<()> {
    let app = calls().await?;
    denied(&app, "templated", &format!("{CALLEE}/count")).await
}

async fn denied(app: &Running, caller: &str, url: &str) -> Result<()> {
    let answer = app.get(&call(caller, url)).await?;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{caller} {url}");
    assert_eq!(answer.text(), "HttpRequestDenied", "{caller} {url}");
    Ok(())
}

fn app_with_hosts(hosts: &str) -> String {
    format!(
        r#"
spin_manifest_version = 2
[application]
name = "inferred"
[variables]
callee = {{ default = "b.spin.internal" }}
[[trigger.http]]
route = "/..."
component = "a"
[[trigger.http]]
route = {{ private = true }}
component = "b"
[component.a]
source = "GUESTS/probe.wasm"
allowed_outbound_hosts = [{hosts}]
[component.b]
source = "GUESTS/probe.wasm"
"#
    )
}

fn lockfile_for(hosts: &str) -> Result<Value> {
    Packed::text(&app_with_hosts(hosts), Form::Spin)?.lockfile()
}

/// "Spin will infer that an application requires service chaining if any component includes a spin.internal subdomain
/// (or subdomain wildcard) in its allowed_outbound_hosts."
#[test]
fn the_requirement_is_inferred() -> Result<()> {
    for hosts in [r#""http://b.spin.internal""#, r#""http://*.spin.internal""#] {
        let lockfile = lockfile_for(hosts)?;
        let text = lockfile.to_string();
        assert!(
            text.contains(r#""local_service_chaining":"required""#),
            "{text}"
        );
        assert_eq!(lockfile["spin_lock_version"], 1, "{hosts}");
        let must = &lockfile["must_understand"];
        assert!(
            must.as_array().is_some_and(|must| !must.is_empty()),
            "{text}"
        );
    }
    Ok(())
}

/// "The "allow all" wildcard (*://*:*) will not, by itself, enable service chaining."; and: "A templated host ... will
/// not, by itself, allow service chaining."
#[test]
fn the_requirement_is_not_inferred_from_a_wildcard_or_a_template() -> Result<()> {
    for hosts in [
        r#""*://*:*""#,
        r#""http://{{ callee }}""#,
        r#""http://self""#,
        "",
    ] {
        let text = lockfile_for(hosts)?.to_string();
        assert!(!text.contains("local_service_chaining"), "{hosts}: {text}");
    }
    Ok(())
}

/// "So we will define a v1 lockfile format that lists host requirements, but smartly emit lock file version 0 if the
/// list of host requirements is empty."
#[test]
fn the_version_is_0_where_nothing_must_be_understood() -> Result<()> {
    let lockfile = lockfile_for(r#""https://example.com""#)?;
    assert_eq!(lockfile["spin_lock_version"], 0);
    assert!(
        lockfile
            .get("must_understand")
            .is_none_or(|must| must == &json!([]))
    );
    Ok(())
}

/// What `catena run` says of an image with this lockfile, and that it ends with an error.
async fn refusal(lockfile: &Value) -> Result<String> {
    let wasm = std::fs::read(workspace::guest("hello")?)?;
    let layout = Layout::spin(lockfile, &wasm)?;
    let run = Catena::image(layout.path()).finish().await?;
    assert!(!run.status.success(), "{run:?}");
    Ok(run.stderr)
}

/// "This is an array of strings describing features that the host is expected to understand/support: if it doesn't
/// recognise a must-understand string, it must reject the application."
#[tokio::test]
async fn an_unknown_must_understand_is_refused() -> Result<()> {
    let mut app = lockfile();
    app["spin_lock_version"] = json!(1);
    app["must_understand"] = json!(["host_requirements", "teleportation", "levitation"]);
    let said = refusal(&app).await?;
    assert!(said.contains("teleportation"), "{said}");
    assert!(said.contains("levitation"), "all reasons together: {said}");
    Ok(())
}

/// "Hosts must reject applications that ask for spin.internal if the host cannot provide service chaining. However,
/// this will be achieved via the lockfile": what is required and cannot be provided is refused by its name, and
/// chaining is provided.
#[tokio::test]
async fn a_requirement_that_is_not_met_is_refused() -> Result<()> {
    for level in ["app", "component"] {
        let mut app = lockfile();
        app["spin_lock_version"] = json!(1);
        let needs = json!({"local_service_chaining": "required", "remote_viewing": "required"});
        if level == "app" {
            app["must_understand"] = json!(["host_requirements"]);
            app["host_requirements"] = needs;
        } else {
            app["must_understand"] = json!(["component_host_requirements"]);
            app["components"][0]["host_requirements"] = needs;
        }
        let said = refusal(&app).await?;
        assert!(said.contains("remote_viewing"), "{level}: {said}");
        assert!(!said.contains("local_service_chaining"), "{level}: {said}");
    }
    Ok(())
}

/// "Cloud must examine the lock file for must-understand prerequisites. Ideally this would happen at deployment time":
/// here too, before anything of the app has run. An optional requirement is no prerequisite.
#[tokio::test]
async fn an_optional_requirement_does_not_keep_an_app_from_running() -> Result<()> {
    let mut app = lockfile();
    app["spin_lock_version"] = json!(1);
    app["must_understand"] = json!(["host_requirements"]);
    app["host_requirements"] = json!({"remote_viewing": "optional"});
    let wasm = std::fs::read(workspace::guest("hello")?)?;
    let layout = Layout::spin(&app, &wasm)?;
    let running = Catena::image(layout.path()).start().await?;
    assert_eq!(running.get("/").await?.text(), "Hello from catena\n");
    Ok(())
}

/// "The host may chain self-requests, and must chain them if the "require chaining" setting is on."
#[tokio::test]
async fn self_requests_are_chained_too() -> Result<()> {
    let app = calls().await?;
    for caller in ["selfish", "self-p3"] {
        for url in ["/~nobody/see?x=1", "http://self/~nobody/see?x=1"] {
            let answer = app.get(&call(caller, url)).await?;
            assert_eq!(
                answer.status,
                StatusCode::OK,
                "{caller} {url} {}",
                answer.text()
            );
            assert_eq!(answer.json()?["path"], "/~nobody/see?x=1");
            assert_eq!(
                answer.seen("spin-client-addr")?,
                [""; 0],
                "no socket was used"
            );
            assert_eq!(answer.seen("spin-path-info")?, ["/see"], "by the router");
        }
        // A private component has no route.
        let answer = app.get(&call(caller, "/~callee/count")).await?;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    for caller in ["nobody", "one"] {
        denied(&app, caller, "/~nobody/see").await?;
    }
    Ok(())
}

/// "It's possible for a caller to be streaming a request to a callee and the callee streaming its response at the same
/// time. The implementation needs to allow for this: ... we need to test and make sure the bytes keep flowing!"
///
/// The client sends a chunk only when the one before has come back: any buffering would end in a standstill.
#[tokio::test]
async fn bytes_keep_flowing_both_ways() -> Result<()> {
    let app = calls().await?;
    for caller in ["any", "p3"] {
        for callee in ["callee", "callee-p3"] {
            for how in ["call", "duplex"] {
                let url = encode(&format!("http://{callee}.spin.internal/echo"));
                let path = format!("/~{caller}/{how}?method=POST&url={url}");
                lockstep(app.http1().await?, &path).await?;
                lockstep(app.http2().await?, &path).await?;
            }
        }
    }
    Ok(())
}

async fn lockstep(mut client: Client, path: &str) -> Result<()> {
    let mut exchange = client.request(Method::POST, path, &[]).await?;
    for turn in 1..=5 {
        let chunk = format!("turn {turn} of {path}\n");
        exchange.send(chunk.clone()).await?;
        exchange.expect(&chunk).await?;
    }
    exchange.finish();
    assert_eq!(exchange.next().await?, None, "the end comes through too");
    Ok(())
}

/// The same through the whole example: gateway, accounts, ledger.
#[tokio::test]
async fn the_chain_example_answers_streams_and_echoes() -> Result<()> {
    let app = Catena::app("chain")?.start().await?;
    let answer = app.get("/").await?.json()?;
    assert_eq!(answer["component"], "gateway");
    assert_eq!(answer["accounts"]["component"], "accounts");
    assert_eq!(answer["accounts"]["ledger"]["balance"], 1815);
    lockstep(app.http1().await?, "/echo").await?;
    lockstep(app.http2().await?, "/echo").await?;
    let mut client = app.http1().await?;
    let mut stream = client.request(Method::GET, "/stream?chunks=3", &[]).await?;
    for entry in 1..=3 {
        stream.expect(&format!("entry {entry} of 3\n")).await?;
    }
    assert_eq!(stream.next().await?, None);
    Ok(())
}

/// A body much larger than any buffer goes through two hops, both ways, whole.
#[tokio::test]
async fn a_large_body_goes_through() -> Result<()> {
    let app = Catena::app("chain")?.start().await?;
    let body = vec![b'x'; 8 << 20];
    let mut client = app.http1().await?;
    let mut exchange = client.request(Method::POST, "/echo", &[]).await?;
    let (mut sent, mut seen) = (0, 0);
    while seen < body.len() {
        if sent < body.len() && sent - seen < 1 << 20 {
            exchange
                .send(body[sent..sent + (64 << 10)].to_vec())
                .await?;
            sent += 64 << 10;
        } else {
            seen += exchange.next().await?.map_or(0, |bytes| bytes.len());
        }
    }
    exchange.finish();
    assert_eq!(exchange.next().await?, None);
    Ok(())
}

/// "The implementation must determine and document what happens if the callee fails - specifically if it traps. We
/// expect that the trap will be caught by the HTTP infrastructure and returned to the caller as a 500 HTTP response,
/// rather than the trap taking down the caller as well."
#[tokio::test]
async fn a_trap_is_a_500_to_the_caller_which_survives() -> Result<()> {
    let app = calls().await?;
    for caller in ["any", "p3"] {
        for url in [
            "http://callee.spin.internal/trap",
            "http://callee.spin.internal/panic",
            "http://callee.spin.internal/silent",
            "http://callee.spin.internal/silent?ms=300",
            "http://callee-p3.spin.internal/trap",
        ] {
            let reported = app.get(&report(caller, url)).await?.json()?;
            assert_eq!(reported[0]["status"], 500, "{caller} {url}: {reported}");
        }
    }
    Ok(())
}

/// A trap when the head is out is an aborted body, never one that looks whole; the caller survives.
#[tokio::test]
async fn a_trap_in_the_body_is_an_aborted_body() -> Result<()> {
    let app = calls().await?;
    for caller in ["any", "p3"] {
        for callee in ["callee", "callee-p3"] {
            let url = format!("http://{callee}.spin.internal/trap-after?bytes=5");
            let reported = app.get(&report(caller, &url)).await?.json()?;
            assert_eq!(reported[0]["status"], 200, "{caller} {callee}: {reported}");
            assert_eq!(reported[0]["body"], "xxxxx", "{caller} {callee}");
            assert_eq!(reported[0]["broken"], true, "{caller} {callee}");
            // Relayed, it is aborted for the client too.
            let relayed = app.get(&call(caller, &url)).await;
            assert!(relayed.is_err(), "{caller} {callee}: {relayed:?}");
        }
    }
    Ok(())
}

/// The peer traps the caller here.
#[tokio::test]
async fn an_unknown_target_is_an_error_value() -> Result<()> {
    let app = calls().await?;
    for caller in ["any", "p3"] {
        let answer = app
            .get(&call(caller, "http://stranger.spin.internal/"))
            .await?;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{caller}");
        assert!(
            answer.text().starts_with("DestinationNotFound"),
            "{}",
            answer.text()
        );
        // Names that are no component's are never looked up, whatever they look like.
        for url in ["http://spin.internal/", "http://a.callee.spin.internal/"] {
            let answer = app.get(&call(caller, url)).await?;
            assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{caller} {url}");
            assert!(
                !answer.text().contains("Dns"),
                "{caller} {url}: {}",
                answer.text()
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_loop_is_cut_at_a_depth() -> Result<()> {
    let app = calls().await?;
    let answer = app.get("/~any/loop?name=callee").await?;
    assert_eq!(answer.status, StatusCode::LOOP_DETECTED);
    // The first caller, and 32 more that were called.
    assert_eq!(answer.header("x-depth"), "33");
    let answer = app.get("/~p3/loop?name=callee-p3").await?;
    assert_eq!(answer.status, StatusCode::LOOP_DETECTED);
    let shallow = Catena::app("calls")?.env("CATENA_CHAIN_DEPTH", "3");
    let answer = shallow.start().await?.get("/~any/loop?name=callee").await?;
    assert_eq!(answer.status, StatusCode::LOOP_DETECTED);
    assert_eq!(answer.header("x-depth"), "4");
    Ok(())
}

#[tokio::test]
async fn a_loop_of_self_requests_is_cut_too() -> Result<()> {
    let app = calls().await?;
    // A request that calls itself by its own path: the query grows until something gives, and that is the depth.
    let mut path = "/~nobody/count".to_owned();
    for _ in 0..4 {
        path = call("selfish", &path);
    }
    assert_eq!(app.get(&path).await?.status, StatusCode::OK);
    let shallow = Catena::app("calls")?.env("CATENA_CHAIN_DEPTH", "3");
    let answer = shallow.start().await?.get(&path).await?;
    assert_eq!(answer.status, StatusCode::LOOP_DETECTED);
    Ok(())
}

/// A client that goes away cancels the whole chain: the callee at its end stops.
#[tokio::test]
async fn a_client_that_leaves_cancels_the_chain() -> Result<()> {
    let app = calls().await?;
    let last = |callee: &str, name: &str| {
        format!("http://{callee}.spin.internal/drip?count=100000&ms=20&name={name}")
    };
    let through_two = format!("{CALLEE}/call?url={}", encode(&last("callee-p3", "third")));
    for (caller, url, name) in [
        ("any", last("callee", "first"), "first"),
        ("any", last("callee-p3", "second"), "second"),
        ("any", through_two, "third"),
        ("p3", last("callee", "fourth"), "fourth"),
    ] {
        let mut client = app.http1().await?;
        let mut exchange = client
            .request(Method::GET, &call(caller, &url), &[])
            .await?;
        exchange.next().await?;
        app.output().wait_for(&format!("{name} 3")).await?;
        drop(exchange);
        drop(client);
        stops(&app, name).await?;
    }
    Ok(())
}

/// Waits until no more is heard of `name`.
async fn stops(app: &Running, name: &str) -> Result<()> {
    let mut before = app.output().count(name);
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = app.output().count(name);
        if now == before {
            return Ok(());
        }
        before = now;
    }
    anyhow::bail!("{name} goes on after its client has left")
}

/// Concurrent chained requests do not wait for each other.
#[tokio::test]
async fn chained_calls_run_side_by_side() -> Result<()> {
    let app = calls().await?;
    let started = std::time::Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for turn in 0..20 {
        let address = app.address();
        let callee = if turn % 2 == 0 { "callee" } else { "callee-p3" };
        let url = format!("http://{callee}.spin.internal/slow?ms=300");
        clients.spawn(async move {
            let mut client = Client::http1(address).await?;
            client.get(&call("any", &url)).await
        });
    }
    while let Some(answer) = clients.join_next().await {
        assert_eq!(answer??.status, StatusCode::OK);
    }
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    Ok(())
}

/// "For the initial release we will allow chaining only from HTTP components to HTTP components. This does not
/// preclude allowing chaining from non-HTTP components in a future drop." Here every trigger's component may.
#[tokio::test]
async fn a_command_chains_too() -> Result<()> {
    let app = Catena::app("command-calls")?.start().await?;
    app.output().wait_for("called: 200 1").await?;
    // With an HTTP trigger beside it, the app outlives the command.
    app.output().wait_for("done").await?;
    let health = app.get("/.well-known/spin/health").await?;
    assert_eq!(health.status, StatusCode::OK);
    Ok(())
}
