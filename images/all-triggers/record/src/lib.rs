//! Called by every other component of its app, in memory: prints what it is told, one line a call.

use guest_http::{Reader, respond_text};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct Record;

wasip2::http::proxy::export!(Record);

impl wasip2::exports::http::incoming_handler::Guest for Record {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let body = Reader::of_request(&request)
            .read_to_end()
            .unwrap_or_default();
        println!("recorded {path} {}", String::from_utf8_lossy(&body));
        respond_text(out, 200, "text/plain", "recorded\n");
    }
}
