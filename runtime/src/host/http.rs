//! `wasi:http` as guests import it, 0.2 and 0.3: everything a guest sends goes
//! through [`Hooks::send_request`] to [`crate::outbound`].

use std::sync::Arc;

use ::http::header::HOST;
use ::http::uri::{Authority, PathAndQuery, Scheme};
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::TrappableError;
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;
use wasmtime_wasi_http::p2::{HttpResult as P2Result, bindings as p2};
use wasmtime_wasi_http::p3::bindings::http::client::HostWithStore as _;
use wasmtime_wasi_http::p3::{self, bindings as p3_bindings};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttp,
    WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use super::State;
use crate::body::Outcome;
use crate::call::Call;
use crate::outbound::{Outbound, SELF_AUTHORITY};

/// What one instance's requests need to know of it.
pub(crate) struct Hooks {
    pub(crate) outbound: Arc<Outbound>,
    pub(crate) call: Arc<dyn Call>,
    /// How many guests wait for this one.
    pub(crate) depth: u32,
    /// How the instance ends; its streamed bodies look at it.
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) forbidden: ForbiddenHeaderFilter,
}

/// Which headers a guest may not set. `Host` is not among them: guests may
/// have set one, and it is overwritten when the request is sent.
pub(crate) fn forbidden_headers() -> ForbiddenHeaderFilter {
    Arc::new(|name| name != HOST && DEFAULT_FORBIDDEN_HEADERS.contains(name))
}

type SendRequest = Box<
    dyn Future<
            Output = Result<
                (
                    ::http::Response<WasiBody>,
                    Box<dyn Future<Output = Result<(), Error>> + Send>,
                ),
                Error,
            >,
        > + Send,
>;

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &::http::HeaderName) -> bool {
        (self.forbidden)(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::clone(&self.forbidden)
    }

    fn set_host_header(&mut self) -> bool {
        // The outbound layer sets it, since it must overwrite the guest's own.
        false
    }

    fn default_scheme(&mut self) -> Option<Scheme> {
        Some(Scheme::HTTP)
    }

    fn send_request(
        &mut self,
        request: ::http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> SendRequest {
        let request = request.map(|body| crate::body::guarded(body, Arc::clone(&self.outcome)));
        let call = Arc::clone(&self.call);
        let sent = Arc::clone(&self.outbound).send(call, request, options, self.depth);
        Box::new(async move {
            let response = sent.await?;
            let done: Box<dyn Future<Output = _> + Send> = Box::new(async { Ok(()) });
            Ok((response, done))
        })
    }
}

/// The version that wasmtime names its interfaces by; guests may ask for any
/// version of the same track.
const OUTGOING_HANDLER: &str = "wasi:http/outgoing-handler@0.2.12";
const CLIENT: &str = "wasi:http/client@0.3.0";

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let options = p2::LinkOptions::default();
    p2::http::types::add_to_linker::<_, WasiHttp>(linker, &(&options).into(), State::http)?;
    p3_bindings::http::types::add_to_linker::<_, WasiHttp>(linker, State::http)?;
    // The two functions that send are catena's own, since they also take a
    // request that has only a path: the application calls itself.
    linker.instance(OUTGOING_HANDLER)?.func_wrap(
        "handle",
        |mut store, (request, options): (Resource<HostOutgoingRequest>, Option<Resource<_>>)| {
            let mut view: WasiHttpCtxView<'_> = store.data_mut().http();
            let fields = view.table.get_mut(&request)?;
            if fields.authority.as_deref().is_none_or(str::is_empty) {
                fields.authority = Some(SELF_AUTHORITY.to_owned());
                fields.scheme = Some(p2::http::types::Scheme::Http);
            }
            let sent = p2::http::outgoing_handler::Host::handle(&mut view, request, options);
            Ok((split_p2(sent)?,))
        },
    )?;
    linker.instance(CLIENT)?.func_wrap_concurrent(
        "send",
        |accessor, (request,): (Resource<p3::Request>,)| {
            Box::pin(async move {
                accessor.with(|mut store| {
                    let fields = store.data_mut().http().table.get_mut(&request)?;
                    if fields.authority.is_none() {
                        fields.authority = Some(Authority::from_static(SELF_AUTHORITY));
                        fields.scheme = Some(Scheme::HTTP);
                    }
                    // An absolute URI has a path, which wasi:http may leave out.
                    fields
                        .path_with_query
                        .get_or_insert(PathAndQuery::from_static("/"));
                    wasmtime::error::Ok(())
                })?;
                let accessor = accessor.with_getter::<WasiHttp>(State::http);
                let sent = WasiHttp::send(&accessor, request).await;
                Ok((split_p3(sent)?,))
            })
        },
    )?;
    Ok(())
}

/// Parts what the guest is told from what traps it.
fn split_p2<T>(result: P2Result<T>) -> wasmtime::Result<Result<T, p2::http::types::ErrorCode>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => Ok(Err(error.downcast()?)),
    }
}

fn split_p3<T>(
    result: Result<T, TrappableError<p3_bindings::http::types::ErrorCode>>,
) -> wasmtime::Result<Result<T, p3_bindings::http::types::ErrorCode>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => Ok(Err(error.downcast()?)),
    }
}
