//! The few lines of `wasi:http` 0.2 that the example components share: answer with a stream, call
//! with a stream, and carry bytes from one to the other as they come.
//!
//! It blocks where a component has one thing to do, and polls where it has two ([`relay_both`]).

mod forward;
mod relay;

pub use forward::{forward, hand_on, respond_error, respond_not_found};
pub use relay::{Relay, relay, relay_both};

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingRequest, IncomingResponse,
    Method, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

/// A body that this component writes. Dropping it unfinished aborts the message.
pub struct Writer {
    // Before `body`: a child is dropped before its parent.
    stream: OutputStream,
    body: OutgoingBody,
}

impl Writer {
    fn new(body: OutgoingBody) -> Self {
        let stream = body.write().expect("a new body still has its stream");
        Self { stream, body }
    }

    /// Writes all of `bytes`, and waits until the other side has room for more.
    pub fn write(&self, bytes: &[u8]) -> Result<(), StreamError> {
        for chunk in bytes.chunks(4096) {
            self.stream.blocking_write_and_flush(chunk)?;
        }
        Ok(())
    }

    /// Ends the body, with trailers if there are any.
    pub fn finish(self, trailers: Option<Fields>) -> Result<(), ErrorCode> {
        drop(self.stream);
        OutgoingBody::finish(self.body, trailers)
    }
}

/// A body that this component reads.
pub struct Reader {
    // Before `body`: a child is dropped before its parent.
    stream: InputStream,
    _body: IncomingBody,
}

impl Reader {
    fn new(body: IncomingBody) -> Self {
        let stream = body.stream().expect("a new body still has its stream");
        Self {
            stream,
            _body: body,
        }
    }

    /// The body of a request.
    pub fn of_request(request: &IncomingRequest) -> Self {
        Self::new(request.consume().expect("the body is taken once"))
    }

    /// The body of a response.
    pub fn of_response(response: &IncomingResponse) -> Self {
        Self::new(response.consume().expect("the body is taken once"))
    }

    /// The next bytes; `None` at the end.
    pub fn read(&self) -> Result<Option<Vec<u8>>, StreamError> {
        match self.stream.blocking_read(64 * 1024) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StreamError::Closed) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All of it.
    pub fn read_to_end(&self) -> Result<Vec<u8>, StreamError> {
        let mut all = Vec::new();
        while let Some(bytes) = self.read()? {
            all.extend(bytes);
        }
        Ok(all)
    }
}

/// Answers with a head and hands back the body to write.
pub fn respond(out: ResponseOutparam, status: u16, headers: Fields) -> Writer {
    let response = OutgoingResponse::new(headers);
    response
        .set_status_code(status)
        .expect("the status is a valid one");
    let body = response.body().expect("a new response still has its body");
    ResponseOutparam::set(out, Ok(response));
    Writer::new(body)
}

/// Answers with a whole text. A client that went away is nobody's concern here.
pub fn respond_text(out: ResponseOutparam, status: u16, content_type: &str, text: &str) {
    let writer = respond(out, status, fields(&[("content-type", content_type)]));
    if writer.write(text.as_bytes()).is_ok() {
        _ = writer.finish(None);
    }
}

/// Fields from pairs that are known to be valid.
pub fn fields(pairs: &[(&str, &str)]) -> Fields {
    let fields = Fields::new();
    for (name, value) in pairs {
        fields
            .append(name, value.as_bytes())
            .expect("the header is a valid one");
    }
    fields
}

/// A call under way: its body to write, and the response that will come.
pub struct Call {
    /// The body of the request.
    pub body: Writer,
    response: FutureIncomingResponse,
}

impl Call {
    /// Starts a call of `url`, which is `http://host/path`, `https://..`, or a bare path (a request to
    /// this very app).
    pub fn start(method: Method, url: &str, headers: Fields) -> Result<Self, ErrorCode> {
        let request = OutgoingRequest::new(headers);
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, url),
        };
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let path = if path.starts_with('?') {
            format!("/{path}")
        } else {
            path.to_owned()
        };
        let invalid = |()| ErrorCode::HttpRequestUriInvalid;
        request.set_method(&method).map_err(invalid)?;
        if let Some(scheme) = scheme {
            let scheme = match scheme {
                "http" => Scheme::Http,
                "https" => Scheme::Https,
                other => Scheme::Other(other.to_owned()),
            };
            request.set_scheme(Some(&scheme)).map_err(invalid)?;
            request.set_authority(Some(authority)).map_err(invalid)?;
        }
        request.set_path_with_query(Some(&path)).map_err(invalid)?;
        let body = request.body().expect("a new request still has its body");
        let response = outgoing_handler::handle(request, None)?;
        Ok(Self {
            body: Writer::new(body),
            response,
        })
    }

    /// A `GET` with no body, and its response.
    pub fn get(url: &str) -> Result<IncomingResponse, ErrorCode> {
        let call = Self::start(Method::Get, url, Fields::new())?;
        call.finish()
    }

    /// A `POST` of a body in one piece, and its response; the error is a sentence.
    pub fn post(url: &str, body: &[u8]) -> Result<IncomingResponse, String> {
        let failed = |error| format!("{error:?}");
        let call = Self::start(Method::Post, url, Fields::new()).map_err(failed)?;
        call.body.write(body).map_err(|error| error.to_string())?;
        call.finish().map_err(failed)
    }

    /// Ends the request's body and waits for the head of the response.
    pub fn finish(self) -> Result<IncomingResponse, ErrorCode> {
        // A callee may answer without having read everything: its response counts, not this.
        _ = self.body.finish(None);
        response(&self.response)
    }

    /// The two halves, for a caller that writes and reads at once.
    pub fn split(self) -> (Writer, FutureIncomingResponse) {
        (self.body, self.response)
    }
}

/// Waits for the head of a response.
pub fn response(future: &FutureIncomingResponse) -> Result<IncomingResponse, ErrorCode> {
    loop {
        match future.get() {
            Some(response) => return response.expect("the response is taken once"),
            None => future.subscribe().block(),
        }
    }
}
