//! Reads the configuration of a cron trigger, for the reader of triggers.

use super::{Source, refuse_unknown_fields};
use crate::app::json::{Node, Report};

/// A component that wakes at certain times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronTrigger {
    /// The trigger's id.
    pub id: String,
    /// The component that wakes.
    pub component: String,
    /// When: second, minute, hour, day of month, month, day of week and, where
    /// it is given, year, in UTC. A template.
    pub expression: String,
}

pub(super) fn read(
    config: &Node<'_>,
    source: Source<'_>,
    report: &mut Report,
) -> Option<CronTrigger> {
    refuse_unknown_fields(
        config,
        &["component", "cron_expression"],
        source.who,
        report,
    );
    let expression = source.required_template(config, "cron_expression", report);
    let (id, component) = source.named(config, report)?;
    Some(CronTrigger {
        id,
        component,
        expression: expression?,
    })
}
