//! Answers requests with what the component `record` says to them.

use guest_http::forward;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct Front;

wasip2::http::proxy::export!(Front);

impl wasip2::exports::http::incoming_handler::Guest for Front {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        forward(&request, out, "http://record.spin.internal/http");
    }
}
