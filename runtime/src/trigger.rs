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

/// Everything of an application that brings events, but its listener and its
/// commands.
#[derive(Default)]
pub(crate) struct Triggers {
    sources: Vec<Source>,
}

/// One place that events come from.
enum Source {}

/// Where a source brings its events.
#[derive(Clone)]
pub(crate) struct Wake {
    dispatcher: Arc<Dispatcher>,
}

impl Wake {
    /// Wakes a guest, and waits until it is done.
    ///
    /// # Errors
    /// When the guest failed, which is logged already.
    #[expect(dead_code, reason = "sources use it")]
    pub(crate) async fn wake(&self, event: Event) -> Result<(), CallError> {
        let call = Arc::clone(&self.dispatcher) as Arc<dyn Call>;
        call.call(event).await.map(drop)
    }
}

impl Triggers {
    /// Reads what the triggers need from the values of the variables.
    ///
    /// # Errors
    /// One sentence for everything that is wrong.
    pub(crate) fn prepare(app: &App, values: &Values) -> Result<Self, Vec<String>> {
        let mut sources = Vec::new();
        let mut problems = Vec::new();
        for trigger in &app.triggers {
            match Source::prepare(app, trigger, values) {
                Ok(source) => sources.extend(source),
                Err(problem) => problems.push(format!("trigger {:?}: {problem}", trigger.id())),
            }
        }
        if problems.is_empty() {
            Ok(Self { sources })
        } else {
            Err(problems)
        }
    }

    /// Whether there is nothing here that could bring an event.
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Brings events until `shutdown`, and ends when what was in flight then is
    /// finished. Dropping the future cancels it.
    pub(crate) async fn run(self, dispatcher: Arc<Dispatcher>, shutdown: CancellationToken) {
        let wake = Wake { dispatcher };
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
    /// The source of a trigger; none for those that are served elsewhere.
    fn prepare(app: &App, trigger: &Trigger, _values: &Values) -> Result<Option<Self>, String> {
        let _component = trigger.component().and_then(|id| index(app, id));
        match trigger {
            Trigger::Http(_) | Trigger::Command(_) => Ok(None),
            Trigger::Redis(_) | Trigger::Mqtt(_) | Trigger::Cron(_) | Trigger::Sqs(_) => {
                Err(format!("the type {} is not served yet", trigger.kind()))
            }
        }
    }

    async fn run(self, _wake: Wake, _shutdown: CancellationToken) {
        match self {}
    }
}

/// The place of a component.
fn index(app: &App, id: &str) -> Option<ComponentIndex> {
    let place = app
        .components
        .iter()
        .position(|component| component.id == id);
    place.map(ComponentIndex)
}
