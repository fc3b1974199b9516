//! Reads the configuration of a Redis trigger, for the reader of triggers.

use super::{Settings, Source, refuse_unknown_fields};
use crate::app::json::{Node, Report};

/// A component that wakes for the messages of a Redis channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisTrigger {
    /// The trigger's id.
    pub id: String,
    /// The component that wakes.
    pub component: String,
    /// The server's URL, a template.
    pub address: String,
    /// The channel, a template.
    pub channel: String,
}

pub(super) fn read(
    config: &Node<'_>,
    source: Source<'_>,
    settings: &Settings,
    report: &mut Report,
) -> Option<RedisTrigger> {
    let known = ["component", "address", "channel"];
    refuse_unknown_fields(config, &known, source.who, report);
    let own = source.template(config, "address", report);
    let address = own.or_else(|| settings.redis_address.clone());
    if address.is_none() && config.field("address").is_none() {
        report.malformed(format!(
            "{} has no address, and neither has metadata.triggers.redis; name the server in one \
             of them",
            source.who
        ));
    }
    let channel = source.required_template(config, "channel", report);
    let (id, component) = source.named(config, report)?;
    Some(RedisTrigger {
        id,
        component,
        address: address?,
        channel: channel?,
    })
}
