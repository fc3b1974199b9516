//! The middle of the chain: private, called by `gateway`, and itself a caller of `ledger`.

use guest_http::{Call, Reader, forward, respond_error, respond_not_found, respond_text};
use wasip2::http::types::{ErrorCode, IncomingRequest, ResponseOutparam};

const LEDGER: &str = "http://ledger.spin.internal";

struct Accounts;

wasip2::http::proxy::export!(Accounts);

impl wasip2::exports::http::incoming_handler::Guest for Accounts {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        match path.split('?').next().unwrap_or_default() {
            "/" => match balances() {
                Ok(json) => respond_text(out, 200, "application/json", &json),
                Err(error) => respond_error(out, &error),
            },
            "/stream" | "/echo" => forward(&request, out, &format!("{LEDGER}{path}")),
            other => respond_not_found(out, other),
        }
    }
}

fn balances() -> Result<String, ErrorCode> {
    let ledger = Call::get(&format!("{LEDGER}/"))?;
    let body = Reader::of_response(&ledger)
        .read_to_end()
        .map_err(|_| ErrorCode::HttpResponseIncomplete)?;
    Ok(format!(
        "{{\"component\":\"accounts\",\"owner\":\"Ada\",\"ledger\":{}}}\n",
        String::from_utf8_lossy(&body).trim_end()
    ))
}
