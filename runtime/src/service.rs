//! What the host interfaces stand on beside requests: values of variables,
//! stores, databases, brokers, models.
//!
//! [`Services`] are made once for a worker, from the runtime configuration.
//! [`Granted`] is what one component may use of them. Nothing is opened before a
//! guest asks for it, and every client keeps to the component's
//! [`Network`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::app::allowed_hosts::AllowedHosts;
use crate::app::variables::{Values, check_name, component_config};
use crate::app::{App, Component};
use crate::config::RuntimeConfig;
use crate::outbound::{BlockedNetworks, Client, Network, Sockets, Timeouts, Trust};

mod clients;
pub(crate) mod dial;
mod exchange;
mod file;
pub(crate) mod key_value;
mod llm;
pub(crate) mod mqtt;
pub(crate) mod mysql;
mod otel;
pub(crate) mod postgres;
pub(crate) mod redis;
mod shelf;
pub(crate) mod sqlite;
mod variables;

use self::clients::Clients;
use self::dial::Dialer;
pub(crate) use self::file::StateDir;
use self::file::{Labels, open_file, unconfigured};
pub(crate) use self::llm::{Llm, Wish};
pub(crate) use self::otel::{Otel, Signal};
pub(crate) use self::variables::{ReadError, Resolver};

/// The label of a store or database that needs no configuration.
const DEFAULT_LABEL: &str = "default";

/// What an application asks for and nothing configures: one sentence each.
pub fn check(app: &App, config: &RuntimeConfig) -> Vec<String> {
    let mut problems = key_value::check(app, config);
    problems.extend(sqlite::check(app, config));
    problems
}

/// What services are made of.
pub(crate) struct ServicesInput<'a> {
    pub(crate) app: &'a App,
    pub(crate) config: &'a RuntimeConfig,
    /// The container's environment.
    pub(crate) env: &'a [(String, String)],
    /// The values of the application's variables at start.
    pub(crate) values: &'a Values,
    /// Who knows them later.
    pub(crate) resolver: Arc<Resolver>,
    /// Networks that no component may reach.
    pub(crate) blocked: Arc<BlockedNetworks>,
    /// For what catena itself asks.
    pub(crate) client: Arc<Client>,
    /// Where files of stores and databases go.
    pub(crate) state: StateDir,
    /// The certificate authorities that clients trust.
    pub(crate) trust: Arc<Trust>,
    /// How long connecting and answering may take.
    pub(crate) timeouts: Timeouts,
}

/// What all components of a worker share.
pub(crate) struct Services {
    values: Arc<Values>,
    resolver: Arc<Resolver>,
    blocked: Arc<BlockedNetworks>,
    llm: Option<Arc<Llm>>,
    otel: Arc<Otel>,
    trust: Arc<Trust>,
    timeouts: Timeouts,
    key_value: Arc<key_value::Stores>,
    sqlite: Arc<sqlite::Databases>,
}

/// What one component may use.
pub(crate) struct Granted {
    /// The component's id.
    pub(crate) component: String,
    /// Its own configuration, as templates.
    pub(crate) config: BTreeMap<String, String>,
    /// The values of variables at start.
    values: Arc<Values>,
    /// Who knows them now.
    resolver: Arc<Resolver>,
    /// The models it may ask.
    pub(crate) ai_models: Vec<String>,
    /// Who runs them.
    pub(crate) llm: Option<Arc<Llm>>,
    /// Who carries its traces, metrics and logs away.
    pub(crate) otel: Arc<Otel>,
    /// Its raw sockets.
    pub(crate) sockets: Arc<Sockets>,
    /// Its databases and brokers.
    pub(crate) clients: Clients,
    /// Its key-value stores.
    pub(crate) key_value: key_value::Access,
    /// Its SQLite databases.
    pub(crate) sqlite: sqlite::Access,
}

impl Services {
    /// Makes the services; opens nothing.
    ///
    /// # Errors
    /// One sentence for everything that is wrong.
    pub(crate) fn new(input: &ServicesInput<'_>) -> Result<Self, Vec<String>> {
        let config = input.config;
        let mut problems = check(input.app, config);
        let state = &input.state;
        let key_value = key_value::Stores::new(config, state, &input.trust);
        let sqlite = sqlite::Databases::new(config, state, &input.client);
        let llm = Llm::new(config.llm_compute.as_ref(), &input.client);
        let llm = llm.map_err(|problem| vec![problem]);
        let otel = Otel::new(input.env, &input.app.name, &input.client);
        match (key_value, sqlite, llm, otel) {
            (Ok(key_value), Ok(sqlite), Ok(llm), Ok(otel)) if problems.is_empty() => Ok(Self {
                values: Arc::new(input.values.clone()),
                resolver: Arc::clone(&input.resolver),
                blocked: Arc::clone(&input.blocked),
                llm: llm.map(Arc::new),
                otel: Arc::new(otel),
                trust: Arc::clone(&input.trust),
                timeouts: input.timeouts,
                key_value: Arc::new(key_value),
                sqlite: Arc::new(sqlite),
            }),
            (key_value, sqlite, llm, otel) => {
                let found = [key_value.err(), sqlite.err(), llm.err(), otel.err()];
                problems.extend(found.into_iter().flatten().flatten());
                Err(problems)
            }
        }
    }

    /// Who carries telemetry away.
    pub(crate) fn otel(&self) -> &Arc<Otel> {
        &self.otel
    }

    /// What a component may use.
    ///
    /// # Errors
    /// One sentence for everything that is wrong.
    pub(crate) fn grant(
        &self,
        component: &Component,
        allowed: Arc<AllowedHosts>,
    ) -> Result<Granted, Vec<String>> {
        // Templates that cannot be resolved are told now.
        component_config(component, &self.values).map_err(|refusal| vec![refusal.to_string()])?;
        let network = Network::new(allowed, Arc::clone(&self.blocked));
        let sockets = Arc::new(Sockets::new(network.clone()));
        let dialer = Dialer::new(network, Arc::clone(&self.trust), self.timeouts);
        Ok(Granted {
            component: component.id.clone(),
            config: component.config.clone(),
            values: Arc::clone(&self.values),
            resolver: Arc::clone(&self.resolver),
            ai_models: component.ai_models.clone(),
            llm: self.llm.clone(),
            otel: Arc::clone(&self.otel),
            sockets,
            clients: Clients::new(dialer),
            key_value: key_value::Access::new(
                Arc::clone(&self.key_value),
                &component.key_value_stores,
            ),
            sqlite: sqlite::Access::new(Arc::clone(&self.sqlite), &component.databases),
        })
    }
}

impl Granted {
    /// The value of one of the component's own variables.
    ///
    /// # Errors
    /// When it has none of this name, or its value is not told.
    pub(crate) async fn variable(&self, name: &str) -> Result<String, ReadError> {
        check_name(name).map_err(ReadError::InvalidName)?;
        let Some(template) = self.config.get(name) else {
            return Err(ReadError::Undefined(name.to_owned()));
        };
        self.resolver.expand(template, &self.values).await
    }
}
