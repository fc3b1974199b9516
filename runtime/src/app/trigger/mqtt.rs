//! Reads the configuration of an MQTT trigger, for the reader of triggers.

use super::{Settings, Source, refuse_unknown_fields};
use crate::app::json::{Node, Report, quoted};

/// A component that wakes for the messages of an MQTT topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttTrigger {
    /// The trigger's id.
    pub id: String,
    /// The component that wakes.
    pub component: String,
    /// The topic or filter, a template.
    pub topic: String,
    /// The quality of service: 0, 1 or 2.
    pub qos: u8,
    /// The server that all such triggers share.
    pub server: MqttServer,
}

/// The server of an application's MQTT triggers. All values are templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MqttServer {
    /// `mqtt://host[:port]`
    pub address: String,
    /// Who we are; none for nobody.
    pub username: Option<String>,
    /// What proves it.
    pub password: Option<String>,
    /// Seconds of silence after which a sign of life is sent.
    pub keep_alive_interval: Option<String>,
}

pub(super) fn read(
    config: &Node<'_>,
    source: Source<'_>,
    settings: &Settings,
    report: &mut Report,
) -> Option<MqttTrigger> {
    refuse_unknown_fields(config, &["component", "topic", "qos"], source.who, report);
    if settings.mqtt.is_none() {
        report.malformed(format!(
            "{} needs metadata.triggers.mqtt.address, which is missing; name the server there",
            source.who
        ));
    }
    let topic = source.required_template(config, "topic", report);
    let qos = read_qos(config, report);
    let (id, component) = source.named(config, report)?;
    Some(MqttTrigger {
        id,
        component,
        topic: topic?,
        qos: qos?,
        server: settings.mqtt.clone()?,
    })
}

/// A string in Spin's manifests; a number says the same.
fn read_qos(config: &Node<'_>, report: &mut Report) -> Option<u8> {
    let node = config.required("qos", report)?;
    let text = node.scalar(report)?;
    match text.trim() {
        "0" => Some(0),
        "1" => Some(1),
        "2" => Some(2),
        other => {
            report.malformed(format!(
                "{} is {}, but a quality of service is 0, 1 or 2",
                node.at(),
                quoted(other)
            ));
            None
        }
    }
}
