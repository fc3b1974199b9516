//! A request handed on to another component, both bodies flowing at once.

use wasip2::http::types::{ErrorCode, Fields, IncomingRequest, ResponseOutparam};
use wasip2::io::streams::StreamError;

use crate::{Call, Reader, Relay, relay_both, respond, respond_text, response};

/// Why a request could not be handed on.
enum Failure {
    /// There is no response: the caller still waits for a head.
    Call(ErrorCode),
    /// A body broke off; the head is out already.
    Body,
}

impl From<StreamError> for Failure {
    fn from(_: StreamError) -> Self {
        Self::Body
    }
}

/// Hands `request` on to `url`, and its response back as it comes. Where there is none, the answer is a
/// 502 that names the error.
pub fn forward(request: &IncomingRequest, out: ResponseOutparam, url: &str) {
    hand_on(
        request,
        out,
        Call::start(request.method(), url, Fields::new()),
    );
}

/// Gives `call` the body of `request`, and `out` the response, both as they come. Where there is none, the
/// answer is a 502 that names the error.
pub fn hand_on(request: &IncomingRequest, out: ResponseOutparam, call: Result<Call, ErrorCode>) {
    let mut out = Some(out);
    let handed = call
        .map_err(Failure::Call)
        .and_then(|call| both_ways(request, &mut out, call));
    if let Err(Failure::Call(error)) = handed
        && let Some(out) = out
    {
        respond_error(out, &error);
    }
}

fn both_ways(
    request: &IncomingRequest,
    out: &mut Option<ResponseOutparam>,
    call: Call,
) -> Result<(), Failure> {
    let (upload, future) = call.split();
    let up = Relay::new(Reader::of_request(request), upload);
    relay_both(up, &future, || {
        let callee = response(&future).map_err(Failure::Call)?;
        let headers = Fields::new();
        for (name, value) in callee.headers().entries() {
            // What a proxy may not hand on (`content-length`, ..) the host refuses here.
            _ = headers.append(&name, &value);
        }
        let out = out.take().expect("the head comes once");
        let down = respond(out, callee.status(), headers);
        Ok(Relay::new(Reader::of_response(&callee), down))
    })
}

/// Answers 502 with the name of the error, in the body and in `x-wasi-error`.
pub fn respond_error(out: ResponseOutparam, error: &ErrorCode) {
    let text = format!("{error:?}");
    let text = text.strip_prefix("ErrorCode::").unwrap_or(&text);
    let name = text.split(['(', ' ']).next().unwrap_or(text);
    let headers = crate::fields(&[("content-type", "text/plain"), ("x-wasi-error", name)]);
    let writer = respond(out, 502, headers);
    if writer.write(text.as_bytes()).is_ok() {
        _ = writer.finish(None);
    }
}

/// Answers `GET` of what does not exist.
pub fn respond_not_found(out: ResponseOutparam, path: &str) {
    respond_text(out, 404, "text/plain", &format!("nothing is at {path}\n"));
}
