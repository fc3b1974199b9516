//! Where `wasi:http@0.2.0-rc-2023-10-18` differs from the release: errors are
//! one of four sentences, what cannot go wrong by its type traps where it does,
//! and requests and responses are made in one step.

use std::time::Duration;

use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{
    self, ErrorCode, HostFields as _, HostOutgoingBody as _, HostOutgoingRequest as _,
    HostOutgoingResponse as _, Method, Scheme,
};
use wasmtime_wasi_http::p2::{HeaderError, HttpError};
use wasmtime_wasi_http::{FieldMap, RequestOptions, WasiHttpCtxView, WasiHttpView};

use super::outgoing::{self, OUTGOING_HANDLER, Sent, TYPES};
use crate::host::State;

/// What went wrong, in the candidate's words.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum Failure {
    #[component(name = "invalid-url")]
    InvalidUrl(String),
    #[component(name = "timeout-error")]
    Timeout(String),
    #[component(name = "protocol-error")]
    Protocol(String),
    #[component(name = "unexpected-error")]
    Unexpected(String),
}

/// The time limits of a request, in milliseconds.
#[derive(ComponentType, Lift)]
#[component(record)]
struct Limits {
    #[component(name = "connect-timeout-ms")]
    connect: Option<u32>,
    #[component(name = "first-byte-timeout-ms")]
    first_byte: Option<u32>,
    #[component(name = "between-bytes-timeout-ms")]
    between_bytes: Option<u32>,
}

/// Puts the candidate's functions over those of the release.
pub(in crate::host) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.instance(OUTGOING_HANDLER)?.func_wrap(
        "handle",
        |mut store, (request, limits): (Resource<types::OutgoingRequest>, Option<Limits>)| {
            let options = limits.map(RequestOptions::from);
            let sent = outgoing::handle(store.data_mut(), request, options)?;
            Ok((sent.map_err(Failure::from),))
        },
    )?;
    add_fields(linker)?;
    add_messages(linker)?;
    add_answers(linker)
}

type Entries = Vec<(String, Vec<u8>)>;
type Fields = Resource<FieldMap>;

fn add_fields(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[constructor]fields",
        |mut store, (entries,): (Entries,)| {
            let fields = store.data_mut().http().from_list(entries);
            Ok((fields.map_err(refused)?,))
        },
    )?;
    types.func_wrap(
        "[method]fields.set",
        |mut store, (fields, name, values): (Fields, String, Vec<Vec<u8>>)| {
            let set = types::HostFields::set(&mut store.data_mut().http(), fields, name, values);
            set.map_err(refused)
        },
    )?;
    types.func_wrap(
        "[method]fields.delete",
        |mut store, (fields, name): (Fields, String)| {
            let deleted = store.data_mut().http().delete(fields, name);
            deleted.map_err(refused)
        },
    )?;
    types.func_wrap(
        "[method]fields.append",
        |mut store, (fields, name, value): (Fields, String, Vec<u8>)| {
            let appended = store.data_mut().http().append(fields, name, value);
            appended.map_err(refused)
        },
    )
}

type RequestParts = (
    Method,
    Option<String>,
    Option<Scheme>,
    Option<String>,
    Fields,
);

fn add_messages(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[constructor]outgoing-request",
        |mut store, parts: RequestParts| Ok((request(&mut store.data_mut().http(), parts)?,)),
    )?;
    types.func_wrap(
        "[method]outgoing-request.write",
        |mut store, (request,): (Resource<types::OutgoingRequest>,)| {
            let mut http = store.data_mut().http();
            Ok((types::HostOutgoingRequest::body(&mut http, request)?,))
        },
    )?;
    types.func_wrap(
        "[constructor]outgoing-response",
        |mut store, (status, headers): (u16, Fields)| {
            let mut http = store.data_mut().http();
            let headers = types::HostFields::clone(&mut http, headers)?;
            let response = types::HostOutgoingResponse::new(&mut http, headers)?;
            let id = Resource::new_borrow(response.rep());
            match http.set_status_code(id, status)? {
                Ok(()) => Ok((response,)),
                Err(()) => wasmtime::bail!("{status} is no status code"),
            }
        },
    )?;
    types.func_wrap(
        "[method]outgoing-response.write",
        |mut store, (response,): (Resource<types::OutgoingResponse>,)| {
            let mut http = store.data_mut().http();
            Ok((types::HostOutgoingResponse::body(&mut http, response)?,))
        },
    )?;
    types.func_wrap(
        "[static]outgoing-body.finish",
        |mut store, (body, trailers): (Resource<types::OutgoingBody>, Option<Fields>)| {
            let finished = store.data_mut().http().finish(body, trailers);
            finished.map_err(trapped)
        },
    )
}

type Response = Result<Resource<types::OutgoingResponse>, Failure>;

fn add_answers(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[static]response-outparam.set",
        |mut store, (out, response): (Resource<types::ResponseOutparam>, Response)| {
            let mut http = store.data_mut().http();
            types::HostResponseOutparam::set(&mut http, out, response.map_err(ErrorCode::from))
        },
    )?;
    types.func_wrap(
        "[method]future-trailers.get",
        |mut store, (trailers,): (Resource<types::FutureTrailers>,)| {
            let mut http = store.data_mut().http();
            let got = types::HostFutureTrailers::get(&mut http, trailers)?;
            let got = match got {
                None => None,
                Some(Ok(Ok(Some(trailers)))) => Some(Ok(trailers)),
                // There is no word for none.
                Some(Ok(Ok(None)) | Err(())) => Some(Ok(types::HostFields::new(&mut http)?)),
                Some(Ok(Err(code))) => Some(Err(Failure::from(code))),
            };
            Ok((got,))
        },
    )?;
    types.func_wrap(
        "[method]future-incoming-response.get",
        |mut store, (sent,): (Resource<Sent>,)| {
            let got = outgoing::get(&mut store.data_mut().http(), &sent)?;
            Ok((got.map(|once| once.map(|answer| answer.map_err(Failure::from))),))
        },
    )
}

fn request(
    http: &mut WasiHttpCtxView<'_>,
    (method, path_with_query, scheme, authority, headers): RequestParts,
) -> wasmtime::Result<Resource<types::OutgoingRequest>> {
    let headers = types::HostFields::clone(http, headers)?;
    let request = types::HostOutgoingRequest::new(http, headers)?;
    let id = || Resource::new_borrow(request.rep());
    let set = [
        ("method", http.set_method(id(), method)?),
        ("path", http.set_path_with_query(id(), path_with_query)?),
        ("scheme", http.set_scheme(id(), scheme)?),
        ("authority", http.set_authority(id(), authority)?),
    ];
    match set.into_iter().find(|(_, set)| set.is_err()) {
        None => Ok(request),
        Some((part, _)) => wasmtime::bail!("a request whose {part} is not valid"),
    }
}

/// An error for which the candidate has no words.
fn refused(error: HeaderError) -> wasmtime::Error {
    match error.downcast() {
        Ok(code) => wasmtime::format_err!("headers that are not valid: {code:?}"),
        Err(trap) => trap,
    }
}

fn trapped(error: HttpError) -> wasmtime::Error {
    match error.downcast() {
        Ok(code) => wasmtime::format_err!("a body that is not valid: {code:?}"),
        Err(trap) => trap,
    }
}

impl From<Limits> for RequestOptions {
    fn from(limits: Limits) -> Self {
        let limit = |ms: Option<u32>| ms.map(|ms| Duration::from_millis(ms.into()));
        Self {
            connect_timeout: limit(limits.connect),
            first_byte_timeout: limit(limits.first_byte),
            between_bytes_timeout: limit(limits.between_bytes),
        }
    }
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        let text = format!("{code:?}");
        match code {
            ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestUriTooLong => {
                Self::InvalidUrl(text)
            }
            ErrorCode::DnsTimeout
            | ErrorCode::ConnectionTimeout
            | ErrorCode::ConnectionReadTimeout
            | ErrorCode::ConnectionWriteTimeout
            | ErrorCode::HttpResponseTimeout => Self::Timeout(text),
            ErrorCode::HttpProtocolError | ErrorCode::HttpResponseIncomplete => {
                Self::Protocol(text)
            }
            _ => Self::Unexpected(text),
        }
    }
}

impl From<Failure> for ErrorCode {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::InvalidUrl(_) => Self::HttpRequestUriInvalid,
            Failure::Timeout(_) => Self::HttpResponseTimeout,
            Failure::Protocol(_) => Self::HttpProtocolError,
            Failure::Unexpected(text) => Self::InternalError(Some(text)),
        }
    }
}
