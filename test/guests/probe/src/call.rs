//! Calls that the probe makes for a test, and what it says of them.

use guest_http::{Call, Reader, respond, respond_error, respond_text};
use wasip2::http::types::{ErrorCode, Fields, IncomingRequest, Method, ResponseOutparam};

use crate::json;
use crate::query::Query;

/// The headers that `header=name:value` and `host=..` ask for. One that the host refuses is left out and
/// told on stderr.
pub(crate) fn headers_of(query: &Query) -> Fields {
    let headers = Fields::new();
    let named = query
        .all("header")
        .filter_map(|header| header.split_once(':'));
    for (name, value) in named.chain(query.get("host").map(|host| ("host", host))) {
        if let Err(error) = headers.append(name, value.as_bytes()) {
            eprintln!("the header {name} was refused: {error:?}");
        }
    }
    headers
}

fn method_of(query: &Query) -> Method {
    match query.get("method").unwrap_or("GET") {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn start(query: &Query) -> Result<Call, ErrorCode> {
    let url = query.get("url").expect("a url");
    Call::start(method_of(query), url, headers_of(query))
}

/// Calls `url` and relays what comes: status, headers, body; or the name of the error. The request's own
/// body is relayed too.
pub(crate) fn call(request: &IncomingRequest, out: ResponseOutparam, query: &Query) {
    guest_http::hand_on(request, out, start(query));
}

/// Calls `url` `times` times (once) to the end, and reports every outcome: the caller survives whatever
/// the callee does.
pub(crate) fn report(out: ResponseOutparam, query: &Query) {
    let outcomes: Vec<String> = (0..query.number("times", 1))
        .map(|_| outcome(query))
        .collect();
    respond_text(
        out,
        200,
        "application/json",
        &format!("[{}]\n", outcomes.join(",")),
    );
}

fn outcome(query: &Query) -> String {
    let callee = match start(query).and_then(Call::finish) {
        Ok(callee) => callee,
        Err(error) => return format!("{{\"error\":{}}}", json::string(&format!("{error:?}"))),
    };
    let headers = callee.headers().entries();
    let reader = Reader::of_response(&callee);
    let mut body = Vec::new();
    let broken = loop {
        match reader.read() {
            Ok(Some(bytes)) => body.extend(bytes),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    format!(
        "{{\"status\":{},\"headers\":{},\"body\":{},\"broken\":{broken}}}",
        callee.status(),
        json::pairs(
            headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_slice()))
        ),
        json::string(&String::from_utf8_lossy(&body)),
    )
}

/// Calls itself by name (`name=..`) without end, and relays the answer. `x-depth` counts the answers on the
/// way back.
pub(crate) fn recurse(request: &IncomingRequest, out: ResponseOutparam, query: &Query) {
    let name = query.get("name").expect("a name");
    let url = format!(
        "http://{name}.spin.internal{}",
        request.path_with_query().unwrap_or_default()
    );
    match Call::get(&url) {
        Ok(callee) => {
            let below = callee.headers().get("x-depth");
            let below: u32 = below
                .first()
                .and_then(|depth| String::from_utf8_lossy(depth).parse().ok())
                .unwrap_or(0);
            let headers = guest_http::fields(&[("x-depth", &(below + 1).to_string())]);
            let writer = respond(out, callee.status(), headers);
            _ = writer.finish(None);
        }
        Err(error) => respond_error(out, &error),
    }
}
