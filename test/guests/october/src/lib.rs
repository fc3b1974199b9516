//! A component of October 2023: `wasi:http@0.2.0-rc-2023-10-18`. `/call?URL` calls on, `/sleep` waits, everything
//! else comes back in upper case.

mod bindings {
    #![allow(missing_docs, reason = "made by a macro")]
    wit_bindgen::generate!({ path: "wit", generate_all });
}

use bindings::exports::wasi::http::incoming_handler::Guest;
use bindings::wasi::clocks::monotonic_clock;
use bindings::wasi::http::outgoing_handler;
use bindings::wasi::http::types::{
    Error, Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingRequest,
    OutgoingResponse, RequestOptions, ResponseOutparam, Scheme,
};
use bindings::wasi::io::poll;
use bindings::wasi::io::streams::StreamError;

struct October;

bindings::export!(October with_types_in bindings);

impl Guest for October {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let text = match path.split_once('?') {
            Some((at, url)) if at.ends_with("/call") => called(url),
            Some((at, _)) if at.ends_with("/fail") => {
                let error = Error::UnexpectedError("as it was asked to".to_owned());
                ResponseOutparam::set(out, Err(error));
                return;
            }
            _ if path.ends_with("/sleep") => {
                poll::poll_one(&monotonic_clock::subscribe(20_000_000, false));
                "slept".to_owned()
            }
            _ => read(&request.consume().expect("the body is there")).to_uppercase(),
        };
        let headers = Fields::new(&[("x-candidate".to_owned(), b"2023-10-18".to_vec())]);
        let response = OutgoingResponse::new(200, &headers);
        let body = response.write().expect("the body is there");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("the stream is there");
        stream
            .blocking_write_and_flush(text.as_bytes())
            .expect("the reader reads");
        drop(stream);
        OutgoingBody::finish(body, None);
    }
}

fn called(url: &str) -> String {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let request = OutgoingRequest::new(
        &Method::Get,
        Some(path),
        Some(&Scheme::Http),
        Some(authority),
        &Fields::new(&[]),
    );
    let options = RequestOptions {
        connect_timeout_ms: Some(1000),
        first_byte_timeout_ms: None,
        between_bytes_timeout_ms: None,
    };
    let sent = match outgoing_handler::handle(request, Some(options)) {
        Ok(sent) => sent,
        Err(error) => return format!("{error:?}"),
    };
    poll::poll_list(&[&sent.subscribe()]);
    match sent.get() {
        Some(Ok(Ok(response))) => {
            let body = response.consume().expect("the body is there");
            format!("{} {}", response.status(), read(&body))
        }
        Some(Ok(Err(error))) => format!("{error:?}"),
        _ => "no answer".to_owned(),
    }
}

fn read(body: &IncomingBody) -> String {
    let stream = body.stream().expect("the stream is there");
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(4096) {
            Ok(more) => bytes.extend(more),
            Err(StreamError::Closed) => return String::from_utf8_lossy(&bytes).into_owned(),
            Err(StreamError::LastOperationFailed(error)) => return error.to_debug_string(),
        }
    }
}
