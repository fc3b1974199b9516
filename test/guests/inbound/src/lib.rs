//! A component of Spin's first SDKs: `fermyon:spin/inbound-http` and `fermyon:spin/http`. `/call?URL` calls on, a body
//! comes back in upper case, and everything else is told what arrived.

mod bindings {
    #![allow(missing_docs, reason = "made by a macro")]
    wit_bindgen::generate!({ path: "../../../runtime/bindings/wit/fermyon-spin-http", generate_all });
}

use bindings::exports::fermyon::spin::inbound_http::Guest;
use bindings::fermyon::spin::http::send_request;
use bindings::fermyon::spin::http_types::{Method, Request, Response};

struct Inbound;

bindings::export!(Inbound with_types_in bindings);

impl Guest for Inbound {
    fn handle_request(request: Request) -> Response {
        let body = request.body.clone().unwrap_or_default();
        let text = match request.uri.split_once('?') {
            Some((path, url)) if path.ends_with("/call") => called(url, Method::Get, None),
            Some((path, url)) if path.ends_with("/post") => {
                called(url, Method::Post, Some(b"sent".to_vec()))
            }
            Some((path, "status=0")) if path.ends_with("/nothing") => {
                return Response {
                    status: 0,
                    headers: None,
                    body: None,
                };
            }
            _ if !body.is_empty() => String::from_utf8_lossy(&body).to_uppercase(),
            _ => {
                let header = |name: &str| {
                    let found = request.headers.iter().find(|(given, _)| given == name);
                    found.map_or("", |(_, value)| value).to_owned()
                };
                format!("{} {}", request.uri, header("spin-path-info"))
            }
        };
        Response {
            status: 201,
            headers: Some(vec![("x-old".to_owned(), "yes".to_owned())]),
            body: Some(text.into_bytes()),
        }
    }
}

fn called(url: &str, method: Method, body: Option<Vec<u8>>) -> String {
    let request = Request {
        method,
        uri: url.to_owned(),
        headers: Vec::new(),
        params: Vec::new(),
        body,
    };
    match send_request(&request) {
        Ok(response) => {
            let body = response.body.unwrap_or_default();
            format!("{} {}", response.status, String::from_utf8_lossy(&body))
        }
        Err(error) => format!("{error:?}"),
    }
}
