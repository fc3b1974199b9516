//! The smallest useful component: one line of text for every request, over `wasi:http` 0.2.

use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Hello;

wasip2::http::proxy::export!(Hello);

impl wasip2::exports::http::incoming_handler::Guest for Hello {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let headers = Fields::new();
        _ = headers.append("content-type", b"text/plain");
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("a new response still has its body");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("a new body still has its stream");
        // A client that went away is not this component's concern.
        _ = stream.blocking_write_and_flush(b"Hello from catena\n");
        drop(stream);
        _ = OutgoingBody::finish(body, None);
    }
}
