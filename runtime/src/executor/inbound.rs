//! Runs a guest of the first SDKs for one request: `fermyon:spin/inbound-http`,
//! which takes and gives whole messages.

use std::sync::Arc;

use catena_bindings::spin_http::http_types::{self, Method};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::http::{Answer, HttpWork, failed};
use crate::body::Body;
use crate::call::CallError;
use crate::guest::{Guest, HttpExport};
use crate::host::spin_http::{MAX_BODY, header_map, headers};
use crate::life::Life;

/// Gives the guest a request, and the answer to whoever waits for it.
///
/// # Errors
/// When the guest gave no response.
pub(super) async fn run(
    guest: Arc<Guest>,
    work: HttpWork,
    answer: Answer,
    life: Arc<Life>,
) -> Result<(), CallError> {
    let Some(HttpExport::Inbound(pre)) = &guest.exports.http else {
        return Ok(());
    };
    let depth = work.origin.depth();
    let (parts, body) = work.request.into_parts();
    let (method, body) = match (method(&parts.method), whole(&guest, body).await?) {
        (None, _) => return refuse(answer, StatusCode::METHOD_NOT_ALLOWED, &life),
        (_, None) => return refuse(answer, StatusCode::PAYLOAD_TOO_LARGE, &life),
        (Some(method), Some(body)) => (method, body),
    };
    let uri = parts.uri.path_and_query();
    let request = http_types::Request {
        method,
        uri: uri.map_or_else(|| "/".to_owned(), ToString::to_string),
        headers: headers(&parts.headers),
        params: Vec::new(),
        body: Some(body),
    };
    let _in_flight = guest.enter();
    let permit = guest.permit(depth).await?;
    let mut instance = guest.instance(permit, work.call, depth, Arc::clone(&life), None)?;
    let store = &mut instance.store;
    // Declared after the instance: it must be dropped before it.
    let _guard = life.guard();
    let exports = pre
        .instantiate_async(&mut *store)
        .await
        .map_err(|error| guest.unavailable(format!("{error:#}")))?;
    let response = exports
        .fermyon_spin_inbound_http()
        .call_handle_request(&mut *store, &request)
        .await
        .map_err(|error| failed(&guest, format!("{error:?}")))?;
    let response = into_http(response).map_err(|reason| failed(&guest, reason))?;
    // Whoever waited may be gone.
    let _ = answer.send(Ok(response));
    life.finish();
    Ok(())
}

/// Answers in place of the guest.
pub(super) fn refuse(answer: Answer, status: StatusCode, life: &Life) -> Result<(), CallError> {
    let mut response = Response::new(crate::body::empty());
    *response.status_mut() = status;
    let _ = answer.send(Ok(response));
    life.finish();
    Ok(())
}

/// All of a request's body; `None` when it is too large.
///
/// # Errors
/// When the body breaks off.
pub(super) async fn whole(guest: &Guest, body: Body) -> Result<Option<Vec<u8>>, CallError> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Ok(Some(body.to_bytes().into())),
        Err(error) if error.is::<LengthLimitError>() => Ok(None),
        Err(error) => Err(failed(guest, format!("its request broke off: {error}"))),
    }
}

/// The methods that the interface has words for.
fn method(method: &http::Method) -> Option<Method> {
    Some(match *method {
        http::Method::GET => Method::Get,
        http::Method::POST => Method::Post,
        http::Method::PUT => Method::Put,
        http::Method::DELETE => Method::Delete,
        http::Method::PATCH => Method::Patch,
        http::Method::HEAD => Method::Head,
        http::Method::OPTIONS => Method::Options,
        _ => return None,
    })
}

fn into_http(given: http_types::Response) -> Result<Response<Body>, String> {
    let mut response = Response::new(match given.body {
        Some(body) => crate::body::full(body),
        None => crate::body::empty(),
    });
    *response.status_mut() = StatusCode::from_u16(given.status)
        .map_err(|_| format!("it answered with the status {}", given.status))?;
    let mut headers = header_map(&given.headers.unwrap_or_default())
        .ok_or("it answered with a header that is not valid")?;
    // The body is whole, so that its length is known better here.
    headers.remove(http::header::CONTENT_LENGTH);
    headers.remove(http::header::TRANSFER_ENCODING);
    *response.headers_mut() = headers;
    Ok(response)
}
