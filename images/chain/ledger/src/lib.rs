//! The end of the chain: private, and it may call nobody.

use std::time::Duration;

use guest_http::{Reader, fields, relay, respond, respond_not_found, respond_text};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

/// How many entries `/stream` sends when the query does not say.
const CHUNKS: u32 = 5;

struct Ledger;

wasip2::http::proxy::export!(Ledger);

impl wasip2::exports::http::incoming_handler::Guest for Ledger {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        match path {
            "/" => respond_text(
                out,
                200,
                "application/json",
                "{\"component\":\"ledger\",\"balance\":1815}\n",
            ),
            "/stream" => stream(out, query),
            "/echo" => {
                let writer = respond(out, 200, fields(&[("content-type", "text/plain")]));
                // A caller that went away has nothing left to be told.
                _ = relay(Reader::of_request(&request), writer);
            }
            other => respond_not_found(out, other),
        }
    }
}

/// One line at a time, a moment apart (`/stream?chunks=5`), until all are sent or nobody reads.
fn stream(out: ResponseOutparam, query: &str) {
    let chunks = query
        .strip_prefix("chunks=")
        .and_then(|chunks| chunks.parse().ok())
        .unwrap_or(CHUNKS);
    let writer = respond(out, 200, fields(&[("content-type", "text/plain")]));
    for entry in 1..=chunks {
        if entry > 1 {
            std::thread::sleep(Duration::from_millis(100));
        }
        if writer
            .write(format!("entry {entry} of {chunks}\n").as_bytes())
            .is_err()
        {
            return;
        }
    }
    _ = writer.finish(None);
}
