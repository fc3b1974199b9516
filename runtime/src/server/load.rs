//! Loads an application: engine, clients, services and guests. Whatever is wrong is told together.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use anyhow::{Context, bail};
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::TaskTracker;
use wasmtime::component::Linker;

use super::{ComponentInput, Input, LoadError, Server, Threads};
use crate::app::allowed_hosts::AllowedHosts;
use crate::app::variables::Values;
use crate::app::{App, Component, HttpTarget};
use crate::call::ComponentIndex;
use crate::config::{Config, OutboundHttp, RuntimeConfig, Sources};
use crate::dispatch::Dispatcher;
use crate::engine::{Engine, Ticker, plain};
use crate::guest::{Commons, Guest, GuestInput, Volume, wanted};
use crate::host;
use crate::host::State;
use crate::host::stdio::Output;
use crate::outbound::{
    BlockedNetworks, Callee, Client, ClientInput, Outbound, Timeouts, Trust, Upstreams,
};
use crate::route::Routes;
use crate::service::{Resolver, Services, ServicesInput, StateDir};
use crate::trigger::Triggers;

/// Wins over `max_instance_memory` of the runtime configuration.
const MAX_INSTANCE_MEMORY: &str = "SPIN_MAX_INSTANCE_MEMORY";

impl Server {
    /// Makes an application ready to serve; asks Vault, if it is to be asked.
    ///
    /// # Errors
    /// All reasons together why the application cannot run.
    pub async fn load(input: Input) -> Result<Self, LoadError> {
        let Input {
            app,
            components,
            concurrency,
            mut config,
            env,
            volumes,
            ca_roots,
            runtime_config,
            state_dir,
        } = input;
        // The environment is nearer to the container than the file.
        let says = env.iter().any(|(name, _)| name == MAX_INSTANCE_MEMORY);
        if let Some(bytes) = runtime_config.max_instance_memory.filter(|_| !says) {
            config.limits.memory = bytes;
        }
        let engine = Engine::for_running(&config.limits, concurrency)?;
        let linker = host::linker(&engine)
            .map_err(plain)
            .context("linking the host interfaces")?;
        let network = Network::new(&app, &config, &runtime_config, ca_roots)?;
        let sources = Sources::new(&app.variables, &runtime_config, &env, |path| {
            std::fs::read_to_string(path)
        });
        let sources = sources.map_err(LoadError::from_all)?;
        let own_client = Arc::clone(&network.own_client);
        let resolver = Resolver::new(app.variables.clone(), sources, own_client);
        let (commons, threads) = commons(&engine, &config)?;
        let mut problems = Vec::new();
        let values = resolver.all().await;
        let values = values
            .map_err(|found| problems.extend(found))
            .unwrap_or_default();
        let services = Services::new(&ServicesInput {
            app: &app,
            config: &runtime_config,
            env: &env,
            values: &values,
            resolver: Arc::new(resolver),
            blocked: network.blocked,
            client: network.own_client,
            state: StateDir::new(state_dir, runtime_config.state_dir.clone()),
            trust: Arc::clone(&network.trust),
            timeouts: network.timeouts,
        });
        let services = services.map_err(|found| LoadError {
            problems: [problems.clone(), found].concat(),
        })?;
        let triggers = Triggers::prepare(&app, &values, &env)
            .map_err(|found| problems.extend(found))
            .unwrap_or_default();
        let nursery = Nursery {
            app: &app,
            config: &config,
            env: &env,
            engine: &engine,
            linker: &linker,
            values: &values,
            services: &services,
            upstreams: network.upstreams,
            volumes: volumes.into_iter().map(Arc::new).collect(),
            commons: Arc::new(commons),
        };
        let guests = nursery.guests(components, &mut problems);
        problems.extend(triggers_without_export(&app, &guests));
        let routes = Routes::new(&app, |warning| tracing::warn!("{warning}"));
        let routes = match routes.map_err(|problem| problems.push(problem)) {
            Ok(routes) if problems.is_empty() => routes,
            _ => return Err(LoadError { problems }),
        };
        let tracker = TaskTracker::new();
        let dispatcher = Arc::new(Dispatcher {
            guests,
            routes,
            info: info(&app).into(),
            response_timeout: config.response_timeout,
            tracker: tracker.clone(),
        });
        let otel = Arc::clone(services.otel());
        Ok(Self {
            app,
            config,
            dispatcher,
            triggers,
            otel,
            trust: network.trust,
            tracker,
            threads,
        })
    }
}

/// What is told of an application to whoever asks its listener.
fn info(app: &App) -> String {
    serde_json::json!({"name": app.name, "version": app.version}).to_string()
}

/// What requests leave the application with.
struct Network {
    trust: Arc<Trust>,
    timeouts: Timeouts,
    blocked: Arc<BlockedNetworks>,
    upstreams: Arc<Upstreams>,
    /// For what the runtime configuration names, which may well be in a blocked network.
    own_client: Arc<Client>,
}

impl Network {
    fn new(
        app: &App,
        config: &Config,
        runtime_config: &RuntimeConfig,
        ca_roots: Option<File>,
    ) -> Result<Self, LoadError> {
        let timeouts = Timeouts {
            connect: config.connect_timeout,
            first_byte: config.upstream_timeout,
            between_bytes: config.upstream_timeout,
        };
        let trust = Arc::new(Trust::new(ca_roots));
        let blocked = &runtime_config.outbound_networking.block_networks;
        let blocked = BlockedNetworks::parse(blocked).map_err(LoadError::from_all)?;
        let blocked = Arc::new(blocked);
        let client = Client::new(ClientInput {
            trust: Arc::clone(&trust),
            timeouts,
            blocked: Arc::clone(&blocked),
            settings: runtime_config.outbound_http.clone(),
            tls: runtime_config.client_tls.clone(),
        });
        let upstreams = Arc::new(Upstreams {
            components: chainable(app),
            client: client.map_err(LoadError::from_all)?,
            max_depth: config.chain_depth,
        });
        let own_client = Client::new(ClientInput {
            trust: Arc::clone(&trust),
            timeouts,
            blocked: Arc::default(),
            settings: OutboundHttp::default(),
            tls: Vec::new(),
        });
        let own_client = Arc::new(own_client.map_err(LoadError::from_all)?);
        Ok(Self {
            trust,
            timeouts,
            blocked,
            upstreams,
            own_client,
        })
    }
}

/// What guests are made of.
struct Nursery<'a> {
    app: &'a App,
    config: &'a Config,
    env: &'a [(String, String)],
    engine: &'a Engine,
    linker: &'a Linker<State>,
    values: &'a Values,
    services: &'a Services,
    upstreams: Arc<Upstreams>,
    volumes: Vec<Arc<Volume>>,
    commons: Arc<Commons>,
}

impl Nursery<'_> {
    /// The guests in the order of the application's components, without those that have problems.
    fn guests(
        &self,
        components: Vec<ComponentInput>,
        problems: &mut Vec<String>,
    ) -> Vec<Arc<Guest>> {
        let mut inputs: HashMap<String, ComponentInput> = components
            .into_iter()
            .map(|component| (component.id.clone(), component))
            .collect();
        let mut guests = Vec::new();
        for component in &self.app.components {
            match self.guest(component, inputs.remove(&component.id)) {
                Ok(guest) => guests.push(Arc::new(guest)),
                Err(error) => problems.push(format!("{error:#}")),
            }
        }
        guests
    }

    fn guest(&self, component: &Component, input: Option<ComponentInput>) -> anyhow::Result<Guest> {
        let id = &component.id;
        let input = input.with_context(|| format!("component {id:?} has no code"))?;
        let told =
            |problems: Vec<String>| anyhow::anyhow!("component {id:?}: {}", problems.join("; "));
        let allowed = AllowedHosts::parse(&component.allowed_hosts, self.values).map_err(told)?;
        let allowed = Arc::new(allowed);
        let granted = self.services.grant(component, Arc::clone(&allowed));
        let granted = granted.map_err(told)?;
        let compiled = self
            .engine
            .load(&input.code)
            .with_context(|| format!("loading component {id:?}"))?;
        let reuse = &self.config.reuse_instances;
        let guest = Guest::new(
            GuestInput {
                id,
                component: &compiled,
                linker: self.linker,
                env: self.config.guest_env.around(&component.env, self.env),
                files: input.files,
                volumes: seen_by(id, &self.volumes),
                outbound: Outbound::new(Arc::clone(&self.upstreams), id, allowed),
                granted,
                wagi: self.app.wagi(id).map(ToOwned::to_owned),
                reuse: reuse.means(id),
            },
            Arc::clone(&self.commons),
        )?;
        if reuse.names(id) && !guest.exports.answer_again() {
            bail!(
                "CATENA_REUSE_INSTANCES names the component {id:?}, which does not export \
                 wasi:http/incoming-handler@0.2; take its id out"
            );
        }
        Ok(guest)
    }
}

/// What is wrong with triggers whose components do not export what they call.
fn triggers_without_export(app: &App, guests: &[Arc<Guest>]) -> Vec<String> {
    let mut problems = Vec::new();
    for trigger in &app.triggers {
        let component = trigger.component();
        let guest = guests.iter().find(|guest| Some(&*guest.id) == component);
        if let Some(guest) = guest
            && !guest.takes(trigger.kind())
        {
            problems.push(format!(
                "trigger {:?} is of type {}, and its component {:?} does not export {}",
                trigger.id(),
                trigger.kind(),
                guest.id,
                wanted(trigger.kind())
            ));
        }
    }
    problems
}

/// What the guests share, and the threads that write their output.
fn commons(engine: &Engine, config: &Config) -> anyhow::Result<(Commons, Threads)> {
    let (stdout, out) =
        Output::start("stdout", std::io::stdout()).context("starting the stdout thread")?;
    let (stderr, err) =
        Output::start("stderr", std::io::stderr()).context("starting the stderr thread")?;
    let commons = Commons {
        engine: engine.clone(),
        ticker: Ticker::start(engine).context("starting the epoch clock")?,
        instances: Arc::new(Semaphore::new(config.limits.instances as usize)),
        max_instances: config.limits.instances,
        pressure: Notify::new(),
        watched: AtomicBool::new(false),
        shelved: Notify::new(),
        waiting: AtomicUsize::new(0),
        max_memory: config.limits.memory,
        max_uses: config.instance_uses,
        stdout,
        stderr,
        forbidden: host::forbidden_headers(),
    };
    Ok((commons, [out, err]))
}

/// The volumes that a component sees.
fn seen_by(component: &str, volumes: &[Arc<Volume>]) -> Vec<Arc<Volume>> {
    let seen = |volume: &&Arc<Volume>| volume.components.iter().any(|one| one == component);
    volumes.iter().filter(seen).cloned().collect()
}

/// The components that can be called by name: those that an HTTP trigger leads
/// to, also a private one.
fn chainable(app: &App) -> HashMap<String, Callee> {
    app.http_triggers()
        .filter_map(|trigger| match &trigger.target {
            HttpTarget::Component(id) => Some(id),
            HttpTarget::Static(_) => None,
        })
        .filter_map(|id| {
            let index = app
                .components
                .iter()
                .position(|component| component.id == *id)?;
            let callee = Callee::new(id, ComponentIndex(index))?;
            Some((id.to_ascii_lowercase(), callee))
        })
        .collect()
}
