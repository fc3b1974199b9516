//! `wasi:http/outgoing-handler` 0.2 and its `future-incoming-response`.
//!
//! wasmtime's own puts every request into a task; here it becomes an errand of
//! the guest ([`crate::life`]), so that a chained call needs no other thread.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use tokio::sync::oneshot;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi_http::p2::bindings::http::types::{self, ErrorCode, RequestOptions};
use wasmtime_wasi_http::p2::body::HostIncomingBody;
use wasmtime_wasi_http::p2::types::{
    HostFutureIncomingResponse, HostIncomingResponse, HostOutgoingRequest,
};
use wasmtime_wasi_http::{Error, FieldMap, WasiHttpCtxView, WasiHttpView};

use super::{Answer, SELF_AUTHORITY};
use crate::body::Body;
use crate::host::State;

/// wasmtime's own names of the interfaces; guests may ask for any 0.2.
pub(super) const OUTGOING_HANDLER: &str = "wasi:http/outgoing-handler@0.2.12";
pub(super) const TYPES: &str = "wasi:http/types@0.2.12";

/// The host's side of a `future-incoming-response`.
pub(super) enum Sent {
    Waiting(Answer),
    Ready(Result<Response<Body>, Error>),
    Taken,
}

#[async_trait::async_trait]
impl Pollable for Sent {
    async fn ready(&mut self) {
        if let Self::Waiting(answer) = self {
            let answer = answer.await.unwrap_or(Err(Error::ConnectionTerminated));
            *self = Self::Ready(answer);
        }
    }
}

/// What `future-incoming-response.get` gives: nothing yet, or once the answer.
pub(super) type Got = Option<Result<Result<Resource<HostIncomingResponse>, ErrorCode>, ()>>;

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.instance(OUTGOING_HANDLER)?.func_wrap(
        "handle",
        |mut store,
         (request, options): (
            Resource<HostOutgoingRequest>,
            Option<Resource<RequestOptions>>,
        )| {
            let state = store.data_mut();
            let options = options
                .map(|options| state.http().table.delete(options))
                .transpose()?;
            Ok((handle(state, request, options)?,))
        },
    )?;
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.resource(
        "future-incoming-response",
        ResourceType::host::<Sent>(),
        |mut store, rep| {
            let sent = Resource::<Sent>::new_own(rep);
            store.data_mut().http().table.delete(sent)?;
            Ok(())
        },
    )?;
    types.func_wrap(
        "[method]future-incoming-response.subscribe",
        |mut store, (sent,): (Resource<Sent>,)| {
            let pollable: Resource<DynPollable> = subscribe(store.data_mut().http().table, sent)?;
            Ok((pollable,))
        },
    )?;
    types.func_wrap(
        "[method]future-incoming-response.get",
        |mut store, (sent,): (Resource<Sent>,)| Ok((get(&mut store.data_mut().http(), &sent)?,)),
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Sends a request on its way.
pub(super) fn handle(
    state: &mut State,
    request: Resource<HostOutgoingRequest>,
    options: Option<RequestOptions>,
) -> wasmtime::Result<Result<Resource<Sent>, ErrorCode>> {
    let request = state.http().table.delete(request)?;
    let request = match into_http(request) {
        Ok(request) => request,
        Err(code) => return Ok(Err(code)),
    };
    let answer = state.hooks.send(request, options);
    Ok(Ok(state.http().table.push(Sent::Waiting(answer))?))
}

/// The guest's request as the rest of catena knows requests. One that has only
/// a path, as `wasi:http` allows, is one of the application to itself.
fn into_http(request: HostOutgoingRequest) -> Result<Request<Body>, ErrorCode> {
    let invalid = |_| ErrorCode::HttpRequestUriInvalid;
    let length = request.headers.get(http::header::CONTENT_LENGTH);
    if let Some(length) = length {
        let digits = length.as_bytes();
        let number = std::str::from_utf8(digits)
            .ok()
            .and_then(|text| text.parse::<u64>().ok());
        if number.is_none() || digits.starts_with(b"+") {
            return Err(ErrorCode::InternalError(Some(
                "content-length is not a number".to_owned(),
            )));
        }
        if request.body.is_none() && number != Some(0) {
            return Err(ErrorCode::HttpRequestBodySize(Some(0)));
        }
    }
    let mut uri = http::uri::Parts::default();
    match request.authority {
        Some(authority) if !authority.is_empty() => {
            uri.authority = Some(Authority::try_from(authority).map_err(invalid)?);
            uri.scheme = Some(match request.scheme {
                Some(types::Scheme::Http) | None => Scheme::HTTP,
                Some(types::Scheme::Https) => Scheme::HTTPS,
                Some(types::Scheme::Other(_)) => return Err(ErrorCode::HttpProtocolError),
            });
        }
        _ => {
            uri.authority = Some(Authority::from_static(SELF_AUTHORITY));
            uri.scheme = Some(Scheme::HTTP);
        }
    }
    uri.path_and_query = Some(match request.path_with_query {
        Some(path) => PathAndQuery::try_from(path).map_err(invalid)?,
        None => PathAndQuery::from_static("/"),
    });
    let mut sent = Request::new(match request.body {
        Some(body) => body,
        None => crate::body::empty(),
    });
    *sent.method_mut() = request
        .method
        .try_into()
        .map_err(|_| ErrorCode::HttpRequestMethodInvalid)?;
    *sent.uri_mut() = Uri::from_parts(uri).map_err(|_| ErrorCode::HttpRequestUriInvalid)?;
    *sent.headers_mut() = request.headers.into();
    Ok(sent)
}

/// The answer, once it is there.
pub(super) fn get(view: &mut WasiHttpCtxView<'_>, sent: &Resource<Sent>) -> wasmtime::Result<Got> {
    let sent = view.table.get_mut(sent)?;
    let answer = match std::mem::replace(sent, Sent::Taken) {
        Sent::Taken => return Ok(Some(Err(()))),
        Sent::Ready(answer) => answer,
        Sent::Waiting(mut answer) => match answer.try_recv() {
            Ok(answer) => answer,
            Err(oneshot::error::TryRecvError::Closed) => Err(Error::ConnectionTerminated),
            Err(oneshot::error::TryRecvError::Empty) => {
                *sent = Sent::Waiting(answer);
                return Ok(None);
            }
        },
    };
    match answer {
        Ok(response) => {
            let (parts, body) = response.into_parts();
            let headers = FieldMap::new_immutable(view.hooks, parts.headers);
            let response = view.table.push(HostIncomingResponse {
                status: parts.status.as_u16(),
                headers,
                body: Some(HostIncomingBody::new(body)),
            })?;
            Ok(Some(Ok(Ok(response))))
        }
        // wasmtime knows what each error is called, but only says so here.
        Err(error) => {
            let failed = view
                .table
                .push(HostFutureIncomingResponse::Ready(Err(error)))?;
            let id = Resource::new_borrow(failed.rep());
            let got = types::HostFutureIncomingResponse::get(view, id)?;
            view.table.delete(failed)?;
            Ok(got)
        }
    }
}
