//! A component that behaves as the path of the request says, so that one guest serves most tests.
//! An app may hold it several times, under other names and with other permissions.
//!
//! `probe-p3` answers the same paths over `wasi:http` 0.3, where they make sense there.

mod call;
mod json;
mod misbehave;
mod query;
mod raw;
mod see;
mod sockets;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use guest_http::{Reader, fields, relay, respond, respond_not_found, respond_text};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

use query::Query;

/// Requests that this instance has seen.
static COUNT: AtomicU32 = AtomicU32::new(0);

struct Probe;

wasip2::http::proxy::export!(Probe);

impl wasip2::exports::http::incoming_handler::Guest for Probe {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        let query = Query::parse(&request.path_with_query().unwrap_or_default());
        let text = |out, text: &str| respond_text(out, 200, "text/plain", text);
        match query.path.as_str() {
            // What it sees.
            "/count" => text(out, &count.to_string()),
            "/env" => see::environment(out),
            "/file" => see::file(out, &query),
            "/write" => see::write(out, &query),
            "/folders" => raw::folders(out),
            "/raw" => raw::act(out, &query),
            "/tcp" => sockets::tcp(out, &query),
            "/udp" => sockets::udp(out, &query),
            "/listen" => sockets::listen(out, &query),
            // Bodies.
            "/echo" => {
                let writer = respond(out, 200, fields(&[("content-type", "text/plain")]));
                _ = relay(Reader::of_request(&request), writer);
            }
            "/sink" => sink(&request, out),
            "/large" => large(out, &query),
            "/drip" => drip(out, &query),
            "/trailers" => trailers(out),
            "/status" => status(out, &query),
            "/slow" => {
                std::thread::sleep(Duration::from_millis(query.number("ms", 100)));
                text(out, "at last\n");
            }
            "/print" => {
                println!("{}", query.get("out").unwrap_or_default());
                eprintln!("{}", query.get("err").unwrap_or_default());
                text(out, "printed\n");
            }
            // Calls.
            "/call" => call::call(&request, out, &query),
            "/report" => call::report(out, &query),
            "/duplex" => guest_http::forward(&request, out, query.get("url").expect("a url")),
            "/loop" => call::recurse(&request, out, &query),
            // What no component should do.
            "/trap" => misbehave::trap(),
            "/trap-after" => misbehave::trap_after(out, &query),
            "/panic" => panic!("the probe was asked to panic"),
            "/spin" => misbehave::spin(),
            "/allocate" => misbehave::allocate(out, &query),
            "/silent" => {
                drop(out);
                std::thread::sleep(Duration::from_millis(query.number("ms", 0)));
            }
            "/unfinished" => misbehave::unfinished(out),
            "/leak" => misbehave::leak(&request, out, &query),
            "/send-off" => misbehave::send_off(out, &query),
            "/exit" => std::process::exit(i32::try_from(query.number("code", 0)).unwrap_or(1)),
            path if path.starts_with("/missing") => respond_not_found(out, path),
            // Any other path reports the request.
            _ => see::request(&request, out),
        }
    }
}

/// Reads everything and says how much it was.
fn sink(request: &IncomingRequest, out: ResponseOutparam) {
    let reader = Reader::of_request(request);
    let mut total = 0;
    loop {
        match reader.read() {
            Ok(Some(bytes)) => total += bytes.len(),
            Ok(None) => return respond_text(out, 200, "text/plain", &total.to_string()),
            Err(_) => {
                eprintln!("sink: the upload broke off after {total} bytes");
                return respond_text(out, 400, "text/plain", "the upload broke off\n");
            }
        }
    }
}

/// `bytes` of body.
fn large(out: ResponseOutparam, query: &Query) {
    let mut left = usize::try_from(query.number("bytes", 1 << 20)).unwrap_or(usize::MAX);
    let block = [b'x'; 4096];
    let writer = respond(out, 200, fields(&[("content-type", "text/plain")]));
    while left > 0 {
        let now = left.min(block.len());
        if writer.write(&block[..now]).is_err() {
            return;
        }
        left -= now;
    }
    _ = writer.finish(None);
}

/// `count` lines, `ms` apart, of at least `size` bytes. Each is told on stderr too, so that a test sees when
/// it stops.
fn drip(out: ResponseOutparam, query: &Query) {
    let name = query.get("name").unwrap_or("drip");
    let padding = " ".repeat(usize::try_from(query.number("size", 0)).unwrap_or(0));
    let writer = respond(out, 200, fields(&[("content-type", "text/plain")]));
    for drop in 1..=query.number("count", 3) {
        eprintln!("{name} {drop}");
        let line = format!("drop {drop}{padding}\n");
        if writer.write(line.as_bytes()).is_err() {
            eprintln!("{name} is no longer heard");
            return;
        }
        std::thread::sleep(Duration::from_millis(query.number("ms", 100)));
    }
    _ = writer.finish(None);
}

fn trailers(out: ResponseOutparam) {
    let writer = respond(out, 200, fields(&[("trailer", "x-sum")]));
    if writer.write(b"body\n").is_ok() {
        _ = writer.finish(Some(fields(&[("x-sum", "42")])));
    }
}

/// Answers with the status `code` and the headers that `header=name:value` adds.
fn status(out: ResponseOutparam, query: &Query) {
    let headers = call::headers_of(query);
    if let Some(bytes) = query.get("big-header") {
        let bytes = bytes.parse().expect("a number");
        _ = headers.append("x-big", "x".repeat(bytes).as_bytes());
    }
    let code = u16::try_from(query.number("code", 200)).expect("a status");
    let writer = respond(out, code, headers);
    _ = writer.finish(None);
}
