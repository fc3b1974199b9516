//! Reads the configuration of an SQS trigger, for the reader of triggers.

use super::{Source, refuse_unknown_fields};
use crate::app::json::{Node, Report};

/// A component that wakes for the messages of an Amazon SQS queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqsTrigger {
    /// The trigger's id.
    pub id: String,
    /// The component that wakes.
    pub component: String,
    /// The queue's URL, a template.
    pub queue_url: String,
    /// The most messages that are fetched at once, 1 to 10.
    pub max_messages: i32,
    /// How long an empty queue is left alone, in seconds.
    pub idle_wait_seconds: u64,
    /// The names of system attributes to fetch.
    pub system_attributes: Vec<String>,
    /// The names of message attributes to fetch.
    pub message_attributes: Vec<String>,
}

/// The most that SQS gives at once.
const MAX_MESSAGES: u64 = 10;

/// What Spin waits.
const IDLE_WAIT: u64 = 2;

const FIELDS: [&str; 6] = [
    "component",
    "queue_url",
    "max_messages",
    "idle_wait_seconds",
    "system_attributes",
    "message_attributes",
];

pub(super) fn read(
    config: &Node<'_>,
    source: Source<'_>,
    report: &mut Report,
) -> Option<SqsTrigger> {
    refuse_unknown_fields(config, &FIELDS, source.who, report);
    let queue_url = source.required_template(config, "queue_url", report);
    let max_messages = match config.field("max_messages") {
        None => Some(MAX_MESSAGES),
        Some(node) => node.uint(report).and_then(|number| {
            let fits = (1..=MAX_MESSAGES).contains(&number);
            if !fits {
                report.malformed(format!(
                    "{} is {number}, but SQS gives 1 to {MAX_MESSAGES} messages at once",
                    node.at()
                ));
            }
            fits.then_some(number)
        }),
    };
    let idle_wait_seconds = match config.field("idle_wait_seconds") {
        None => Some(IDLE_WAIT),
        Some(node) => node.uint(report),
    };
    let owned = |names: Vec<&str>| names.into_iter().map(ToOwned::to_owned).collect();
    let system_attributes = owned(config.strings("system_attributes", report));
    let message_attributes = owned(config.strings("message_attributes", report));
    let (id, component) = source.named(config, report)?;
    Some(SqsTrigger {
        id,
        component,
        queue_url: queue_url?,
        max_messages: i32::try_from(max_messages?).ok()?,
        idle_wait_seconds: idle_wait_seconds?,
        system_attributes,
        message_attributes,
    })
}
