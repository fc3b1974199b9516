//! Calls that the probe makes for a test, and what it says of them.

use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme};
use wasip3::wit_bindgen::{FutureReader, StreamReader, spawn};
use wasip3::{wit_future, wit_stream};

use crate::body::{self, Ended};
use crate::json;
use crate::query::Query;

/// A request to `url`, with what `method=..`, `header=name:value` and `host=..` ask for.
fn request_to(
    url: &str,
    query: &Query,
    body: Option<(StreamReader<u8>, FutureReader<Ended>)>,
) -> Result<Request, ErrorCode> {
    let headers = Fields::new();
    let named = query
        .all("header")
        .filter_map(|header| header.split_once(':'));
    for (name, value) in named.chain(query.get("host").map(|host| ("host", host))) {
        if let Err(error) = headers.append(name, value.as_bytes()) {
            eprintln!("the header {name} was refused: {error:?}");
        }
    }
    let (contents, ended) = match body {
        Some((contents, ended)) => (Some(contents), ended),
        None => (None, wit_future::new(|| Ok(None)).1),
    };
    let (request, _sent) = Request::new(headers, contents, ended, None);
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, url),
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let invalid = |()| ErrorCode::HttpRequestUriInvalid;
    let method = match query.get("method").unwrap_or("GET") {
        "GET" => Method::Get,
        "POST" => Method::Post,
        other => Method::Other(other.to_owned()),
    };
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
    request.set_path_with_query(Some(path)).map_err(invalid)?;
    Ok(request)
}

/// The answer to a call that failed: a 502 whose text is the error.
fn failed(error: &ErrorCode) -> Response {
    let text = format!("{error:?}");
    body::text(502, text.strip_prefix("ErrorCode::").unwrap_or(&text))
}

/// Hands the request on to `url` and its response back, as handles: no byte passes through the guest.
pub(crate) async fn pass(request: Request, query: &Query) -> Result<Response, ErrorCode> {
    let url = query.get("url").expect("a url");
    let request = request_to(url, query, Some(body::of_request(request)))?;
    Ok(client::send(request)
        .await
        .unwrap_or_else(|error| failed(&error)))
}

/// The same, but every byte passes through the guest, both ways at once.
pub(crate) async fn duplex(request: Request, query: &Query) -> Result<Response, ErrorCode> {
    let url = query.get("url").expect("a url");
    let (from, from_ended) = body::of_request(request);
    let (mut upload, contents) = wit_stream::new();
    let (up_ended, ended) = wit_future::new(|| Err(ErrorCode::ConnectionTerminated));
    let outgoing = request_to(url, query, Some((contents, ended)))?;
    spawn(async move {
        body::carry(from, &mut upload).await;
        drop(upload);
        _ = up_ended.write(from_ended.await).await;
    });
    let callee = match client::send(outgoing).await {
        Ok(callee) => callee,
        Err(error) => return Ok(failed(&error)),
    };
    let (mut to, ended, response) = body::streamed(callee.get_status_code());
    let (from, from_ended) = body::of_response(callee);
    spawn(async move {
        body::carry(from, &mut to).await;
        drop(to);
        _ = ended.write(from_ended.await).await;
    });
    Ok(response)
}

/// Calls `url` to the end and reports the outcome: the caller survives whatever the callee does.
pub(crate) async fn report(query: &Query) -> Result<Response, ErrorCode> {
    let url = query.get("url").expect("a url");
    let report = match client::send(request_to(url, query, None)?).await {
        Ok(callee) => {
            let status = callee.get_status_code();
            let headers = callee.get_headers().copy_all();
            let (from, ended) = body::of_response(callee);
            let body = from.collect().await;
            format!(
                "{{\"status\":{status},\"headers\":{},\"body\":{},\"broken\":{}}}",
                json::pairs(
                    headers
                        .iter()
                        .map(|(name, value)| (name.as_str(), value.as_slice()))
                ),
                json::string(&String::from_utf8_lossy(&body)),
                ended.await.is_err(),
            )
        }
        Err(error) => format!("{{\"error\":{}}}", json::string(&format!("{error:?}"))),
    };
    Ok(body::text(200, &format!("[{report}]\n")))
}

/// Calls itself by name (`name=..`) without end, and relays the status of the answer.
pub(crate) async fn recurse(request: &Request, query: &Query) -> Result<Response, ErrorCode> {
    let name = query.get("name").expect("a name");
    let path = request.get_path_with_query().unwrap_or_default();
    let url = format!("http://{name}.spin.internal{path}");
    match client::send(request_to(&url, query, None)?).await {
        Ok(callee) => Ok(body::text(callee.get_status_code(), "")),
        Err(error) => Ok(failed(&error)),
    }
}
