//! MQTT (3.1.1) as guests use it: publishing only. A connection for each handle,
//! made anew when it was lost between two messages.
//!
//! ```text
//! at most once    PUBLISH ->
//! at least once   PUBLISH -> PUBACK <-
//! exactly once    PUBLISH -> PUBREC <- PUBREL -> PUBCOMP <-
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use catena_bindings::mqtt::v3::mqtt::{Error, Qos};
use rumqttc::{Connect, Login, Packet, PubRel, Publish, QoS};
use tokio::sync::{Mutex, OwnedSemaphorePermit};

use self::packets::{PacketError, Packets};
use super::dial::{DialError, Dialer, too_late};
use super::shelf::Shelf;

pub(crate) mod packets;

/// The identifier of the one message that is under way.
const ID: u16 = 1;

/// The MQTT connections of a component.
pub(crate) struct Mqtt {
    dialer: Arc<Dialer>,
    shelf: Shelf<Link>,
}

struct Link {
    packets: Packets,
    used: Instant,
    _place: OwnedSemaphorePermit,
}

/// Where a handle leads, and as whom.
#[derive(Clone, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
    tls: bool,
    client: Option<String>,
    login: Option<(String, String)>,
    keep_alive: u16,
}

/// One handle of a guest. Its messages wait for each other.
pub(crate) struct Session {
    home: Arc<Mqtt>,
    key: String,
    target: Target,
    /// None while it is lost.
    link: Mutex<Option<Link>>,
}

impl From<DialError> for Error {
    fn from(error: DialError) -> Self {
        match error {
            DialError::TooMany => Self::TooManyConnections,
            error => Self::ConnectionFailed(error.to_string()),
        }
    }
}

impl From<PacketError> for Error {
    fn from(error: PacketError) -> Self {
        match error {
            PacketError::Lost(_) | PacketError::Closed | PacketError::Refused(_) => {
                Self::ConnectionFailed(error.to_string())
            }
            PacketError::OutOfTurn | PacketError::Malformed(_) => Self::Other(error.to_string()),
        }
    }
}

impl Mqtt {
    pub(crate) fn new(dialer: Arc<Dialer>) -> Self {
        Self {
            dialer,
            shelf: Shelf::default(),
        }
    }

    /// A connection with the broker at a URL. One of a named client is not kept
    /// for others, since a broker has each name only once.
    pub(crate) async fn open(
        self: &Arc<Self>,
        address: String,
        username: String,
        password: String,
        keep_alive: u64,
    ) -> Result<Session, Error> {
        let login = (!username.is_empty()).then_some((username, password));
        let target = Target::parse(&address, login, keep_alive)?;
        let scheme = if target.tls { "mqtts" } else { "mqtt" };
        self.dialer.allow(scheme, &target.host, target.port)?;
        let key = format!("{address}\n{:?}\n{keep_alive}", target.login);
        let shelved = self.shelf.take(&key, |link| link.is_fresh(&target));
        let link = match shelved {
            Some(link) => link,
            None => self.connect(&target).await?,
        };
        Ok(Session {
            home: Arc::clone(self),
            key,
            target,
            link: Mutex::new(Some(link)),
        })
    }

    async fn connect(&self, target: &Target) -> Result<Link, Error> {
        let place = self.dialer.place().await?;
        let connecting = async {
            let wire = self.dialer.wire(&target.host, target.port, target.tls);
            let id = || format!("catena-{}", uuid::Uuid::new_v4().simple());
            let mut connect = Connect::new(target.client.clone().unwrap_or_else(id));
            connect.keep_alive = target.keep_alive;
            connect.login = target
                .login
                .clone()
                .map(|(name, word)| Login::new(name, word));
            let mut packets = Packets::new(wire.await?);
            packets.greet(connect).await?;
            Ok(Link {
                packets,
                used: Instant::now(),
                _place: place,
            })
        };
        self.dialer.connecting(connecting).await
    }
}

impl Target {
    fn parse(
        address: &str,
        login: Option<(String, String)>,
        keep_alive: u64,
    ) -> Result<Self, Error> {
        let url = url::Url::parse(address).map_err(|_| Error::InvalidAddress)?;
        let (tls, port) = match url.scheme() {
            "mqtt" | "tcp" => (false, 1883),
            "mqtts" | "ssl" => (true, 8883),
            _ => return Err(Error::InvalidAddress),
        };
        let host = url.host_str().filter(|host| !host.is_empty());
        let client = url.query_pairs().find(|(name, _)| name == "client_id");
        Ok(Self {
            host: host.ok_or(Error::InvalidAddress)?.to_owned(),
            port: url.port().unwrap_or(port),
            tls,
            client: client.map(|(_, id)| id.into_owned()),
            login,
            keep_alive: u16::try_from(keep_alive).unwrap_or(u16::MAX),
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(link) = self.link.get_mut().take()
            && self.target.client.is_none()
        {
            self.home.shelf.put(&self.key, link);
        }
    }
}

impl Session {
    /// Publishes a message, and waits for what its quality of service promises.
    pub(crate) async fn publish(
        &self,
        topic: String,
        payload: Vec<u8>,
        qos: Qos,
    ) -> Result<(), Error> {
        if topic.is_empty() || topic.contains(['+', '#', '\0']) {
            return Err(Error::Other(format!("{topic:?} is no topic of a message")));
        }
        let within = self.home.dialer.answer();
        let late = |_| Error::Other(too_late(within));
        let deadline = tokio::time::Instant::now() + within;
        let link = tokio::time::timeout_at(deadline, self.link.lock()).await;
        let mut kept = link.map_err(late)?;
        // It comes back only when all went well.
        let mut fresh = kept.take();
        if !fresh
            .as_mut()
            .is_some_and(|link| link.is_fresh(&self.target))
        {
            fresh = None;
        }
        let mut link = match fresh {
            Some(link) => link,
            None => self.home.connect(&self.target).await?,
        };
        let publishing = link.publish(topic, payload, qos);
        let done = tokio::time::timeout_at(deadline, publishing).await;
        done.map_err(late)??;
        link.used = Instant::now();
        *kept = Some(link);
        Ok(())
    }
}

impl Link {
    /// Whether the broker still takes it for alive, as far as can be seen from here.
    fn is_fresh(&mut self, target: &Target) -> bool {
        let keep_alive = Duration::from_secs(target.keep_alive.into());
        let late = !keep_alive.is_zero() && self.used.elapsed() >= keep_alive;
        !late && self.packets.is_silent()
    }

    async fn publish(&mut self, topic: String, payload: Vec<u8>, qos: Qos) -> Result<(), Error> {
        let level = match qos {
            Qos::AtMostOnce => QoS::AtMostOnce,
            Qos::AtLeastOnce => QoS::AtLeastOnce,
            Qos::ExactlyOnce => QoS::ExactlyOnce,
        };
        let mut message = Publish::new(topic, level, payload);
        message.pkid = ID;
        self.packets.send(&Packet::Publish(message)).await?;
        match qos {
            Qos::AtMostOnce => Ok(()),
            Qos::AtLeastOnce => match self.packets.receive().await? {
                Packet::PubAck(_) => Ok(()),
                _ => Err(PacketError::OutOfTurn.into()),
            },
            Qos::ExactlyOnce => {
                let Packet::PubRec(_) = self.packets.receive().await? else {
                    return Err(PacketError::OutOfTurn.into());
                };
                self.packets.send(&Packet::PubRel(PubRel::new(ID))).await?;
                match self.packets.receive().await? {
                    Packet::PubComp(_) => Ok(()),
                    _ => Err(PacketError::OutOfTurn.into()),
                }
            }
        }
    }
}
