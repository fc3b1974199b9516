//! The triggers of an application: what brings events to which component.
//!
//! The types are for the server and for `inspect`; the reading below them is
//! for the lockfile reader, HTTP's in its own file.

use std::collections::BTreeSet;

use ::http::{HeaderMap, StatusCode};

use super::json::{Node, Report, quoted};
use super::variables::{self, Variables};

mod cron;
mod http;
mod mqtt;
mod redis;
mod sqs;

pub use cron::CronTrigger;
pub use mqtt::{MqttServer, MqttTrigger};
pub use redis::RedisTrigger;
pub use sqs::SqsTrigger;

/// The types that catena serves, for a sentence.
const SERVED: &str = "http, redis, mqtt, cron, sqs and command";

/// What wakes a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// Requests over HTTP.
    Http(HttpTrigger),
    /// Messages of a Redis channel.
    Redis(RedisTrigger),
    /// Messages of an MQTT topic.
    Mqtt(MqttTrigger),
    /// The clock.
    Cron(CronTrigger),
    /// Messages of an Amazon SQS queue.
    Sqs(SqsTrigger),
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
    /// How the component is asked.
    pub executor: HttpExecutor,
}

/// How the component behind a route is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpExecutor {
    /// By the HTTP handler that it exports.
    Http,
    /// As a CGI program: a command, run for each request.
    Wagi {
        /// Its arguments: a template of `${SCRIPT_NAME}` and `${ARGS}`.
        argv: String,
    },
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
            Trigger::Redis(trigger) => &trigger.id,
            Trigger::Mqtt(trigger) => &trigger.id,
            Trigger::Cron(trigger) => &trigger.id,
            Trigger::Sqs(trigger) => &trigger.id,
            Trigger::Command(trigger) => &trigger.id,
        }
    }

    /// Its type, as the lockfile names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Trigger::Http(_) => "http",
            Trigger::Redis(_) => "redis",
            Trigger::Mqtt(_) => "mqtt",
            Trigger::Cron(_) => "cron",
            Trigger::Sqs(_) => "sqs",
            Trigger::Command(_) => "command",
        }
    }

    /// The component that the trigger wakes; a static response has none.
    pub fn component(&self) -> Option<&str> {
        match self {
            Trigger::Http(trigger) => match &trigger.target {
                HttpTarget::Component(id) => Some(id),
                HttpTarget::Static(_) => None,
            },
            Trigger::Redis(trigger) => Some(&trigger.component),
            Trigger::Mqtt(trigger) => Some(&trigger.component),
            Trigger::Cron(trigger) => Some(&trigger.component),
            Trigger::Sqs(trigger) => Some(&trigger.component),
            Trigger::Command(trigger) => Some(&trigger.component),
        }
    }
}

/// Settings of whole trigger types.
#[derive(Debug, Default)]
pub(super) struct Settings {
    redis_address: Option<String>,
    mqtt: Option<MqttServer>,
}

/// What is known of a trigger before its type.
#[derive(Clone, Copy)]
struct Source<'a> {
    id: &'a str,
    component: Option<&'a str>,
    who: &'a str,
    variables: &'a Variables,
}

impl Source<'_> {
    /// The ids of the trigger and of its component, which it has to name.
    fn named(&self, config: &Node<'_>, report: &mut Report) -> Option<(String, String)> {
        if config.field("component").is_none() {
            report.malformed(format!(
                "{} names no component; name the one that is to run",
                self.who
            ));
        }
        Some((self.id.to_owned(), self.component?.to_owned()))
    }

    /// A field that is a template and may be absent.
    fn template(&self, config: &Node<'_>, name: &str, report: &mut Report) -> Option<String> {
        let node = config.field(name)?;
        let text = node.str(report)?;
        check_template(&node, text, self.variables, report).then(|| text.to_owned())
    }

    /// A field that is a template and has to be there.
    fn required_template(
        &self,
        config: &Node<'_>,
        name: &str,
        report: &mut Report,
    ) -> Option<String> {
        config.required(name, report)?;
        self.template(config, name, report)
    }
}

fn check_template(node: &Node<'_>, text: &str, variables: &Variables, report: &mut Report) -> bool {
    let checked = variables::check_template(text, variables);
    if let Err(reason) = &checked {
        report.malformed(format!("{}: {reason}", node.at()));
    }
    checked.is_ok()
}

/// Reads one trigger; `components` are the ids that it may name, `variables`
/// those that its templates may mention.
pub(super) fn read(
    node: &Node<'_>,
    components: &BTreeSet<&str>,
    variables: &Variables,
    settings: &Settings,
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
    let source = Source {
        id: id.unwrap_or_default(),
        component: component.as_deref(),
        who: &who,
        variables,
    };
    let kind = kind?;
    let config = &config?;
    match kind {
        "http" => {
            let id = source.id.to_owned();
            http::read(config, id, component, &who, report).map(Trigger::Http)
        }
        "redis" => redis::read(config, source, settings, report).map(Trigger::Redis),
        "mqtt" => mqtt::read(config, source, settings, report).map(Trigger::Mqtt),
        "cron" => cron::read(config, source, report).map(Trigger::Cron),
        "sqs" => sqs::read(config, source, report).map(Trigger::Sqs),
        "command" => read_command(config, source, report).map(Trigger::Command),
        kind => {
            report.unmet(format!(
                "{who} is of type {}, which catena does not know; it serves {SERVED}, so correct \
                 the type or use a host that serves it",
                quoted(kind)
            ));
            None
        }
    }
}

/// Reads the settings of whole trigger types.
pub(super) fn read_settings(
    metadata: &Node<'_>,
    variables: &Variables,
    report: &mut Report,
) -> Settings {
    let mut settings = Settings::default();
    let types = metadata
        .field("triggers")
        .and_then(|types| types.object(report));
    for (kind, node) in types
        .iter()
        .flat_map(|types| types.entries(report))
        .collect::<Vec<_>>()
    {
        settings.add(kind, &node, &[], variables, report);
    }
    // Older tools write this too, when all triggers are of one type.
    let legacy = metadata
        .field("trigger")
        .and_then(|trigger| trigger.object(report));
    if let Some(legacy) = legacy
        && let Some(kind) = legacy.optional_str("type", report)
        && types.is_none_or(|types| types.field(kind).is_none())
    {
        settings.add(kind, &legacy, &["type"], variables, report);
    }
    settings
}

impl Settings {
    fn add(
        &mut self,
        kind: &str,
        node: &Node<'_>,
        known: &[&str],
        variables: &Variables,
        report: &mut Report,
    ) {
        let Some(node) = node.clone().object(report) else {
            return;
        };
        let text = |name: &str, report: &mut Report| {
            let field = node.field(name)?;
            let text = field.scalar(report)?;
            check_template(&field, &text, variables, report).then_some(text)
        };
        let who = format!("the application, at {},", node.at());
        let known = |own: &[&'static str]| [known, own].concat();
        match kind {
            "http" => check_base(&node, report),
            "redis" => {
                self.redis_address = text("address", report);
                refuse_unknown_fields(&node, &known(&["address"]), &who, report);
            }
            "mqtt" => {
                let (username, password) = (text("username", report), text("password", report));
                let keep_alive_interval = text("keep_alive_interval", report);
                self.mqtt = text("address", report).map(|address| MqttServer {
                    address,
                    username,
                    password,
                    keep_alive_interval,
                });
                let own = ["address", "username", "password", "keep_alive_interval"];
                refuse_unknown_fields(&node, &known(&own), &who, report);
            }
            _ => {}
        }
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
            "{who} puts {} around its component, which is not composed into it, and catena \
             composes no middleware; push the application with a tool that composes",
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
    source: Source<'_>,
    report: &mut Report,
) -> Option<CommandTrigger> {
    refuse_unknown_fields(config, &["component"], source.who, report);
    let (id, component) = source.named(config, report)?;
    Some(CommandTrigger { id, component })
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
