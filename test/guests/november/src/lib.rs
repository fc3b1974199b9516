//! A component of November 2023: `wasi:http@0.2.0-rc-2023-11-10`. `/call?URL` calls on, `/sleep` waits, everything
//! else comes back in upper case.

mod bindings {
    #![allow(missing_docs, reason = "made by a macro")]
    wit_bindgen::generate!({ path: "wit", generate_all });
}

use bindings::exports::wasi::http::incoming_handler::Guest;
use bindings::wasi::clocks::monotonic_clock;
use bindings::wasi::http::outgoing_handler;
use bindings::wasi::http::types::{
    Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse,
    RequestOptions, ResponseOutparam, Scheme,
};
use bindings::wasi::io::streams::StreamError;

struct November;

bindings::export!(November with_types_in bindings);

impl Guest for November {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let text = match path.split_once('?') {
            Some((at, url)) if at.ends_with("/call") => called(url),
            _ if path.ends_with("/sleep") => {
                monotonic_clock::subscribe_duration(20_000_000).block();
                "slept".to_owned()
            }
            _ => read(request.consume().expect("the body is there")).to_uppercase(),
        };
        let headers = Fields::new();
        let stamp = [b"2023-11-10".to_vec()];
        headers
            .set("x-candidate", &stamp)
            .expect("the header is sound");
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("the body is there");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("the stream is there");
        stream
            .blocking_write_and_flush(text.as_bytes())
            .expect("the reader reads");
        drop(stream);
        OutgoingBody::finish(body, None).expect("the body is whole");
    }
}

fn called(url: &str) -> String {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request.set_path_with_query(Some(path)).expect("a path");
    request.set_authority(Some(authority)).expect("a host");
    let options = RequestOptions::new();
    let limit = Some(1_000_000_000);
    options
        .set_connect_timeout_ms(limit)
        .expect("a limit is taken");
    assert_eq!(options.connect_timeout_ms(), limit);
    let sent = match outgoing_handler::handle(request, Some(options)) {
        Ok(sent) => sent,
        Err(error) => return format!("{error:?}"),
    };
    sent.subscribe().block();
    match sent.get() {
        Some(Ok(Ok(response))) => {
            let body = response.consume().expect("the body is there");
            format!("{} {}", response.status(), read(body))
        }
        Some(Ok(Err(error))) => format!("{error:?}"),
        _ => "no answer".to_owned(),
    }
}

fn read(body: IncomingBody) -> String {
    let stream = body.stream().expect("the stream is there");
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(4096) {
            Ok(more) => bytes.extend(more),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => return error.to_debug_string(),
        }
    }
    drop(stream);
    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    let read = String::from_utf8_lossy(&bytes).into_owned();
    match trailers.get() {
        Some(Ok(None)) => read,
        other => format!("{read}, and then {}", other.is_some()),
    }
}
