//! The floor under a chained call: what wasmtime alone needs to have `hello` answer once, on the same machine in the
//! same run. It has catena's configuration and pool, the hosts of wasmtime's own crates and one thread, and nothing
//! of catena: no routes, no permissions, no limits, no socket.
//!
//! 0.2: a store, an instance, the handler, the answer read to its end, all of it dropped. 0.3: the handler of an
//! instance that is there, and the answer read.

use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use catena_runtime::engine::{Concurrency, Engine, Limits};
use catena_test::workspace;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView, p3,
};

use crate::process::Usage;
use crate::table::median;

const ROUNDS: u32 = 9;
const CALLS: u32 = 2000;

/// `hello`, ready to be called.
pub(crate) enum Floor {
    /// `wasi:http` 0.2.
    Fresh(ProxyPre<State>),
    /// `wasi:http` 0.3.
    Reused(ServicePre<State>),
}

/// The data of a store: what wasmtime's hosts need, and no more.
pub(crate) struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
}

/// `hello` sends nothing.
struct Hooks;

impl Floor {
    /// Compiles and links `hello` of 0.2.
    pub(crate) fn fresh() -> Result<Self> {
        let engine = Engine::for_running(&Limits::default(), Concurrency::Off)?;
        let (component, mut linker) = load(&engine, "hello")?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).map_err(plain)?;
        let pre = linker.instantiate_pre(&component).map_err(plain)?;
        Ok(Self::Fresh(ProxyPre::new(pre).map_err(plain)?))
    }

    /// Compiles and links `hello` of 0.3.
    pub(crate) fn reused() -> Result<Self> {
        let engine = Engine::for_running(&Limits::default(), Concurrency::On)?;
        let (component, mut linker) = load(&engine, "hello_p3")?;
        wasmtime_wasi::p3::add_to_linker(&mut linker).map_err(plain)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker).map_err(plain)?;
        let pre = linker.instantiate_pre(&component).map_err(plain)?;
        Ok(Self::Reused(ServicePre::new(pre).map_err(plain)?))
    }

    /// How long one call takes, the median of several rounds, and its CPU time; in microseconds.
    pub(crate) fn measure(&self, runtime: &Runtime) -> Result<(f64, f64)> {
        runtime.block_on(self.round())?;
        let own = i32::try_from(std::process::id())?;
        let before = Usage::of(own)?;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let took = runtime.block_on(self.round())?;
            rounds.push(took.as_secs_f64() * 1e6 / f64::from(CALLS));
        }
        let cpu = Usage::of(own)?.since(before).cpu;
        Ok((median(rounds), cpu / f64::from(ROUNDS * CALLS)))
    }

    async fn round(&self) -> Result<std::time::Duration> {
        match self {
            Self::Fresh(pre) => {
                let started = Instant::now();
                for _ in 0..CALLS {
                    complete(&fresh(pre).await?)?;
                }
                Ok(started.elapsed())
            }
            Self::Reused(pre) => {
                let mut store = store(pre.engine());
                let service = pre.instantiate_async(&mut store).await.map_err(plain)?;
                let started = Instant::now();
                for _ in 0..CALLS {
                    complete(&reused(&mut store, &service).await?)?;
                }
                Ok(started.elapsed())
            }
        }
    }
}

async fn fresh(pre: &ProxyPre<State>) -> Result<Response<Bytes>> {
    let mut store = store(pre.engine());
    let proxy = pre.instantiate_async(&mut store).await.map_err(plain)?;
    let (sender, answer) = oneshot::channel();
    let mut http = store.data_mut().http();
    let request = http
        .new_incoming_request(Scheme::Http, request()?)
        .map_err(plain)?;
    let out = http.new_response_outparam(sender).map_err(plain)?;
    let handler = proxy.wasi_http_incoming_handler();
    let handled = async {
        let handled = handler.call_handle(&mut store, request, out).await;
        handled.map_err(plain)
    };
    let read = async {
        let response = answer.await.context("the guest gave no answer")?;
        whole(response.map_err(|code| anyhow!("{code:?}"))?).await
    };
    Ok(tokio::try_join!(handled, read)?.1)
}

async fn reused(store: &mut Store<State>, service: &Service) -> Result<Response<Bytes>> {
    let (sender, answer) = oneshot::channel();
    let request = request()?;
    let handled = store.run_concurrent(async |accessor| {
        let (request, sent) = accessor.with(|mut store| {
            let http = store.data_mut().http();
            let (request, sent) = p3::Request::from_http(http.hooks, request);
            let sent: BodySent = Box::pin(sent);
            wasmtime::error::Ok((http.table.push(request)?, sent))
        })?;
        let handler = service.wasi_http_handler();
        let response = handler.call_handle(accessor, request).await??;
        let response = accessor.with(|mut store| {
            let response = store.data_mut().table.delete(response)?;
            response.into_http(&mut store, sent)
        })?;
        drop(sender.send(response));
        std::future::poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
        wasmtime::error::Ok(())
    });
    let handled = async { handled.await.flatten().map_err(plain) };
    let read = async { whole(answer.await.context("the guest gave no answer")?).await };
    Ok(tokio::try_join!(handled, read)?.1)
}

fn request() -> Result<Request<WasiBody>> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = Request::get("http://hello.spin.internal/")
        .header("host", "hello.spin.internal")
        .body(body)?;
    Ok(request)
}

async fn whole(
    response: Response<impl http_body_util::BodyExt<Data = Bytes, Error: std::fmt::Debug>>,
) -> Result<Response<Bytes>> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| anyhow!("{error:?}"))?;
    Ok(Response::from_parts(parts, body.to_bytes()))
}

/// A wrong answer must not be a fast one.
fn complete(response: &Response<Bytes>) -> Result<()> {
    if response.body().as_ref() != b"Hello from catena\n" {
        bail!("hello answered {response:?}");
    }
    Ok(())
}

fn load(engine: &Engine, guest: &str) -> Result<(Component, Linker<State>)> {
    let component = Component::from_file(engine.wasmtime(), workspace::guest(guest)?);
    let mut linker = Linker::new(engine.wasmtime());
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(plain)?;
    Ok((component.map_err(plain)?, linker))
}

fn store(engine: &wasmtime::Engine) -> Store<State> {
    let state = State {
        table: ResourceTable::new(),
        wasi: WasiCtx::builder().build(),
        http: WasiHttpCtx::new(),
        hooks: Hooks,
    };
    let mut store = Store::new(engine, state);
    // Nothing advances the epoch.
    store.set_epoch_deadline(1);
    store
}

fn plain(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:#}")
}

/// How the transmission of a request's body ended.
type BodySent = std::pin::Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

type Sent = std::result::Result<
    (
        Response<WasiBody>,
        Box<dyn Future<Output = std::result::Result<(), Error>> + Send>,
    ),
    Error,
>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        _request: Request<WasiBody>,
        _options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}
