//! What the host interfaces stand on beside requests: values of variables,
//! stores, databases, brokers, models.
//!
//! [`Services`] are made once for a worker, from the runtime configuration.
//! [`Granted`] is what one component may use of them. Nothing is opened before a
//! guest asks for it, and every client keeps to the component's
//! [`Network`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::app::allowed_hosts::AllowedHosts;
use crate::app::variables::{self, Values};
use crate::app::{App, Component};
use crate::config::RuntimeConfig;
use crate::outbound::{BlockedNetworks, Network};

/// What services are made of.
pub(crate) struct ServicesInput<'a> {
    pub(crate) app: &'a App,
    pub(crate) config: &'a RuntimeConfig,
    /// The container's environment.
    pub(crate) env: &'a [(String, String)],
    /// The values of the application's variables at start.
    pub(crate) values: &'a Values,
    /// Where files of stores and databases go, unless the configuration says so.
    pub(crate) state_dir: PathBuf,
}

/// What all components of a worker share.
pub(crate) struct Services {
    values: Values,
    blocked: Arc<BlockedNetworks>,
}

/// What one component may use.
pub(crate) struct Granted {
    /// The component's id.
    pub(crate) component: String,
    /// Its own configuration, templates resolved.
    pub(crate) config: BTreeMap<String, String>,
    /// Where it may connect.
    pub(crate) network: Network,
}

impl Services {
    /// Makes the services; opens nothing.
    ///
    /// # Errors
    /// One sentence for everything that is wrong.
    pub(crate) fn new(input: &ServicesInput<'_>) -> Result<Self, Vec<String>> {
        let blocks = &input.config.outbound_networking.block_networks;
        Ok(Self {
            values: input.values.clone(),
            blocked: Arc::new(BlockedNetworks::parse(blocks)?),
        })
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
        let config = variables::component_config(component, &self.values)
            .map_err(|refusal| vec![refusal.to_string()])?;
        Ok(Granted {
            component: component.id.clone(),
            config,
            network: Network::new(allowed, Arc::clone(&self.blocked)),
        })
    }
}
