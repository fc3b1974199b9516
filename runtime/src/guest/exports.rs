//! What a component exports, ready to be instantiated: everything that can wake
//! it. A component may have several.

use anyhow::bail;
use catena_bindings::inbound::{cron, fermyon_redis, mqtt, redis, sqs};
use catena_bindings::spin_http::InboundHttpPre;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::p3::bindings::CommandPre as P3CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::engine::{Engine, plain};
use crate::host::{State, dated, denied};

/// Everything that can wake a component; at least one of them is there.
#[derive(Default)]
pub(crate) struct Exports {
    pub(crate) http: Option<HttpExport>,
    pub(crate) command: Option<CommandExport>,
    pub(crate) redis: Option<RedisExport>,
    pub(crate) mqtt: Option<mqtt::TriggerPre<State>>,
    pub(crate) cron: Option<cron::TriggerPre<State>>,
    pub(crate) sqs: Option<sqs::TriggerPre<State>>,
}

/// How it answers requests.
pub(crate) enum HttpExport {
    /// `wasi:http/incoming-handler` 0.2.
    Second(ProxyPre<State>),
    /// `wasi:http/handler` 0.3.
    Third(ServicePre<State>),
    /// `fermyon:spin/inbound-http`.
    Inbound(InboundHttpPre<State>),
}

/// How it runs as a command.
pub(crate) enum CommandExport {
    /// `wasi:cli/run` 0.2.
    Second(CommandPre<State>),
    /// `wasi:cli/run` 0.3.
    Third(P3CommandPre<State>),
}

/// How it takes messages of Redis.
pub(crate) enum RedisExport {
    /// `fermyon:spin/inbound-redis`.
    Fermyon(fermyon_redis::TriggerPre<State>),
    /// `spin:redis/inbound-redis` 3.0.
    Third(redis::TriggerPre<State>),
}

/// What a component has to export for a type of trigger, for a sentence.
pub(crate) fn wanted(kind: &str) -> &'static str {
    match kind {
        "http" => {
            "wasi:http/incoming-handler@0.2, wasi:http/handler@0.3 or fermyon:spin/inbound-http"
        }
        "redis" => "fermyon:spin/inbound-redis or spin:redis/inbound-redis@3.0.0",
        "mqtt" => "handle-message of spin:mqtt-trigger",
        "cron" => "handle-cron-event of spin:cron or fermyon:spin-cron",
        "sqs" => "handle-queue-message of spin:sqs or fermyon:spin-sqs",
        _ => "wasi:cli/run",
    }
}

impl Exports {
    /// Whether a trigger of this type can wake it.
    pub(crate) fn takes(&self, kind: &str) -> bool {
        match kind {
            "http" => self.http.is_some(),
            "redis" => self.redis.is_some(),
            "mqtt" => self.mqtt.is_some(),
            "cron" => self.cron.is_some(),
            "sqs" => self.sqs.is_some(),
            _ => self.command.is_some(),
        }
    }

    /// Whether one instance can answer several requests: by 0.3 it always may, by
    /// 0.2 where that is asked for.
    pub(crate) fn answer_again(&self) -> bool {
        matches!(
            self.http,
            Some(HttpExport::Second(_) | HttpExport::Third(_))
        )
    }

    fn is_empty(&self) -> bool {
        let kinds = ["http", "redis", "mqtt", "cron", "sqs", "command"];
        !kinds.iter().any(|kind| self.takes(kind))
    }

    fn find(pre: &InstancePre<State>, names: &[String]) -> wasmtime::Result<Self> {
        let has = |prefix: &str| names.iter().any(|name| name.starts_with(prefix));
        let is = |wanted: &str| names.iter().any(|name| name == wanted);
        let mut found = Self::default();
        if has("wasi:http/handler@0.3") {
            found.http = Some(HttpExport::Third(ServicePre::new(pre.clone())?));
        } else if has("wasi:http/incoming-handler@0.2") {
            found.http = Some(HttpExport::Second(ProxyPre::new(pre.clone())?));
        } else if has("fermyon:spin/inbound-http") {
            found.http = Some(HttpExport::Inbound(InboundHttpPre::new(pre.clone())?));
        }
        if has("wasi:cli/run@0.3") {
            found.command = Some(CommandExport::Third(P3CommandPre::new(pre.clone())?));
        } else if has("wasi:cli/run@0.2") {
            found.command = Some(CommandExport::Second(CommandPre::new(pre.clone())?));
        }
        if has("spin:redis/inbound-redis@3") {
            let pre = redis::TriggerPre::new(pre.clone())?;
            found.redis = Some(RedisExport::Third(pre));
        } else if is("fermyon:spin/inbound-redis") {
            let pre = fermyon_redis::TriggerPre::new(pre.clone())?;
            found.redis = Some(RedisExport::Fermyon(pre));
        }
        if is("handle-message") {
            found.mqtt = Some(mqtt::TriggerPre::new(pre.clone())?);
        }
        if is("handle-cron-event") {
            found.cron = Some(cron::TriggerPre::new(pre.clone())?);
        }
        if is("handle-queue-message") {
            found.sqs = Some(sqs::TriggerPre::new(pre.clone())?);
        }
        Ok(found)
    }
}

/// Links a component and finds what can wake it.
///
/// # Errors
/// When it exports nothing that an event can wake, or imports what catena does
/// not have.
pub(crate) fn exports(
    engine: &Engine,
    linker: &Linker<State>,
    component: &Component,
) -> anyhow::Result<Exports> {
    let linker = dated::linker(linker, engine, component).map_err(plain)?;
    let linker = denied::linker(linker, engine, component).map_err(plain)?;
    let pre = linker.instantiate_pre(component).map_err(plain)?;
    let names: Vec<String> = component
        .component_type()
        .exports(engine.wasmtime())
        .map(|(name, _)| name.to_owned())
        .collect();
    let exports = Exports::find(&pre, &names).map_err(plain)?;
    if exports.is_empty() {
        bail!(
            "it exports neither wasi:http/incoming-handler@0.2, wasi:http/handler@0.3, \
             fermyon:spin/inbound-http, wasi:cli/run nor what wakes it for redis, mqtt, cron or sqs, so that nothing can \
             wake it; it exports: {}",
            if names.is_empty() {
                "nothing".to_owned()
            } else {
                names.join(", ")
            },
        )
    }
    Ok(exports)
}
