//! The public end of the chain. It reaches `accounts` by name, in memory: there is no address to
//! configure, and no port on which anybody else could reach it.

use guest_http::{Call, Reader, forward, respond_error, respond_not_found, respond_text};
use wasip2::http::types::{ErrorCode, IncomingRequest, ResponseOutparam};

const ACCOUNTS: &str = "http://accounts.spin.internal";

struct Gateway;

wasip2::http::proxy::export!(Gateway);

impl wasip2::exports::http::incoming_handler::Guest for Gateway {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        match path.split('?').next().unwrap_or_default() {
            "/" => match overview() {
                Ok(json) => respond_text(out, 200, "application/json", &json),
                Err(error) => respond_error(out, &error),
            },
            // Both bodies flow through as they come.
            "/stream" | "/echo" => forward(&request, out, &format!("{ACCOUNTS}{path}")),
            other => respond_not_found(out, other),
        }
    }
}

fn overview() -> Result<String, ErrorCode> {
    let accounts = Call::get(&format!("{ACCOUNTS}/"))?;
    let body = Reader::of_response(&accounts)
        .read_to_end()
        .map_err(|_| ErrorCode::HttpResponseIncomplete)?;
    Ok(format!(
        "{{\"component\":\"gateway\",\"accounts\":{}}}\n",
        String::from_utf8_lossy(&body).trim_end()
    ))
}
