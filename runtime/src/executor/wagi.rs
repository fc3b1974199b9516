//! Runs a command as a CGI program (RFC 3875) for one request, as the wagi
//! executor does: the request is in its environment, arguments and standard
//! input, the response on its standard output.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};

use super::http::{Answer, HttpWork, failed};
use super::{command, inbound};
use crate::body::Body;
use crate::call::{CallError, CommandLine};
use crate::guest::Guest;
use crate::host::spin_http::MAX_BODY;
use crate::life::Life;

/// Headers that are no business of the program's.
const WITHHELD: [&str; 3] = ["authorization", "connection", "proxy"];

/// Runs the command for a request, and gives what it wrote to whoever waits.
///
/// # Errors
/// When the command trapped, or wrote no response.
pub(super) async fn run(
    guest: Arc<Guest>,
    work: HttpWork,
    answer: Answer,
    life: Arc<Life>,
) -> Result<(), CallError> {
    let depth = work.origin.depth();
    let (parts, body) = work.request.into_parts();
    let Some(body) = inbound::whole(&guest, body).await? else {
        return inbound::refuse(answer, StatusCode::PAYLOAD_TOO_LARGE, &life);
    };
    let template = work.argv.as_deref().or(guest.wagi.as_deref());
    let line = CommandLine {
        args: arguments(template.unwrap_or_default(), &parts),
        env: environment(&parts, body.len()),
    };
    let _in_flight = guest.enter();
    let permit = guest.permit(depth).await?;
    let mut wasi = guest
        .wasi(Some(&line))
        .map_err(|error| guest.unavailable(format!("{error:#}")))?;
    let stdout = MemoryOutputPipe::new(MAX_BODY);
    wasi.stdin(MemoryInputPipe::new(body))
        .stdout(stdout.clone());
    let mut instance = guest.instance_with(permit, work.call, depth, Arc::clone(&life), wasi);
    let code = command::execute(&guest, &mut instance, &life).await?;
    if code != 0 {
        tracing::warn!(component = guest.id, "the command ended with code {code}");
    }
    let response = response(stdout.contents()).map_err(|reason| failed(&guest, reason))?;
    // Whoever waited may be gone.
    let _ = answer.send(Ok(response));
    Ok(())
}

/// The arguments that a template gives: `${SCRIPT_NAME}` is the path, `${ARGS}`
/// the parts of the query.
fn arguments(template: &str, parts: &Parts) -> Vec<String> {
    let query = parts.uri.query().unwrap_or_default().replace('&', " ");
    let line = template
        .replace("${SCRIPT_NAME}", parts.uri.path())
        .replace("${ARGS}", &query);
    line.split_ascii_whitespace().map(str::to_owned).collect()
}

/// The request as variables: those of CGI 1.1, those that Wagi adds, and the
/// headers.
fn environment(parts: &Parts, length: usize) -> Vec<(String, String)> {
    let Parts { uri, headers, .. } = parts;
    let text = |name: &str| {
        let value = headers.get(name).map(HeaderValue::as_bytes);
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    };
    let path_info = text("spin-path-info");
    let client = text("spin-client-addr");
    let remote = client.rsplit_once(':').map_or(&*client, |(host, _)| host);
    let mut env: Vec<(String, String)> = [
        ("AUTH_TYPE", String::new()),
        ("CONTENT_LENGTH", length.to_string()),
        ("CONTENT_TYPE", text("content-type")),
        ("GATEWAY_INTERFACE", "CGI/1.1".to_owned()),
        ("PATH_TRANSLATED", decoded(&path_info)),
        ("PATH_INFO", path_info),
        ("QUERY_STRING", uri.query().unwrap_or_default().to_owned()),
        ("REMOTE_ADDR", remote.to_owned()),
        ("REMOTE_HOST", remote.to_owned()),
        ("REMOTE_USER", String::new()),
        ("REQUEST_METHOD", parts.method.to_string()),
        ("SCRIPT_NAME", text("spin-component-route")),
        ("SERVER_NAME", uri.host().unwrap_or_default().to_owned()),
        ("SERVER_PORT", uri.port_u16().unwrap_or(80).to_string()),
        ("SERVER_PROTOCOL", format!("{:?}", parts.version)),
        ("SERVER_SOFTWARE", "WAGI/1".to_owned()),
        ("X_BASE_PATH", text("spin-base-path")),
        ("X_CLIENT_ADDR", client.clone()),
        ("X_COMPONENT_ROUTE", text("spin-component-route")),
        ("X_FULL_URL", text("spin-full-url")),
        ("X_MATCHED_ROUTE", text("spin-matched-route")),
        ("X_RAW_COMPONENT_ROUTE", text("spin-raw-component-route")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    for name in headers.keys() {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        let value = String::from_utf8_lossy(&values.join(&b", "[..])).into_owned();
        let variable = name.as_str().to_ascii_uppercase().replace('-', "_");
        match variable.strip_prefix("SPIN_") {
            Some(own) if own.starts_with("PATH_MATCH_") => env.push((format!("X_{own}"), value)),
            Some(_) => {}
            None if WITHHELD.contains(&name.as_str()) => {}
            None => env.push((format!("HTTP_{variable}"), value)),
        }
    }
    env
}

/// A path with its `%xx` turned into what they stand for.
fn decoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let value = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, value) {
            (b'%', Some(value)) => {
                decoded.push(value);
                rest = &tail[2..];
            }
            _ => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// What the program wrote: headers, an empty line, and the body.
fn response(written: Bytes) -> Result<Response<Body>, String> {
    let mut headers = HeaderMap::new();
    let mut status = None;
    let mut rest = written;
    loop {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return Err("its output has no empty line after the headers".to_owned());
        };
        let line = rest.split_to(end + 1);
        let line = line.trim_ascii_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = header_line(line)
            .ok_or_else(|| format!("it wrote the header {:?}", String::from_utf8_lossy(line)))?;
        if name == "status" {
            let code = value.as_bytes().get(..3).map(StatusCode::from_bytes);
            let code = code.and_then(Result::ok);
            status = Some(code.ok_or_else(|| format!("it wrote the status {value:?}"))?);
        } else {
            headers.append(name, value);
        }
    }
    let moved = headers.contains_key(header::LOCATION);
    if status.is_none() && !moved && !headers.contains_key(header::CONTENT_TYPE) {
        return Err("it wrote neither a content-type nor a status nor a location".to_owned());
    }
    // The body is whole, so that its length is known better here.
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    let otherwise = if moved {
        StatusCode::FOUND
    } else {
        StatusCode::OK
    };
    let mut response = Response::new(crate::body::full(rest));
    *response.status_mut() = status.unwrap_or(otherwise);
    *response.headers_mut() = headers;
    Ok(response)
}

fn header_line(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = HeaderName::from_bytes(line[..colon].trim_ascii()).ok()?;
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Result<Response<Body>, String> {
        response(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn responses_of_programs() {
        let plain = read("Content-Type: text/plain\n\nhello\n\nagain").unwrap();
        assert_eq!(plain.status(), StatusCode::OK);
        assert_eq!(plain.headers()["content-type"], "text/plain");
        let crlf = read("Status: 404 Not Found\r\nX-A: 1\r\n\r\n").unwrap();
        assert_eq!(crlf.status(), StatusCode::NOT_FOUND);
        assert_eq!(crlf.headers()["x-a"], "1");
        assert!(!crlf.headers().contains_key("status"));
        let moved = read("Location: /there\n\n").unwrap();
        assert_eq!(moved.status(), StatusCode::FOUND);
    }

    #[test]
    fn what_is_no_response() {
        for text in [
            "",
            "hello",
            "hello\n\n",
            "X-A: 1\n\n",
            "Status: abc\n\n",
            "a b: c\n\n",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn paths_are_decoded() {
        assert_eq!(decoded("/a%20b%2Fc"), "/a b/c");
        assert_eq!(decoded("/100%/%zz%4"), "/100%/%zz%4");
    }
}
