//! `fermyon:spin/http`, by which components of the first SDKs send requests:
//! whole messages, through [`Hooks::send`] like all others.

use ::http::uri::Scheme;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use catena_bindings::spin_http::http::{self, Host};
use catena_bindings::spin_http::http_types::{self, HttpError};
use http_body_util::{BodyExt, Limited};
use wasmtime::component::{HasData, Linker};
use wasmtime_wasi_http::Error;

use super::State;
use super::http::Hooks;
use crate::outbound::SELF_AUTHORITY;

/// The largest body that these interfaces, which know no streams, take or give.
pub(crate) const MAX_BODY: usize = 64 << 20;

/// Says to a linker that an interface works on the instance's [`Hooks`].
struct Hooked;

impl HasData for Hooked {
    type Data<'a> = &'a mut Hooks;
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    http::add_to_linker::<_, Hooked>(linker, |state| &mut state.hooks)
}

impl Host for Hooks {
    async fn send_request(
        &mut self,
        request: http::Request,
    ) -> wasmtime::Result<Result<http::Response, HttpError>> {
        let request = match into_http(request) {
            Ok(request) => request,
            Err(error) => return Ok(Err(error)),
        };
        let answer = self.send(request.map(crate::body::full), None).await;
        let response = match answer.unwrap_or(Err(Error::ConnectionTerminated)) {
            Ok(response) => response,
            Err(error) => return Ok(Err(told(&error))),
        };
        let (parts, body) = response.into_parts();
        let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
            return Ok(Err(HttpError::RequestError));
        };
        Ok(Ok(http::Response {
            status: parts.status.as_u16(),
            headers: Some(headers(&parts.headers)),
            body: Some(body.to_bytes().into()),
        }))
    }
}

impl http_types::Host for Hooks {}

/// Headers as these interfaces write them; a value that is no text has no place
/// in them.
pub(crate) fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = std::str::from_utf8(value.as_bytes()).ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    };
    headers.iter().filter_map(text).collect()
}

/// The headers that a guest wrote; `None` when one cannot be sent.
pub(crate) fn header_map(written: &[(String, String)]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in written {
        let name = HeaderName::try_from(name).ok()?;
        headers.append(name, HeaderValue::try_from(value).ok()?);
    }
    Some(headers)
}

fn into_http(request: http::Request) -> Result<Request<Vec<u8>>, HttpError> {
    let mut uri = Uri::try_from(request.uri).map_err(|_| HttpError::InvalidUrl)?;
    if uri.authority().is_none() {
        // One that has only a path is one of the application to itself.
        let mut parts = uri.into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(::http::uri::Authority::from_static(SELF_AUTHORITY));
        uri = Uri::from_parts(parts).map_err(|_| HttpError::InvalidUrl)?;
    }
    if uri.scheme_str() != Some("http") && uri.scheme_str() != Some("https") {
        return Err(HttpError::InvalidUrl);
    }
    let mut sent = Request::new(request.body.unwrap_or_default());
    *sent.method_mut() = match request.method {
        http_types::Method::Get => Method::GET,
        http_types::Method::Post => Method::POST,
        http_types::Method::Put => Method::PUT,
        http_types::Method::Delete => Method::DELETE,
        http_types::Method::Patch => Method::PATCH,
        http_types::Method::Head => Method::HEAD,
        http_types::Method::Options => Method::OPTIONS,
    };
    *sent.uri_mut() = uri;
    let mut headers = header_map(&request.headers).ok_or(HttpError::RequestError)?;
    // The body is whole, so that its length is known better here.
    headers.remove(::http::header::CONTENT_LENGTH);
    headers.remove(::http::header::TRANSFER_ENCODING);
    *sent.headers_mut() = headers;
    Ok(sent)
}

fn told(error: &Error) -> HttpError {
    match error {
        Error::HttpRequestDenied => HttpError::DestinationNotAllowed,
        Error::HttpRequestUriInvalid => HttpError::InvalidUrl,
        _ => HttpError::RequestError,
    }
}
