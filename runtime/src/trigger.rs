//! What brings events that are no requests: one file a kind of trigger.
//!
//! ```text
//! Triggers::prepare   templates have values, addresses are sound: nothing is open
//! Triggers::run       each source brings events until `shutdown`; a source that
//!                     loses its server tries again, later and later, and says so
//! ```
//!
//! A source that ends does not end the others, nor the application. At
//! `shutdown` a source takes no more events; what is in flight is finished.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::variables::Values;
use crate::app::{App, Trigger};
use crate::call::{Call, CallError, ComponentIndex, Event};
use crate::dispatch::Dispatcher;
use crate::outbound::Trust;

mod contact;
mod cron;
mod mqtt;
mod place;
mod redis;
mod sqs;
mod work;

/// Everything of an application that brings events, but its listener and its
/// commands.
#[derive(Default)]
pub(crate) struct Triggers {
    sources: Vec<Source>,
}

/// One place that events come from.
enum Source {
    Redis(Box<redis::Redis>),
    Mqtt(Box<mqtt::Mqtt>),
    Cron(Box<cron::Cron>),
    Sqs(Box<sqs::Sqs>),
}

/// Where a source brings its events.
#[derive(Clone)]
pub(crate) struct Wake {
    dispatcher: Arc<Dispatcher>,
    /// The certificate authorities to trust.
    trust: Arc<Trust>,
}

impl Wake {
    /// Wakes a guest, and waits until it is done.
    ///
    /// # Errors
    /// When the guest failed, which is logged already.
    pub(crate) async fn wake(&self, event: Event) -> Result<(), CallError> {
        let call = Arc::clone(&self.dispatcher) as Arc<dyn Call>;
        call.call(event).await.map(drop)
    }
}

impl Triggers {
    /// Reads what the triggers need from the values of the variables, and from
    /// the container's environment.
    ///
    /// # Errors
    /// One sentence for everything that is wrong.
    pub(crate) fn prepare(
        app: &App,
        values: &Values,
        env: &[(String, String)],
    ) -> Result<Self, Vec<String>> {
        let mut triggers = Self::default();
        let mut problems = Vec::new();
        for trigger in &app.triggers {
            if let Err(problem) = triggers.add(app, trigger, values, env) {
                problems.push(format!("trigger {:?}: {problem}", trigger.id()));
            }
        }
        if problems.is_empty() {
            Ok(triggers)
        } else {
            Err(problems)
        }
    }

    /// Adds the source of a trigger, unless it is served elsewhere.
    fn add(
        &mut self,
        app: &App,
        trigger: &Trigger,
        values: &Values,
        env: &[(String, String)],
    ) -> Result<(), String> {
        let place = || {
            let found = trigger.component().and_then(|id| index(app, id));
            found.ok_or("its component is not there")
        };
        match trigger {
            Trigger::Http(_) | Trigger::Command(_) => {}
            Trigger::Redis(redis) => {
                let address = values.expand(&redis.address)?;
                let channel = values.expand(&redis.channel)?;
                self.redis(&address)
                    .map_err(|problem| format!("the address {:?} {problem}", redis.address))?
                    .add(channel, place()?);
            }
            Trigger::Mqtt(mqtt) => {
                let source = mqtt::Mqtt::new(&app.name, mqtt, place()?, values, hostname(env))?;
                self.sources.push(Source::Mqtt(Box::new(source)));
            }
            Trigger::Cron(cron) => {
                let expression = values.expand(&cron.expression)?;
                let source = cron::Cron::new(&cron.id, place()?, &expression)
                    .map_err(|problem| format!("{expression:?} {problem}"))?;
                self.sources.push(Source::Cron(Box::new(source)));
            }
            Trigger::Sqs(sqs) => {
                let source = sqs::Sqs::new(sqs, place()?, values, env)?;
                self.sources.push(Source::Sqs(Box::new(source)));
            }
        }
        Ok(())
    }

    /// The Redis server at this address.
    fn redis(&mut self, address: &str) -> Result<&mut redis::Redis, String> {
        let known = self
            .sources
            .iter()
            .position(|source| matches!(source, Source::Redis(redis) if redis.is_at(address)));
        let place = match known {
            Some(place) => place,
            None => {
                self.sources
                    .push(Source::Redis(Box::new(redis::Redis::new(address)?)));
                self.sources.len() - 1
            }
        };
        match self.sources.get_mut(place) {
            Some(Source::Redis(redis)) => Ok(redis),
            _ => Err("is not that of a Redis server".to_owned()),
        }
    }

    /// Whether there is nothing here that could bring an event.
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Brings events until `shutdown`, and ends when what was in flight then is
    /// finished. Dropping the future cancels it.
    pub(crate) async fn run(
        self,
        dispatcher: Arc<Dispatcher>,
        trust: Arc<Trust>,
        shutdown: CancellationToken,
    ) {
        let wake = Wake { dispatcher, trust };
        let mut running = JoinSet::new();
        for source in self.sources {
            running.spawn(source.run(wake.clone(), shutdown.clone()));
        }
        while let Some(ended) = running.join_next().await {
            if let Err(error) = ended {
                tracing::error!("a trigger ended: {error}");
            }
        }
    }
}

impl Source {
    async fn run(self, wake: Wake, shutdown: CancellationToken) {
        match self {
            Self::Redis(redis) => redis.run(wake, shutdown).await,
            Self::Mqtt(mqtt) => mqtt.run(wake, shutdown).await,
            Self::Cron(cron) => cron.run(wake, shutdown).await,
            Self::Sqs(sqs) => sqs.run(wake, shutdown).await,
        }
    }
}

/// What tells this copy of the application from others: in a pod, its name.
fn hostname(env: &[(String, String)]) -> &str {
    let found = env.iter().rev().find(|(name, _)| name == "HOSTNAME");
    found.map_or("", |(_, value)| value)
}

/// The place of a component.
fn index(app: &App, id: &str) -> Option<ComponentIndex> {
    let place = app
        .components
        .iter()
        .position(|component| component.id == id);
    place.map(ComponentIndex)
}
