//! `hello` over the release candidate of `wasi:http` 0.3 from March 2026.

use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_bindgen, wit_future, wit_stream};

struct Hello;

wasip3::http::service::export!(Hello);

impl wasip3::exports::http::handler::Guest for Hello {
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        let headers = Fields::new();
        _ = headers.append("content-type", b"text/plain");
        let (mut body, contents) = wit_stream::new();
        let (_no_trailers, trailers) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(headers, Some(contents), trailers);
        wit_bindgen::spawn(async move {
            // A client that went away is not this component's concern.
            _ = body.write_all(b"Hello from March\n".to_vec()).await;
        });
        Ok(response)
    }
}
