//! The triggers of an application: what brings events to which component.
//!
//! The types are for the server and for `inspect`; the reading below them is
//! for the lockfile reader, HTTP's in its own file.

use std::collections::BTreeSet;

use ::http::{HeaderMap, StatusCode};

use super::json::{Node, Report, quoted};

mod http;

/// Types of Spin's that this version does not serve yet; any other is unknown.
const NOT_YET: [&str; 4] = ["redis", "mqtt", "sqs", "cron"];

/// What wakes a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// Requests over HTTP.
    Http(HttpTrigger),
    /// One run from start to exit.
    Command(CommandTrigger),
}

/// An HTTP route and who answers on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTrigger {
    /// The trigger's id.
    pub id: String,
    /// Who answers.
    pub target: HttpTarget,
    /// On which path, if on any.
    pub route: HttpRoute,
}

/// Who answers an HTTP route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpTarget {
    /// The component of this id.
    Component(String),
    /// catena itself, always with the same answer.
    Static(StaticResponse),
}

/// An answer that needs no component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticResponse {
    /// The status code, 200 unless the lockfile says otherwise.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// Where an HTTP trigger can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpRoute {
    /// A pattern that [`Router::insert`](super::routes::Router::insert) takes.
    Path(String),
    /// Nowhere but by chaining, from inside the application.
    Private,
}

/// A component that runs once, from start to exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandTrigger {
    /// The trigger's id.
    pub id: String,
    /// The component that runs.
    pub component: String,
}

impl Trigger {
    /// The trigger's id, unique in the application.
    pub fn id(&self) -> &str {
        match self {
            Trigger::Http(trigger) => &trigger.id,
            Trigger::Command(trigger) => &trigger.id,
        }
    }

    /// The component that the trigger wakes; a static response has none.
    pub fn component(&self) -> Option<&str> {
        match self {
            Trigger::Http(trigger) => match &trigger.target {
                HttpTarget::Component(id) => Some(id),
                HttpTarget::Static(_) => None,
            },
            Trigger::Command(trigger) => Some(&trigger.component),
        }
    }
}

/// Reads one trigger; `components` are the ids that it may name.
pub(super) fn read(
    node: &Node<'_>,
    components: &BTreeSet<&str>,
    report: &mut Report,
) -> Option<Trigger> {
    let node = node.clone().object(report)?;
    let id = node.required_str("id", report);
    let kind = node.required_str("trigger_type", report);
    let config = node
        .required("trigger_config", report)
        .and_then(|config| config.object(report));
    let who = match id {
        Some(id) => format!("trigger {}", quoted(id)),
        None => node.at().to_owned(),
    };
    refuse_dependencies(&node, &who, report);
    let component = config
        .as_ref()
        .and_then(|config| read_component(config, &who, components, report));
    let id = id.unwrap_or_default().to_owned();
    match kind? {
        "http" => http::read(&config?, id, component, &who, report).map(Trigger::Http),
        "command" => read_command(&config?, id, component, &who, report).map(Trigger::Command),
        kind if NOT_YET.contains(&kind) => {
            report.unmet(format!(
                "{who} is of type {}, which this version of catena does not serve; it serves http \
                 and command, so remove the trigger or use a host that serves it",
                quoted(kind)
            ));
            None
        }
        kind => {
            report.unmet(format!(
                "{who} is of type {}, which catena does not know; it serves http and command, so \
                 correct the type or use a host that serves it",
                quoted(kind)
            ));
            None
        }
    }
}

/// Reads the settings of a whole trigger type: only the HTTP base path is one.
pub(super) fn read_settings(metadata: &Node<'_>, report: &mut Report) {
    let current = metadata
        .field("triggers")
        .and_then(|types| types.object(report));
    if let Some(http) = current.as_ref().and_then(|types| types.field("http")) {
        check_base(&http, report);
    }
    // Older tools write this too, when all triggers are of one type.
    let legacy = metadata
        .field("trigger")
        .and_then(|trigger| trigger.object(report));
    if let Some(legacy) = legacy
        && legacy.optional_str("type", report) == Some("http")
    {
        check_base(&legacy, report);
    }
}

fn check_base(settings: &Node<'_>, report: &mut Report) {
    let Some(settings) = settings.clone().object(report) else {
        return;
    };
    if let Some(base) = settings.optional_str("base", report)
        && base != "/"
    {
        report.unmet(format!(
            "{}.base is {}, but catena serves only the base \"/\"; put the prefix into the routes",
            settings.at(),
            quoted(base)
        ));
    }
}

fn refuse_dependencies(node: &Node<'_>, who: &str, report: &mut Report) {
    let Some(section) = node.field("trigger_dependencies") else {
        return;
    };
    let roles: Vec<String> = section
        .entries(report)
        .into_iter()
        .map(|(role, _)| quoted(role))
        .collect();
    if !roles.is_empty() {
        report.unmet(format!(
            "{who} puts {} around its component, which is not composed into it, and this version \
             of catena does not compose; push the application with a tool that composes",
            roles.join(", ")
        ));
    }
}

/// The component that any type of trigger names, when it names one that exists.
fn read_component(
    config: &Node<'_>,
    who: &str,
    components: &BTreeSet<&str>,
    report: &mut Report,
) -> Option<String> {
    let component = config.optional_str("component", report)?;
    if !components.contains(component) {
        report.malformed(format!(
            "{who} names the component {}, which the lockfile does not define; define it or \
             correct the name",
            quoted(component)
        ));
        return None;
    }
    Some(component.to_owned())
}

fn read_command(
    config: &Node<'_>,
    id: String,
    component: Option<String>,
    who: &str,
    report: &mut Report,
) -> Option<CommandTrigger> {
    refuse_unknown_fields(config, &["component"], who, report);
    if config.field("component").is_none() {
        report.malformed(format!(
            "{who} names no component; name the one that is to run"
        ));
    }
    Some(CommandTrigger {
        id,
        component: component?,
    })
}

/// A setting that is not understood may matter, so it is not passed over.
fn refuse_unknown_fields(node: &Node<'_>, known: &[&str], who: &str, report: &mut Report) {
    for (name, field) in node.entries(report) {
        if !known.contains(&name) {
            report.unmet(format!(
                "{who} sets {}, which catena does not know; remove it or use a host that knows it",
                field.at()
            ));
        }
    }
}
