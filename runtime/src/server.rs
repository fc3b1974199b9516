//! A whole application at work: load, bind, serve, drain.
//!
//! ```text
//! Server::load   engine, link, pre-instantiate: no guest runs, no port is open
//! Server::bind   the port is open, connections wait
//! Bound::serve   guests run, until `shutdown`; then what is in flight finishes
//! Server::run    instead of the last two: one component runs as a command
//! ```
//!
//! The worker process of the shim and `catena run` call it.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::variables::Values;
use crate::app::{App, Component, HttpRoute, Trigger};
use crate::call::{Call, ComponentIndex, Event, Reply};
use crate::config::{Config, RuntimeConfig};
use crate::dispatch::Dispatcher;
use crate::engine::Concurrency;
use crate::http::{Listener, Settings};
use crate::outbound::Trust;
use crate::service::Otel;
use crate::trigger::Triggers;

pub use crate::call::CommandLine;
pub use crate::guest::Volume;

mod load;

/// After how many polls of tasks a thread of the runtime that serves an
/// application looks for events of the network. Guests that compute hold a
/// thread for [`crate::engine::TICK`] a poll: with tokio's 61 a few of them kept
/// every new request waiting for more than half a second.
pub const EVENT_INTERVAL: u32 = 8;

/// How often idle instances are looked at.
const TRIM: Duration = Duration::from_secs(5);

/// The exit code of a command that did not end in time after SIGTERM: what a
/// shell says of a program that the signal killed.
const CUT_OFF: i32 = 128 + libc::SIGTERM;

/// The exit code of a command that trapped: what a shell says of a program that
/// was killed by SIGABRT.
const FAILED: i32 = 134;

/// How long the guests' last output may take, once all guests are gone.
const FLUSH: Duration = Duration::from_secs(2);

/// What keeps an application's triggers from being served, beside what its
/// guests lack; one sentence for each problem.
pub fn check_triggers(app: &App, values: &Values, env: &[(String, String)]) -> Vec<String> {
    Triggers::prepare(app, values, env)
        .err()
        .unwrap_or_default()
}

/// Everything that an application needs to run.
pub struct Input {
    /// What the image declares.
    pub app: App,
    /// The code of its components, in any order.
    pub components: Vec<ComponentInput>,
    /// The kind of engine that the code was compiled for.
    pub concurrency: Concurrency,
    /// What the container's environment asks for.
    pub config: Config,
    /// The container's environment: values of variables, and what of it guests see.
    pub env: Vec<(String, String)>,
    /// The folders of the container that guests see.
    pub volumes: Vec<Volume>,
    /// The certificate authorities to trust, as PEM, read when a component first
    /// makes a connection by TLS; the system's where absent.
    pub ca_roots: Option<File>,
    /// What `/runtime-config.toml` says.
    pub runtime_config: RuntimeConfig,
    /// Where stores and databases keep their files, unless it says so.
    pub state_dir: PathBuf,
}

/// One component's code and files.
pub struct ComponentInput {
    /// The component's id.
    pub id: String,
    /// Its compiled code, as [`crate::compile::CompileCache`] gives it.
    pub code: File,
    /// A folder that holds the component's files at their paths.
    pub files: Option<File>,
}

/// Why an application cannot run: every reason, each a sentence.
#[derive(Debug)]
pub struct LoadError {
    /// The reasons.
    pub problems: Vec<String>,
}

impl std::error::Error for LoadError {}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.problems.join("; "))
    }
}

impl LoadError {
    fn from_all(problems: Vec<String>) -> Self {
        Self { problems }
    }
}

impl From<anyhow::Error> for LoadError {
    fn from(error: anyhow::Error) -> Self {
        Self {
            problems: vec![format!("{error:#}")],
        }
    }
}

/// An application that is loaded but not yet reachable.
pub struct Server {
    app: App,
    config: Config,
    dispatcher: Arc<Dispatcher>,
    triggers: Triggers,
    otel: Arc<Otel>,
    /// What triggers trust.
    trust: Arc<Trust>,
    tracker: TaskTracker,
    threads: Threads,
}

/// An application whose port is open.
pub struct Bound {
    server: Server,
    listener: Option<Listener>,
}

impl Server {
    /// Opens the port, if any HTTP trigger of the application has a route.
    ///
    /// # Errors
    /// When the port cannot be had; the sentence says what to set.
    pub async fn bind(self) -> anyhow::Result<Bound> {
        // Private components are called by others, and need no port.
        let reachable = self
            .app
            .http_triggers()
            .any(|trigger| matches!(trigger.route, HttpRoute::Path(_)));
        let listener = if reachable {
            let settings = Settings {
                max_connections: self.config.max_connections,
                header_timeout: self.config.header_timeout,
                write_timeout: self.config.write_timeout,
                max_header_bytes: self.config.max_header_bytes,
                max_body_bytes: self.config.max_body_bytes,
            };
            let addr = self.config.listen;
            let listener = Listener::bind(addr, settings).await.with_context(|| {
                format!("listening on {addr} (set SPIN_HTTP_LISTEN_ADDR to listen elsewhere)")
            })?;
            Some(listener)
        } else {
            None
        };
        Ok(Bound {
            server: self,
            listener,
        })
    }

    /// Runs one component as a command, and nothing else: no port is open, and
    /// no trigger is heard. Other components run where this one calls them.
    ///
    /// Gives its exit code, or at `shutdown` that of a program which was ended.
    pub async fn run(
        self,
        component: &str,
        line: CommandLine,
        shutdown: impl Future<Output = ()>,
    ) -> i32 {
        let Server {
            app,
            dispatcher,
            otel,
            tracker,
            threads,
            ..
        } = self;
        let trim = tracker.spawn(trim(Arc::clone(&dispatcher)));
        let code = tokio::select! {
            code = run_command(&app, &dispatcher, component, line) => code,
            () = shutdown => CUT_OFF,
        };
        trim.abort();
        wind_up(dispatcher, &otel, tracker, threads, Instant::now()).await;
        code
    }
}

impl Bound {
    /// Where the application listens; `None` when it has no HTTP route.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.addr().ok()
    }

    /// Runs the application until `shutdown`, then finishes what is in flight.
    /// An application that only has commands ends with them.
    ///
    /// Gives the exit code: that of the first command that failed, if nothing
    /// else is to be served, and otherwise 0.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> i32 {
        let Server {
            app,
            config,
            dispatcher,
            triggers,
            otel,
            trust,
            tracker,
            threads,
        } = self.server;
        let trim = tracker.spawn(trim(Arc::clone(&dispatcher)));
        let has_commands = app.command_triggers().next().is_some();
        let only_commands = has_commands && self.listener.is_none() && triggers.is_empty();
        let told = CancellationToken::new();
        let shutdown = {
            let told = told.clone();
            async move {
                shutdown.await;
                if !only_commands {
                    tokio::time::sleep(config.drain_delay).await;
                }
                told.cancel();
            }
        };
        let (exit_code, end) = match self.listener {
            // Nothing else is to be served: the application ends with its commands.
            _ if only_commands => {
                let commands = run_commands(&app, &dispatcher);
                let stopped = async {
                    shutdown.await;
                    tokio::time::sleep(config.drain_timeout).await;
                };
                tokio::select! {
                    code = commands => (code, Instant::now()),
                    () = stopped => (CUT_OFF, Instant::now()),
                }
            }
            listener => {
                let drain = config.drain_timeout;
                let requests = async {
                    match listener {
                        Some(listener) => {
                            listener.run(Arc::clone(&dispatcher), shutdown, drain).await
                        }
                        None => {
                            shutdown.await;
                            Instant::now() + drain
                        }
                    }
                };
                let events = triggers.run(Arc::clone(&dispatcher), trust, told);
                let forever = async {
                    run_commands(&app, &dispatcher).await;
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    end = both(requests, events) => (0, end),
                    () = forever => (0, Instant::now()),
                }
            }
        };
        trim.abort();
        wind_up(dispatcher, &otel, tracker, threads, end).await;
        exit_code
    }
}

/// Serves requests and events until both are finished, or their time is over,
/// which is what `requests` gives.
async fn both(
    requests: impl Future<Output = Instant>,
    events: impl Future<Output = ()>,
) -> Instant {
    let (mut requests, mut events) = (pin!(requests), pin!(events));
    let mut ended = false;
    let end = loop {
        tokio::select! {
            end = &mut requests => break end,
            () = &mut events, if !ended => ended = true,
        }
    };
    if !ended && tokio::time::timeout_at(end, events).await.is_err() {
        tracing::warn!("events that triggers brought did not finish in time and are cut off");
    }
    end
}

/// Waits for what is still at work until `end`, then for the last output.
async fn wind_up(
    dispatcher: Arc<Dispatcher>,
    otel: &Otel,
    tracker: TaskTracker,
    threads: Threads,
    end: Instant,
) {
    tracker.close();
    let _ = tokio::time::timeout_at(end, tracker.wait()).await;
    let _ = tokio::time::timeout(FLUSH, otel.finish()).await;
    // Idle instances know the dispatcher, which knows them.
    for guest in &dispatcher.guests {
        guest.clear_shelf();
    }
    drop(dispatcher);
    // With the guests gone the output threads write what is left and end. A
    // reader that does not read must not hold up the end for long, so that
    // no task of the runtime waits for them.
    let (tell, written) = oneshot::channel();
    thread::spawn(move || {
        let _ = threads.map(JoinHandle::join);
        let _ = tell.send(());
    });
    let _ = tokio::time::timeout(FLUSH, written).await;
}

/// Runs the command triggers one after another; gives the first exit code that
/// is not 0.
async fn run_commands(app: &App, dispatcher: &Arc<Dispatcher>) -> i32 {
    let mut exit_code = 0;
    for trigger in &app.triggers {
        let Trigger::Command(command) = trigger else {
            continue;
        };
        let line = CommandLine::default();
        let code = run_command(app, dispatcher, &command.component, line).await;
        if exit_code == 0 {
            exit_code = code;
        }
    }
    exit_code
}

async fn run_command(
    app: &App,
    dispatcher: &Arc<Dispatcher>,
    component: &str,
    line: CommandLine,
) -> i32 {
    let place = |one: &Component| one.id == component;
    let Some(index) = app.components.iter().position(place) else {
        tracing::error!("there is no component {component:?}");
        return FAILED;
    };
    let event = Event::Command(ComponentIndex(index), line);
    match Arc::clone(dispatcher).call(event).await {
        Ok(Reply::Exit(code)) => code,
        Ok(Reply::Http(_) | Reply::Done) => 0,
        Err(error) => {
            tracing::error!("{error}");
            FAILED
        }
    }
}

/// Lets go of idle instances: after a while, and at once when a request finds
/// no room. Where none is idle no clock runs: an application that nobody asks
/// costs nothing.
async fn trim(dispatcher: Arc<Dispatcher>) {
    let guests = &dispatcher.guests;
    let Some(commons) = guests.first().map(|guest| Arc::clone(&guest.commons)) else {
        return;
    };
    let clear = || guests.iter().for_each(|guest| guest.clear_shelf());
    let are_empty = || guests.iter().all(|guest| guest.has_empty_shelf());
    loop {
        tokio::select! {
            () = commons.shelved.notified() => {}
            () = commons.pressure.notified() => {
                clear();
                continue;
            }
        }
        // Who shelves an instance now tells nobody.
        loop {
            tokio::select! {
                () = tokio::time::sleep(TRIM) => guests.iter().for_each(|guest| guest.trim_shelf()),
                () = commons.pressure.notified() => clear(),
            }
            if !are_empty() {
                continue;
            }
            commons.watched.store(false, Ordering::SeqCst);
            // One that came between the look and this told nobody.
            if are_empty() || commons.watched.swap(true, Ordering::SeqCst) {
                break;
            }
        }
    }
}

type Threads = [JoinHandle<()>; 2];
