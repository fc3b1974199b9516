//! The one wasmtime engine of a worker: its configuration, compilation, and
//! the clock that interrupts guests.
//!
//! [`config`] is the only place where a wasmtime `Config` is made, so that what
//! is compiled ahead by one process always fits the engine of another.

use std::fs::File;
use std::hash::{Hash, Hasher};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::Context;
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

pub mod cache;
mod ticker;

pub use ticker::{InFlight, Ticker};

/// How often the epoch advances while guests run: the longest time for which
/// one guest holds a thread before it yields.
pub const TICK: Duration = Duration::from_millis(10);

/// Limits on what guests may take. All sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Instances that may exist at once, over all components.
    pub instances: u32,
    /// The largest linear memory of one instance.
    pub memory: usize,
    /// The most elements of one table.
    pub table_elements: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            instances: 1000,
            memory: 1 << 30,
            table_elements: 100_000,
        }
    }
}

/// Whether guests may use the component model's concurrency: async functions,
/// streams and futures, and with them `wasi` 0.3.
///
/// wasmtime keeps account of tasks and threads in every call where they may. A
/// fresh 0.2 instance costs a sixth less where they may not, so that an
/// application without such a component has an engine without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Concurrency {
    /// No component of the application needs it.
    Off,
    /// At least one does.
    On,
}

/// An engine that runs guests, or one that only compiles.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
    concurrency: Concurrency,
}

impl Engine {
    /// An engine that runs guests, with a pool of instances reserved ahead.
    ///
    /// # Errors
    /// When the host cannot reserve the address space or lacks a CPU feature.
    pub fn for_running(limits: &Limits, concurrency: Concurrency) -> anyhow::Result<Self> {
        Self::new(Some(limits), concurrency).context("reserving the pool of instances")
    }

    /// An engine that only compiles: its code runs on [`Engine::for_running`].
    ///
    /// # Errors
    /// When the host lacks a CPU feature.
    pub fn for_compiling(concurrency: Concurrency) -> anyhow::Result<Self> {
        Self::new(None, concurrency)
    }

    fn new(limits: Option<&Limits>, concurrency: Concurrency) -> anyhow::Result<Self> {
        let inner = wasmtime::Engine::new(&config(limits, concurrency))
            .map_err(plain)
            .context("creating the wasm engine")?;
        Ok(Self { inner, concurrency })
    }

    /// Whether its guests may use the component model's concurrency.
    pub(crate) fn concurrency(&self) -> Concurrency {
        self.concurrency
    }

    /// The engine as wasmtime knows it.
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner
    }

    /// A text that is equal for two engines exactly if each can run what the
    /// other compiled; part of the name of a cached artefact.
    pub fn compatibility(&self) -> String {
        let mut hasher = Sha256Hasher(Sha256::new());
        self.inner.precompile_compatibility_hash().hash(&mut hasher);
        hasher.0.finalize()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Compiles a component to native code, as the cache keeps it.
    ///
    /// # Errors
    /// When `wasm` is not a valid component.
    pub fn precompile(&self, wasm: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.inner.precompile_component(wasm).map_err(plain)
    }

    /// Loads compiled code from the cache. It is mapped: its pages are shared
    /// between all processes that run it.
    ///
    /// # Errors
    /// When the artefact does not fit this engine or is damaged.
    pub(crate) fn load(&self, code: &File) -> anyhow::Result<Component> {
        let path = format!("/proc/self/fd/{}", code.as_raw_fd());
        #[expect(unsafe_code, reason = "native code is taken from the cache")]
        // SAFETY: the file is an artefact of the node cache, which only root
        // writes and whose checksum was verified when it was opened.
        let component = unsafe { Component::deserialize_file(&self.inner, path) };
        component.map_err(plain)
    }

    /// Loads what [`Engine::precompile`] returned.
    ///
    /// # Errors
    /// When another engine made it.
    pub(crate) fn load_bytes(&self, code: &[u8]) -> anyhow::Result<Component> {
        #[expect(unsafe_code, reason = "native code is taken from the compiler")]
        // SAFETY: the bytes come from `Engine::precompile`.
        let component = unsafe { Component::deserialize(&self.inner, code) };
        component.map_err(plain)
    }
}

/// wasmtime's error with all its causes, in one line.
pub(crate) fn plain(error: wasmtime::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

/// The only wasmtime configuration; `limits` makes it one that runs guests.
fn config(limits: Option<&Limits>, concurrency: Concurrency) -> Config {
    let concurrent = concurrency == Concurrency::On;
    let mut config = Config::new();
    config
        .wasm_component_model_async(concurrent)
        .concurrency_support(concurrent)
        .epoch_interruption(true)
        .memory_init_cow(true)
        .parallel_compilation(true)
        .native_unwind_info(false);
    if let Some(limits) = limits {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits)));
    }
    config
}

/// A component is a few core instances: the program, its adapter, and the glue
/// between them, which has a table too.
const CORE_INSTANCES: u32 = 20;
/// Memories and tables for each instance that the limits allow. Every one that
/// might exist costs a worker some 80 bytes; [`shares`] is for who needs more.
const MEMORIES: u32 = 1;
const TABLES: u32 = 2;

/// How many instances' part of the pool one instance of `component` takes.
pub(crate) fn shares(component: &Component) -> u32 {
    component.resources_required().map_or(1, |required| {
        let memories = required.num_memories.div_ceil(MEMORIES);
        memories.max(required.num_tables.div_ceil(TABLES)).max(1)
    })
}

fn pool(limits: &Limits) -> PoolingAllocationConfig {
    // What stays resident in a freed slot is reset by memset, which costs far
    // less than giving the pages back and faulting them in again.
    const KEEP_MEMORY: usize = 2 << 20;
    const KEEP_SMALL: usize = 64 << 10;

    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(limits.instances)
        .total_core_instances(limits.instances.saturating_mul(CORE_INSTANCES))
        .total_tables(limits.instances.saturating_mul(TABLES))
        .total_memories(limits.instances.saturating_mul(MEMORIES))
        .total_stacks(limits.instances)
        .max_memory_size(limits.memory)
        .table_elements(limits.table_elements)
        .linear_memory_keep_resident(KEEP_MEMORY)
        .table_keep_resident(KEEP_SMALL)
        .async_stack_keep_resident(KEEP_SMALL)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Feeds a `Hash` to SHA-256, whose result is the same in every process.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        u64::from_le_bytes([
            digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7],
        ])
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}
