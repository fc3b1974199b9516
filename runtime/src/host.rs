//! What guests import: the one list of host interfaces, and the state in a
//! store that they work on.

use std::any::Any;
use std::sync::Arc;

use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::engine::{Concurrency, Engine};
use crate::service::Granted;

mod config_store;
pub(crate) mod dated;
pub(crate) mod denied;
mod handles;
mod http;
mod key_value;
mod llm;
mod mqtt;
mod mysql;
mod otel;
mod places;
mod postgres;
mod rdbms;
mod redis;
mod rows;
mod sockets;
pub(crate) mod spin_http;
mod sqlite;
pub(crate) mod stdio;
mod variables;

pub(crate) use self::http::{Hooks, forbidden_headers};
use self::places::Places;

/// The most resources (handles to headers, bodies, streams ..) of one instance.
const MAX_RESOURCES: usize = 10_000;

/// The largest headers that a guest may build, in bytes of memory.
const MAX_FIELDS: usize = 128 << 10;

/// The data of a guest's store.
pub(crate) struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    memory: MemoryLimit,
    granted: Arc<Granted>,
    places: Places,
    pub(crate) hooks: Hooks,
}

/// What the interfaces beside WASI work on.
pub(crate) struct View<'a> {
    /// The instance's resources.
    pub(crate) table: &'a mut ResourceTable,
    /// What its component may use.
    pub(crate) granted: &'a Arc<Granted>,
    /// Places for what it opens.
    places: &'a mut Places,
}

/// Says to a linker that an interface works on a [`View`].
pub(crate) struct Viewed;

impl HasData for Viewed {
    type Data<'a> = View<'a>;
}

impl State {
    pub(crate) fn new(
        wasi: WasiCtx,
        hooks: Hooks,
        granted: Arc<Granted>,
        max_memory: usize,
    ) -> Self {
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELDS);
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        Self {
            wasi,
            http,
            table,
            memory: MemoryLimit {
                used: 0,
                last: 0,
                max: max_memory,
                refused: false,
            },
            granted,
            places: Places::default(),
            hooks,
        }
    }

    /// What the interfaces beside WASI work on.
    fn view(&mut self) -> View<'_> {
        View {
            table: &mut self.table,
            granted: &self.granted,
            places: &mut self.places,
        }
    }

    /// How many handles the guest has, beside those of which a libc keeps some for
    /// good: standard streams, folders and what tells when these are ready.
    ///
    /// Of a request nothing is missed by that: the stream of a body is a child of
    /// the body and what tells that something is ready a child of that, and none
    /// can go before its children.
    pub(crate) fn handles(&mut self) -> usize {
        let counts = |entry: &&mut (dyn Any + Send)| {
            !(entry.is::<DynInputStream>()
                || entry.is::<DynOutputStream>()
                || entry.is::<DynPollable>()
                || matches!(entry.downcast_ref(), Some(Descriptor::Dir(_))))
        };
        self.table.iter_mut().filter(counts).count()
    }

    /// Whether the guest has ever wanted more memory than it may have.
    pub(crate) fn was_refused_memory(&self) -> bool {
        self.memory.refused
    }

    /// What bounds the memory of this instance, over all its linear memories.
    pub(crate) fn limiter(&mut self) -> &mut dyn wasmtime::ResourceLimiter {
        &mut self.memory
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
            hooks: &mut self.hooks,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

/// Makes the linker that every guest is linked with.
///
/// # Errors
/// When two interfaces claim the same name: a defect of catena.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine.wasmtime());
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    sockets::add_to_linker(&mut linker)?;
    http::add_p2_to_linker(&mut linker)?;
    config_store::add_to_linker(&mut linker)?;
    key_value::add_to_linker(&mut linker)?;
    sqlite::add_to_linker(&mut linker)?;
    llm::add_to_linker(&mut linker)?;
    otel::add_to_linker(&mut linker)?;
    variables::add_to_linker(&mut linker)?;
    redis::add_to_linker(&mut linker, engine.concurrency())?;
    postgres::add_to_linker(&mut linker, engine.concurrency())?;
    mysql::add_to_linker(&mut linker, engine.concurrency())?;
    rdbms::add_to_linker(&mut linker)?;
    mqtt::add_to_linker(&mut linker, engine.concurrency())?;
    spin_http::add_to_linker(&mut linker)?;
    if engine.concurrency() == Concurrency::On {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        sockets::add_p3_to_linker(&mut linker)?;
        http::add_p3_to_linker(&mut linker)?;
        variables::add_concurrent_to_linker(&mut linker)?;
        key_value::add_async_to_linker(&mut linker)?;
        sqlite::add_async_to_linker(&mut linker)?;
    }
    Ok(linker)
}

/// Counts the linear memory of one instance.
struct MemoryLimit {
    used: usize,
    /// What the last growth added, taken back when it fails after all.
    last: usize,
    max: usize,
    refused: bool,
}

impl wasmtime::ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let used = self.used.saturating_add(more);
        let fits = used <= self.max;
        self.refused |= !fits;
        self.last = if fits { more } else { 0 };
        self.used = if fits { used } else { self.used };
        Ok(fits)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        self.used -= std::mem::take(&mut self.last);
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // The pool's slots bound the size of every table.
        Ok(true)
    }
}
