//! Messages of Redis channels. All triggers of one server share a connection.
//!
//! Redis keeps no messages of channels: what is published while there is no
//! connection never comes, and nothing is acknowledged. Messages that come faster
//! than guests take them wait in memory; where too many do, further ones are
//! dropped, which is said.

use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::PubSub;
use redis::{ConnectionAddr, ErrorKind, IntoConnectionInfo as _, RedisConnectionInfo, RedisError};
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::Wake;
use super::contact::Contact;
use super::place::Place;
use super::work::Works;
use crate::call::{ComponentIndex, Event, Message};
use crate::outbound::Trust;

/// How long a connection, and a subscription, may take to be made.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a silent server is asked whether it is still there.
const PING: Duration = Duration::from_secs(30);

/// What is said of a server that says nothing.
const SILENT: &str = "it does not answer";

/// The triggers of one server.
pub(super) struct Redis {
    /// Its URL, which may hold a password.
    address: String,
    place: Place,
    /// As whom, and to which database.
    settings: RedisConnectionInfo,
    /// Each trigger's channel and component.
    channels: Vec<(String, ComponentIndex)>,
}

impl Redis {
    /// A server without triggers yet.
    ///
    /// # Errors
    /// The end of a sentence that begins with the address.
    pub(super) fn new(address: &str) -> Result<Self, String> {
        let url = Url::parse(address).map_err(|error| format!("is no URL: {error}"))?;
        let tls = match url.scheme() {
            "redis" => false,
            "rediss" => true,
            other => {
                return Err(format!(
                    "is of the scheme {other:?}, and catena knows redis:// and rediss:// alone"
                ));
            }
        };
        let place = Place::new(&url, 6379, tls)?;
        let info = address.into_connection_info();
        let info = info.map_err(|error| format!("is no address: {error}"))?;
        if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
            return Err(
                "asks for TLS with whoever answers: leave out #insecure, and name the \
                        authority to trust in SSL_CERT_FILE"
                    .to_owned(),
            );
        }
        Ok(Self {
            address: address.to_owned(),
            place,
            settings: info.redis_settings().clone(),
            channels: Vec::new(),
        })
    }

    /// Whether this is the server of that address.
    pub(super) fn is_at(&self, address: &str) -> bool {
        self.address == address
    }

    /// Has a component woken by the messages of a channel.
    pub(super) fn add(&mut self, channel: String, component: ComponentIndex) {
        self.channels.push((channel, component));
    }

    pub(super) async fn run(self, wake: Wake, shutdown: CancellationToken) {
        let mut works = Works::new();
        let mut contact = Contact::new(format!("redis at {}", self.place));
        while !shutdown.is_cancelled() {
            let lost = tokio::select! {
                () = shutdown.cancelled() => break,
                lost = self.listen(&wake, &mut works, &mut contact) => lost,
            };
            let wait = tokio::time::sleep(contact.lost(&lost));
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = works.beside(wait) => {}
            }
        }
        works.finish().await;
    }

    /// Connects and takes messages; gives the reason why it had to end.
    async fn listen(&self, wake: &Wake, works: &mut Works<()>, contact: &mut Contact) -> String {
        let connecting = timeout(PATIENCE, self.connect(&wake.trust));
        let connection = match works.beside(connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(problem)) => return problem,
            Err(_) => return SILENT.to_owned(),
        };
        let (mut sink, mut messages) = connection.split();
        let mut names: Vec<&str> = self.channels.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        names.dedup();
        match works
            .beside(timeout(PATIENCE, sink.subscribe(&names)))
            .await
        {
            Ok(Ok(())) => contact.made(&format!("brings messages of {}", names.join(", "))),
            Ok(Err(error)) => return reason(&error),
            Err(_) => return SILENT.to_owned(),
        }
        let mut ping = interval_at(Instant::now() + PING, PING);
        let mut dropping = false;
        loop {
            tokio::select! {
                message = messages.next() => {
                    let Some(message) = message else {
                        return "it closed the connection".to_owned();
                    };
                    let kept = self.take(&message, wake, works);
                    if !kept && !dropping {
                        tracing::warn!("redis at {} brings messages faster than they are taken: some are dropped", self.place);
                    }
                    dropping = !kept;
                }
                Some(()) = works.next() => {}
                _ = ping.tick() => match timeout(PATIENCE, sink.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return reason(&error),
                    Err(_) => return SILENT.to_owned(),
                },
            }
        }
    }

    async fn connect(&self, trust: &Trust) -> Result<PubSub, String> {
        let wire = self.place.connect(trust).await?;
        let connecting = PubSub::new(&self.settings, wire);
        connecting.await.map_err(|error| reason(&error))
    }

    /// Wakes all components that the message is for; false where there was no
    /// room for one.
    fn take(&self, message: &redis::Msg, wake: &Wake, works: &mut Works<()>) -> bool {
        let mut kept = true;
        let named = message.get_channel_name();
        for (_, component) in self.channels.iter().filter(|(name, _)| name == named) {
            let payload = message.get_payload_bytes().to_vec();
            let event = Event::Message(*component, Message::Redis { payload });
            let wake = wake.clone();
            kept &= works.offer(async move {
                // That a guest failed is logged already, and all that can be done.
                let _ = wake.wake(event).await;
            });
        }
        kept
    }
}

/// What Redis does not like, in a sentence where its own words are a code's.
fn reason(error: &RedisError) -> String {
    if error.kind() == ErrorKind::AuthenticationFailed || error.code() == Some("WRONGPASS") {
        return "it refuses the user name or the password".to_owned();
    }
    match error.code() {
        Some("NOAUTH") => "it wants a password, and the address has none".to_owned(),
        Some("NOPERM") => format!("the user may not listen: {error}"),
        _ => error.to_string(),
    }
}
