//! Messages of an MQTT topic, by MQTT 3.1.1.
//!
//! ```text
//! line    owns the connection, and is never interrupted: events -> channel
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

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rumqttc::{
    AsyncClient, EventLoop, Incoming, MqttOptions, Outgoing, Packet, Publish, QoS,
    SubscribeReasonCode,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::Wake;
use super::contact::Contact;
use super::work::Works;
use crate::app::MqttTrigger;
use crate::app::variables::Values;
use crate::call::{ComponentIndex, Event, Message};

/// How long to wait before a guest that failed gets its message again.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// The largest message.
const MAX_PACKET: usize = 16 << 20;

/// Acknowledgements and messages on their way between source and line.
const CHANNEL: usize = 2048;

/// How long the farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// What Spin's default is, in seconds.
const KEEP_ALIVE: u64 = 30;

/// One trigger.
pub(super) struct Mqtt {
    server: String,
    topic: String,
    qos: QoS,
    component: ComponentIndex,
    options: MqttOptions,
}

/// A message, and the connection that it came by.
struct Came {
    message: Publish,
    connection: u64,
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
        if url.scheme() != "mqtt" && url.scheme() != "tcp" {
            return Err(format!(
                "the address {shown:?} is of the scheme {:?}, and this version of catena knows \
                 mqtt:// alone",
                url.scheme()
            ));
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| format!("the address {shown:?} names no host"))?;
        if url.query().is_some() || !matches!(url.path(), "" | "/") {
            return Err(format!("the address {shown:?} has more than host and port"));
        }
        let port = url.port().unwrap_or(1883);
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
                .map(u64::from)
                .map_err(|_| format!("keep_alive_interval is {text:?}, but has to be seconds"))?,
        };
        let qos = rumqttc::qos(trigger.qos).map_err(|error| error.to_string())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = session(&[app, &trigger.id, &topic, hostname]);
        let mut options = MqttOptions::new(name, host, port);
        options
            .set_clean_session(qos == QoS::AtMostOnce)
            .set_manual_acks(true)
            .set_keep_alive(Duration::from_secs(keep_alive))
            .set_max_packet_size(MAX_PACKET, MAX_PACKET);
        if let Some(username) = given(&server.username)? {
            options.set_credentials(username, given(&server.password)?.unwrap_or_default());
        }
        Ok(Self {
            server: format!("mqtt at {host}:{port}"),
            topic,
            qos,
            component,
            options,
        })
    }

    pub(super) async fn run(self, wake: Wake, shutdown: CancellationToken) {
        let (client, connection) = AsyncClient::new(self.options.clone(), CHANNEL);
        let (came, mut messages) = mpsc::channel(1);
        let number = Arc::new(AtomicU64::new(0));
        let connected = Arc::new(AtomicBool::new(false));
        let line = Line {
            connection,
            client: client.clone(),
            contact: Contact::new(self.server.clone()),
            topic: self.topic.clone(),
            qos: self.qos,
            number: Arc::clone(&number),
            connected: Arc::clone(&connected),
            came,
        };
        let mut lines = JoinSet::new();
        lines.spawn(line.run());
        let mut works: Works<Option<Came>> = Works::new();
        let acknowledge = |done: Option<Came>| {
            // What came by another connection will come again.
            if let Some(done) = done
                && done.connection == number.load(Ordering::SeqCst)
                && let Err(error) = client.try_ack(&done.message)
            {
                tracing::warn!("{}: a message is not acknowledged: {error}", self.server);
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
        // A server that is not there cannot be taken leave of.
        if connected.load(Ordering::SeqCst) && client.try_disconnect().is_ok() {
            let gone = async { while messages.recv().await.is_some() {} };
            let _ = tokio::time::timeout(FAREWELL, gone).await;
        }
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

/// The connection to the server.
struct Line {
    connection: EventLoop,
    client: AsyncClient,
    contact: Contact,
    topic: String,
    qos: QoS,
    /// Which connection this is.
    number: Arc<AtomicU64>,
    connected: Arc<AtomicBool>,
    came: mpsc::Sender<Came>,
}

impl Line {
    /// Ends after a farewell, or when nobody listens any more.
    async fn run(mut self) {
        loop {
            let problem = match self.connection.poll().await {
                Ok(rumqttc::Event::Incoming(packet)) => self.take(packet).await,
                Ok(rumqttc::Event::Outgoing(Outgoing::Disconnect)) => return,
                Ok(rumqttc::Event::Outgoing(_)) => None,
                Err(error) => Some(error.to_string()),
            };
            if let Some(problem) = problem {
                self.connected.store(false, Ordering::SeqCst);
                self.number.fetch_add(1, Ordering::SeqCst);
                self.connection.clean();
                // All of it belonged to the connection that is gone.
                self.connection.pending.clear();
                tokio::time::sleep(self.contact.lost(&problem)).await;
            }
            if self.came.is_closed() {
                return;
            }
        }
    }

    /// What is wrong, if anything is.
    async fn take(&mut self, packet: Incoming) -> Option<String> {
        match packet {
            Packet::ConnAck(_) => {
                self.connected.store(true, Ordering::SeqCst);
                if self.qos == QoS::ExactlyOnce {
                    self.expect_releases();
                }
                let asked = self.client.try_subscribe(&self.topic, self.qos);
                asked.err().map(|error| error.to_string())
            }
            Packet::SubAck(answer) => {
                if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                    return Some(format!("it refuses the topic {:?}", self.topic));
                }
                let what = format!("brings messages of {}", self.topic);
                self.contact.made(&what);
                None
            }
            Packet::Publish(message) => {
                let connection = self.number.load(Ordering::SeqCst);
                let came = Came {
                    message,
                    connection,
                };
                // Nobody listens only when all is over.
                let _ = self.came.send(came).await;
                None
            }
            _ => None,
        }
    }

    /// Has the client answer the release of any message. A session that goes on
    /// begins with releases of what was acknowledged before, by a connection or
    /// a process of which the client knows nothing; it would end the connection,
    /// again and again.
    fn expect_releases(&mut self) {
        let state = &mut self.connection.state;
        let before = state.events.len();
        for number in 1..=u16::MAX {
            let mut any = Publish::new("", QoS::ExactlyOnce, Vec::new());
            any.pkid = number;
            // It fails for no message, and nothing is sent while acknowledging
            // is left to us.
            let _ = state.handle_incoming_packet(Packet::Publish(any));
            state.events.truncate(before);
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
