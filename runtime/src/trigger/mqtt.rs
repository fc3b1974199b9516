//! Messages of an MQTT topic, by MQTT 3.1.1.
//!
//! ```text
//! line    owns the connection, and is never interrupted: messages -> channel
//! source  channel -> guests, and when they are done, acknowledgements -> line
//! ```
//!
//! Of quality 1 and 2 a message is acknowledged when the guest has returned. A
//! guest that fails gets it again, after a while; the protocol has no way to
//! give it back, and what is never acknowledged takes a place of the server's
//! window, so that after some attempts it is acknowledged all the same, and
//! said. The session outlives the connection and the process (its name is made
//! of the application, the trigger and the container's `HOSTNAME`), so that the
//! server keeps messages meanwhile. With quality 0 there is nothing to keep.

use std::time::Duration;

use rumqttc::{Connect, Login, QoS};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::line::{Came, Line};
use super::Wake;
use super::contact::Contact;
use super::place::Place;
use super::work::Works;
use crate::app::MqttTrigger;
use crate::app::variables::Values;
use crate::call::{ComponentIndex, Event, Message};

mod line;

/// How long to wait before a guest that failed gets its message again.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// How long the farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// What Spin's default is, in seconds.
const KEEP_ALIVE: u16 = 30;

/// One trigger.
pub(super) struct Mqtt {
    place: Place,
    topic: String,
    qos: QoS,
    component: ComponentIndex,
    connect: Connect,
}

impl Mqtt {
    /// # Errors
    /// A sentence.
    pub(super) fn new(
        app: &str,
        trigger: &MqttTrigger,
        component: ComponentIndex,
        values: &Values,
        hostname: &str,
    ) -> Result<Self, String> {
        let server = &trigger.server;
        let shown = &server.address;
        let address = values.expand(&server.address)?;
        let url = Url::parse(&address)
            .map_err(|error| format!("the address {shown:?} is no URL: {error}"))?;
        let (tls, port) = match url.scheme() {
            "mqtt" | "tcp" => (false, 1883),
            "mqtts" | "ssl" => (true, 8883),
            other => {
                return Err(format!(
                    "the address {shown:?} is of the scheme {other:?}, and catena knows mqtt:// \
                     and mqtts:// alone"
                ));
            }
        };
        let place = Place::new(&url, port, tls)
            .map_err(|problem| format!("the address {shown:?} {problem}"))?;
        if url.query().is_some() || !matches!(url.path(), "" | "/") {
            return Err(format!("the address {shown:?} has more than host and port"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!(
                "the address {shown:?} holds a user: set `username` and `password` instead"
            ));
        }
        let topic = values.expand(&trigger.topic)?;
        if !rumqttc::valid_filter(&topic) {
            return Err(format!("the topic {topic:?} is no topic or filter"));
        }
        let given = |text: &Option<String>| {
            let text = text.as_ref().map(|text| values.expand(text)).transpose()?;
            Ok::<_, String>(text.filter(|text| !text.is_empty()))
        };
        let keep_alive = match given(&server.keep_alive_interval)? {
            None => KEEP_ALIVE,
            Some(text) => text
                .parse::<u16>()
                .map_err(|_| format!("keep_alive_interval is {text:?}, but has to be seconds"))?,
        };
        let qos = rumqttc::qos(trigger.qos).map_err(|error| error.to_string())?;
        let mut connect = Connect::new(session(&[app, &trigger.id, &topic, hostname]));
        connect.clean_session = qos == QoS::AtMostOnce;
        connect.keep_alive = keep_alive;
        if let Some(username) = given(&server.username)? {
            let password = given(&server.password)?.unwrap_or_default();
            connect.login = Some(Login::new(username, password));
        }
        Ok(Self {
            place,
            topic,
            qos,
            component,
            connect,
        })
    }

    pub(super) async fn run(self, wake: Wake, shutdown: CancellationToken) {
        let (came, mut messages) = mpsc::channel(1);
        // No more of them than messages that are at work or wait.
        let (receipts, done) = mpsc::unbounded_channel();
        let line = Line {
            contact: Contact::new(format!("mqtt at {}", self.place)),
            place: self.place,
            trust: wake.trust.clone(),
            connect: self.connect,
            topic: self.topic,
            qos: self.qos,
            came,
            number: 0,
        };
        let mut lines = JoinSet::new();
        lines.spawn(line.run(done));
        let mut works: Works<Option<Came>> = Works::new();
        let acknowledge = |done: Option<Came>| {
            if let Some(receipt) = done.and_then(|done| done.receipt()) {
                // The line lives as long as it can be told something.
                let _ = receipts.send(receipt);
            }
        };
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(done) = works.next() => acknowledge(done),
                Some(message) = messages.recv(), if !works.is_full() => {
                    // There is room: it was asked for above.
                    let _ = works.offer(deliver(wake.clone(), self.component, message, shutdown.clone()));
                }
            }
        }
        // The line goes on, for the acknowledgements. What it brings now is not
        // taken, and comes again to the next session.
        loop {
            tokio::select! {
                done = works.next() => match done {
                    Some(done) => acknowledge(done),
                    None => break,
                },
                Some(_) = messages.recv() => {}
            }
        }
        // The line says farewell after the last acknowledgement, and ends.
        drop(receipts);
        let gone = async { while messages.recv().await.is_some() {} };
        let _ = tokio::time::timeout(FAREWELL, gone).await;
    }
}

/// The name of a session: the same for the same trigger, and different for
/// others. Every server takes 23 letters and digits.
fn session(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    let digits = hash.iter().take(8).map(|byte| format!("{byte:02x}"));
    format!("catena{}", digits.collect::<String>())
}

/// Gives a message to the guest; gives it back when it is to be acknowledged.
async fn deliver(
    wake: Wake,
    component: ComponentIndex,
    came: Came,
    shutdown: CancellationToken,
) -> Option<Came> {
    let mut waits = RETRIES.iter();
    loop {
        let message = Message::Mqtt {
            payload: came.message.payload.to_vec(),
            topic: came.message.topic.clone(),
        };
        let taken = wake.wake(Event::Message(component, message)).await;
        if taken.is_ok() || came.message.qos == QoS::AtMostOnce {
            return Some(came);
        }
        let Some(wait) = waits.next() else {
            tracing::error!(
                "a message of {:?} is given up, since its component failed {} times",
                came.message.topic,
                RETRIES.len() + 1
            );
            return Some(came);
        };
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep(*wait) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_a_short_name_of_its_own() {
        let name = session(&["app", "trigger", "topic", ""]);
        assert_eq!(name, session(&["app", "trigger", "topic", ""]));
        assert!(name.len() <= 23 && name.chars().all(|c| c.is_ascii_alphanumeric()));
        assert_ne!(name, session(&["app", "trigger", "topic", "pod-1"]));
        assert_ne!(name, session(&["app", "triggert", "opic", ""]));
    }
}
