//! A component linked and pre-instantiated, ready to answer events.
//!
//! Every call gets a fresh instance in its own store, but for `wasi:http`
//! 0.3 and later, whose interface lets an instance answer one request after
//! another, and for components of 0.2 that are said to stand it: such an
//! instance goes back to the guest's shelf when it is done ([`shelf`]).

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use wasmtime::Store;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi::sockets::WasiSocketsCtx;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

use crate::call::{Call, CallError, CommandLine};
use crate::engine::{Engine, InFlight, Ticker, plain, shares};
use crate::host::stdio::Output;
use crate::host::{Hooks, State};
use crate::life::Life;
use crate::outbound::Outbound;
use crate::service::Granted;

mod exports;
mod shelf;

pub(crate) use exports::{CommandExport, Exports, HttpExport, RedisExport, exports, wanted};
pub(crate) use shelf::{Handler, Reusable};

/// How long a chained request waits for an instance.
const CHAINED_WAIT: Duration = Duration::from_secs(1);

/// What all guests of a worker share.
pub(crate) struct Commons {
    pub(crate) engine: Engine,
    pub(crate) ticker: Ticker,
    /// One permit for each of the [`shares`] of an instance that exists, at work
    /// or on a shelf.
    pub(crate) instances: Arc<Semaphore>,
    /// How many permits there are.
    pub(crate) max_instances: u32,
    /// Told when a request found no permit.
    pub(crate) pressure: Notify,
    /// Whether somebody comes by to let go of idle instances.
    pub(crate) watched: AtomicBool,
    /// Told when an instance is idle and nobody comes by.
    pub(crate) shelved: Notify,
    /// Requests that wait for a permit.
    pub(crate) waiting: AtomicUsize,
    pub(crate) max_memory: usize,
    pub(crate) max_uses: u32,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
    pub(crate) forbidden: wasmtime_wasi_http::ForbiddenHeaderFilter,
}

/// Counts a request that waits for a permit, for as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a guest is made of.
pub(crate) struct GuestInput<'a> {
    pub(crate) id: &'a str,
    pub(crate) component: &'a Component,
    pub(crate) linker: &'a Linker<State>,
    pub(crate) env: Vec<(String, String)>,
    /// The folder that holds the component's files, if it has any.
    pub(crate) files: Option<File>,
    pub(crate) volumes: Vec<Arc<Volume>>,
    pub(crate) outbound: Outbound,
    pub(crate) granted: Granted,
    /// The arguments of a command that answers requests by the wagi executor,
    /// where no route gives others.
    pub(crate) wagi: Option<String>,
    /// Whether its instances may answer one request after another although they
    /// are of `wasi:http` 0.2.
    pub(crate) reuse: bool,
}

/// A folder of the container's that components see beside their files. Of two
/// folders a guest takes the one with the longer path.
#[derive(Debug)]
pub struct Volume {
    /// Where they see it: an absolute path.
    pub path: String,
    /// The folder; no path below it leads out of it.
    pub folder: File,
    /// Whether they may write to it.
    pub writable: bool,
    /// Who sees it.
    pub components: Vec<String>,
}

/// A component, ready to run.
pub(crate) struct Guest {
    pub(crate) id: String,
    pub(crate) exports: Exports,
    pub(crate) commons: Arc<Commons>,
    /// Permits that one instance takes.
    shares: u32,
    env: Vec<(String, String)>,
    files: Option<File>,
    volumes: Vec<Arc<Volume>>,
    outbound: Arc<Outbound>,
    granted: Arc<Granted>,
    /// What allows its sockets something, if anything does.
    sockets: Option<WasiSocketsCtx>,
    /// The arguments of a command that answers requests by the wagi executor,
    /// where no route gives others.
    pub(crate) wagi: Option<String>,
    /// Whether instances of `wasi:http` 0.2 go to the shelf.
    pub(crate) reuse: bool,
    shelf: Mutex<Vec<Reusable>>,
    /// Stands in for the life of an instance that has nothing to do.
    idle: Arc<Life>,
}

/// A store and what must live as long as it.
pub(crate) struct Instance {
    pub(crate) store: Store<State>,
    _permit: OwnedSemaphorePermit,
}

impl Guest {
    /// Links the component and prepares it for instantiation.
    ///
    /// # Errors
    /// When it exports nothing that an event can wake, or imports what catena
    /// does not have.
    pub(crate) fn new(input: GuestInput<'_>, commons: Arc<Commons>) -> anyhow::Result<Self> {
        let exports = exports(&commons.engine, input.linker, input.component)
            .with_context(|| format!("component {:?}", input.id))?;
        if input.wagi.is_some() && exports.command.is_none() {
            bail!(
                "component {:?} answers requests by the wagi executor, but is no WASI command; \
                 use the http executor",
                input.id
            );
        }
        let shares = shares(input.component);
        if shares > commons.max_instances {
            bail!(
                "component {:?} has memories and tables for {shares} instances: set \
                 CATENA_MAX_INSTANCES to {shares} or more",
                input.id
            );
        }
        Ok(Self {
            id: input.id.to_owned(),
            exports,
            commons,
            shares,
            env: input.env,
            files: input.files,
            volumes: input.volumes,
            outbound: Arc::new(input.outbound),
            sockets: input.granted.sockets.context(),
            granted: Arc::new(input.granted),
            wagi: input.wagi,
            reuse: input.reuse,
            shelf: Mutex::new(Vec::new()),
            idle: Arc::default(),
        })
    }

    /// Whether a trigger of this type can wake it. A command answers requests by
    /// the wagi executor.
    pub(crate) fn takes(&self, kind: &str) -> bool {
        self.exports.takes(kind) || (kind == "http" && self.wagi.is_some())
    }

    /// Counts a guest at work, for the epoch clock.
    pub(crate) fn enter(&self) -> InFlight {
        self.commons.ticker.enter()
    }

    /// A permit for one more instance. Where all are taken, idle instances make
    /// room, and a client's request waits its turn.
    ///
    /// A chained request waits only briefly: whoever called it holds an instance
    /// meanwhile, and if all of them did so, none would ever be free.
    ///
    /// # Errors
    /// [`CallError::Unavailable`] when a chained request waited in vain.
    pub(crate) async fn permit(&self, depth: u32) -> Result<OwnedSemaphorePermit, CallError> {
        let instances = Arc::clone(&self.commons.instances);
        if let Ok(permit) = Arc::clone(&instances).try_acquire_many_owned(self.shares) {
            return Ok(permit);
        }
        self.commons.waiting.fetch_add(1, Ordering::SeqCst);
        let waiting = Waiting(&self.commons.waiting);
        self.commons.pressure.notify_one();
        let acquired = if depth == 0 {
            instances.acquire_many_owned(self.shares).await
        } else {
            tokio::time::timeout(CHAINED_WAIT, instances.acquire_many_owned(self.shares))
                .await
                .map_err(|_| self.unavailable("all instances are busy (CATENA_MAX_INSTANCES)"))?
        };
        drop(waiting);
        acquired.map_err(|_| self.unavailable("the server is stopping"))
    }

    /// The error of an instance that could not be had.
    pub(crate) fn unavailable(&self, reason: impl Into<String>) -> CallError {
        CallError::Unavailable {
            component: self.id.clone(),
            reason: reason.into(),
        }
    }

    /// A fresh store for one instance; `line` is for a command.
    pub(crate) fn instance(
        &self,
        permit: OwnedSemaphorePermit,
        call: Arc<dyn Call>,
        depth: u32,
        life: Arc<Life>,
        line: Option<&CommandLine>,
    ) -> Result<Instance, CallError> {
        let mut wasi = self
            .wasi(line)
            .map_err(|error| self.unavailable(format!("{error:#}")))?;
        if line.is_some() {
            wasi.inherit_stdin();
        }
        Ok(self.instance_with(permit, call, depth, life, wasi))
    }

    /// The same, with a context that was begun by [`Guest::wasi`].
    pub(crate) fn instance_with(
        &self,
        permit: OwnedSemaphorePermit,
        call: Arc<dyn Call>,
        depth: u32,
        life: Arc<Life>,
        mut wasi: WasiCtxBuilder,
    ) -> Instance {
        let hooks = Hooks {
            outbound: Arc::clone(&self.outbound),
            call,
            depth,
            life,
            forbidden: Arc::clone(&self.commons.forbidden),
        };
        let mut wasi = wasi.build();
        if let Some(sockets) = &self.sockets {
            *wasi.sockets() = sockets.clone();
        }
        let state = State::new(
            wasi,
            hooks,
            Arc::clone(&self.granted),
            self.commons.max_memory,
        );
        let mut store = Store::new(self.commons.engine.wasmtime(), state);
        store.limiter(State::limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        Instance {
            store,
            _permit: permit,
        }
    }

    /// What one instance sees of the world; its standard input is closed.
    pub(crate) fn wasi(&self, line: Option<&CommandLine>) -> anyhow::Result<WasiCtxBuilder> {
        let mut wasi = WasiCtx::builder();
        wasi.stdout(self.commons.stdout.clone())
            .stderr(self.commons.stderr.clone());
        match line {
            None if self.env.is_empty() => {}
            None => {
                wasi.envs(&self.env);
            }
            Some(line) => {
                let given = |name: &str| line.env.iter().any(|(given, _)| given == name);
                for (name, value) in self.env.iter().filter(|(name, _)| !given(name)) {
                    wasi.env(name, value);
                }
                wasi.envs(&line.env).args(&line.args);
            }
        }
        let files = self.files.iter().map(|files| (files, "/", false));
        let volumes = self.volumes.iter();
        let volumes = volumes.map(|volume| (&volume.folder, &*volume.path, volume.writable));
        for (folder, path, writable) in files.chain(volumes) {
            let perms = match writable {
                true => FsPerms::ReadWrite,
                false => FsPerms::ReadOnly,
            };
            wasi.preopened_dir(format!("/proc/self/fd/{}", folder.as_raw_fd()), path, perms)
                .map_err(plain)
                .with_context(|| format!("opening the component's folder {path}"))?;
        }
        Ok(wasi)
    }
}
