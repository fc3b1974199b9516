//! The smallest shim that serves a `wasi:http` 0.2 component: containerd-shim-wasm for everything that containerd
//! asks, wasmtime with its pooling allocator, hyper, and a fresh instance a request. No more is done for speed than
//! what the libraries' own examples show.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use containerd_shim_wasm::sandbox::Sandbox;
use containerd_shim_wasm::sandbox::context::RuntimeContext;
use containerd_shim_wasm::shim::{Cli as _, Shim, Version, version};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// Where it listens, as catena is told.
const LISTEN: &str = "SPIN_HTTP_LISTEN_ADDR=";

struct Baseline;

impl Shim for Baseline {
    type Sandbox = Server;

    fn name() -> &'static str {
        "baseline"
    }

    fn version() -> Version {
        version!()
    }
}

#[derive(Default)]
struct Server;

impl Sandbox for Server {
    async fn run_wasi(&self, context: &impl RuntimeContext) -> Result<i32> {
        let wasm = context.entrypoint().source.as_bytes()?.into_owned();
        let listen = context.envs().iter().find_map(|one| one.strip_prefix(LISTEN));
        let listen = listen.unwrap_or("0.0.0.0:80").to_owned();
        let mut config = Config::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(
            PoolingAllocationConfig::default(),
        ));
        let engine = Engine::new(&config).map_err(|error| anyhow!("{error:#}"))?;
        let component = Component::new(&engine, wasm).map_err(|error| anyhow!("{error:#}"))?;
        let pre = link(&engine, &component).map_err(|error| anyhow!("{error:#}"))?;
        serve(Arc::new(pre), &listen).await
    }

    async fn can_handle(&self, _: &impl RuntimeContext) -> Result<()> {
        Ok(())
    }
}

fn link(engine: &Engine, component: &Component) -> wasmtime::Result<ProxyPre<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    ProxyPre::new(linker.instantiate_pre(component)?)
}

async fn serve(pre: Arc<ProxyPre<State>>, listen: &str) -> Result<i32> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("binding {listen}"))?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let pre = Arc::clone(&pre);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&pre), request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A client that goes away is nobody's concern.
            drop(connection.await);
        });
    }
}

async fn answer(
    pre: Arc<ProxyPre<State>>,
    request: Request<Incoming>,
) -> Result<Response<HyperOutgoingBody>> {
    let mut store = Store::new(
        pre.engine(),
        State {
            table: ResourceTable::new(),
            wasi: WasiCtx::builder().inherit_stdio().build(),
            http: WasiHttpCtx::new(),
        },
    );
    let (sender, receiver) = oneshot::channel();
    let plain = |error: wasmtime::Error| anyhow!("{error:#}");
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, request).map_err(plain)?;
    let out = http.new_response_outparam(sender).map_err(plain)?;
    let task = tokio::spawn(async move {
        let proxy = pre.instantiate_async(&mut store).await?;
        let handler = proxy.wasi_http_incoming_handler();
        handler.call_handle(store, request, out).await
    });
    match receiver.await {
        Ok(response) => response.map_err(|code| anyhow!("{code:?}")),
        Err(_) => match task.await? {
            Ok(()) => bail!("the guest gave no response"),
            Err(error) => Err(plain(error)),
        },
    }
}

struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
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
            hooks: wasmtime_wasi_http::default_hooks(),
        }
    }
}

fn main() {
    Baseline::run(None);
}
