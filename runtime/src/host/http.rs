//! `wasi:http` as guests import it, 0.2 and 0.3: whatever a guest sends goes
//! through [`Hooks::send`] to [`crate::outbound`].

use std::sync::Arc;

use ::http::header::HOST;
use ::http::uri::{Authority, PathAndQuery, Scheme};
use ::http::{HeaderName, Request, Response};
use tokio::sync::oneshot;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings as p2;
use wasmtime_wasi_http::p3::bindings::http::client::HostWithStore as _;
use wasmtime_wasi_http::p3::{self, bindings as p3_bindings};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttp,
    WasiHttpHooks, WasiHttpView,
};

use super::State;
use crate::body::Body;
use crate::call::Call;
use crate::life::Life;
use crate::outbound::{Outbound, SELF_AUTHORITY, Sender};

mod november;
mod october;
mod outgoing;

pub(super) use november::add_to_linker as add_november_to_linker;
pub(super) use october::add_to_linker as add_october_to_linker;

/// wasmtime's own name of the interface; guests may ask for any 0.3.
const CLIENT: &str = "wasi:http/client@0.3.0";

/// What one instance's requests need to know of it.
pub(crate) struct Hooks {
    pub(crate) outbound: Arc<Outbound>,
    pub(crate) call: Arc<dyn Call>,
    /// How many guests wait for this one.
    pub(crate) depth: u32,
    /// The instance's work on its present event.
    pub(crate) life: Arc<Life>,
    pub(crate) forbidden: ForbiddenHeaderFilter,
}

/// Which headers a guest may not set. `Host` is not among them: guests may
/// have set one, and it is overwritten when the request is sent.
pub(crate) fn forbidden_headers() -> ForbiddenHeaderFilter {
    Arc::new(|name| name != HOST && DEFAULT_FORBIDDEN_HEADERS.contains(name))
}

/// What a request was answered with.
pub(super) type Answer = oneshot::Receiver<Result<Response<Body>, Error>>;

impl Hooks {
    /// Sends a request on its way, beside the guest.
    pub(super) fn send(&self, request: Request<Body>, options: Option<RequestOptions>) -> Answer {
        let request = request.map(|body| crate::body::guarded(body, Arc::clone(&self.life)));
        let sender = Sender {
            call: Arc::clone(&self.call),
            life: Arc::clone(&self.life),
            depth: self.depth,
        };
        let sent = Arc::clone(&self.outbound).send(sender, request, options);
        let (mut tell, answer) = oneshot::channel();
        self.life.send_out(Box::pin(async move {
            // A guest that no longer waits for the answer cancels the request.
            tokio::select! {
                biased;
                response = sent => drop(tell.send(response)),
                () = tell.closed() => {}
            }
        }));
        answer
    }
}

type SendRequest = Box<
    dyn Future<
            Output = Result<
                (
                    Response<WasiBody>,
                    Box<dyn Future<Output = Result<(), Error>> + Send>,
                ),
                Error,
            >,
        > + Send,
>;

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
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
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> SendRequest {
        let answer = self.send(request, options);
        Box::new(async move {
            let response = answer.await.unwrap_or(Err(Error::ConnectionTerminated))?;
            let done: Box<dyn Future<Output = _> + Send> = Box::new(async { Ok(()) });
            Ok((response, done))
        })
    }
}

pub(super) fn add_p2_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let options = p2::LinkOptions::default();
    p2::http::types::add_to_linker::<_, WasiHttp>(linker, &(&options).into(), State::http)?;
    outgoing::add_to_linker(linker)
}

pub(super) fn add_p3_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    p3_bindings::http::types::add_to_linker::<_, WasiHttp>(linker, State::http)?;
    // Sending is catena's own, since it also takes a request that has only a
    // path: the application calls itself.
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
                let sent = match WasiHttp::send(&accessor, request).await {
                    Ok(response) => Ok(response),
                    // What is no error code of wasi:http traps the guest.
                    Err(error) => Err(error.downcast()?),
                };
                Ok((sent,))
            })
        },
    )?;
    Ok(())
}
