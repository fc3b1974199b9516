//! The connection with an MQTT server: made again whenever it is lost.
//!
//! ```text
//! CONNECT -> CONNACK <- SUBSCRIBE -> SUBACK <-
//! quality 1   PUBLISH <- (guest) PUBACK ->
//! quality 2   PUBLISH <- (guest) PUBREC -> PUBREL <- PUBCOMP ->
//! ```
//!
//! While the source takes nothing, nothing is read; the server is still told that
//! the line is alive, and gets its acknowledgements.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    Connect, Packet, PubAck, PubComp, PubRec, Publish, QoS, Subscribe, SubscribeReasonCode,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, timeout};

use crate::outbound::Trust;
use crate::service::mqtt::packets::Packets;
use crate::trigger::contact::Contact;
use crate::trigger::place::Place;

/// How long the server may take to be connected to, and to take a packet.
const PATIENCE: Duration = Duration::from_secs(10);

/// The identifier of the one subscription.
const SUBSCRIPTION: u16 = 1;

/// What is said of a server that says nothing.
const SILENT: &str = "it does not answer";

/// A message, and the connection that it came by.
pub(super) struct Came {
    pub(super) message: Publish,
    connection: u64,
}

/// What is to be acknowledged.
pub(super) struct Receipt {
    pkid: u16,
    qos: QoS,
    connection: u64,
}

pub(super) struct Line {
    pub(super) place: Place,
    pub(super) trust: Arc<Trust>,
    pub(super) connect: Connect,
    pub(super) topic: String,
    pub(super) qos: QoS,
    pub(super) contact: Contact,
    pub(super) came: mpsc::Sender<Came>,
    /// Which connection this is.
    pub(super) number: u64,
}

impl Came {
    /// None where the quality wants no acknowledgement.
    pub(super) fn receipt(&self) -> Option<Receipt> {
        let receipt = Receipt {
            pkid: self.message.pkid,
            qos: self.message.qos,
            connection: self.connection,
        };
        Some(receipt).filter(|receipt| receipt.qos != QoS::AtMostOnce)
    }
}

impl Receipt {
    fn packet(&self) -> Packet {
        match self.qos {
            QoS::ExactlyOnce => Packet::PubRec(PubRec::new(self.pkid)),
            _ => Packet::PubAck(PubAck::new(self.pkid)),
        }
    }
}

impl Line {
    /// Ends, with a farewell where somebody listens, when nobody is left who
    /// could acknowledge anything.
    pub(super) async fn run(mut self, mut receipts: mpsc::UnboundedReceiver<Receipt>) {
        loop {
            let greeted = tokio::select! {
                () = closed(&mut receipts) => return,
                greeted = timeout(PATIENCE, self.greet()) => greeted,
            };
            let ended = match greeted {
                Ok(Ok(packets)) => self.serve(packets, &mut receipts).await,
                Ok(Err(problem)) => Err(problem),
                Err(_) => Err(SILENT.to_owned()),
            };
            let Err(problem) = ended else { return };
            self.number += 1;
            let wait = self.contact.lost(&problem);
            tokio::select! {
                () = closed(&mut receipts) => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Connects and subscribes.
    async fn greet(&self) -> Result<Packets, String> {
        let mut packets = Packets::new(self.place.connect(&self.trust).await?);
        let greeted = packets.greet(self.connect.clone()).await;
        greeted.map_err(|error| error.to_string())?;
        let mut subscribe = Subscribe::new(&self.topic, self.qos);
        subscribe.pkid = SUBSCRIPTION;
        send(&mut packets, &Packet::Subscribe(subscribe)).await?;
        Ok(packets)
    }

    /// Takes and gives, until the farewell, or until the connection is lost.
    async fn serve(
        &mut self,
        mut packets: Packets,
        receipts: &mut mpsc::UnboundedReceiver<Receipt>,
    ) -> Result<(), String> {
        let every = Duration::from_secs(self.connect.keep_alive.max(1).into());
        let mut ping = interval_at(Instant::now() + every, every);
        let mut silent = false;
        let mut held: Option<Came> = None;
        let to_source = self.came.clone();
        loop {
            tokio::select! {
                receipt = receipts.recv() => match receipt {
                    // What came by another connection will come again.
                    Some(receipt) if receipt.connection == self.number => {
                        send(&mut packets, &receipt.packet()).await?;
                    }
                    Some(_) => {}
                    None => return send(&mut packets, &Packet::Disconnect).await,
                },
                room = to_source.reserve(), if held.is_some() => {
                    silent = false;
                    // Nobody listens only when all is over.
                    if let (Ok(room), Some(came)) = (room, held.take()) {
                        room.send(came);
                    }
                }
                packet = packets.receive(), if held.is_none() => {
                    silent = false;
                    let packet = packet.map_err(|error| error.to_string())?;
                    held = self.take(packet, &mut packets).await?;
                }
                _ = ping.tick(), if self.connect.keep_alive > 0 => {
                    if silent && held.is_none() {
                        return Err(SILENT.to_owned());
                    }
                    silent = true;
                    send(&mut packets, &Packet::PingReq).await?;
                }
            }
        }
    }

    /// The message that a packet is, if it is one.
    async fn take(
        &mut self,
        packet: Packet,
        packets: &mut Packets,
    ) -> Result<Option<Came>, String> {
        match packet {
            Packet::Publish(message) => {
                let connection = self.number;
                return Ok(Some(Came {
                    message,
                    connection,
                }));
            }
            // Also of what was acknowledged by a connection or a process before.
            Packet::PubRel(release) => {
                let complete = PubComp::new(release.pkid);
                send(packets, &Packet::PubComp(complete)).await?;
            }
            Packet::SubAck(answer) => {
                if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                    return Err(format!("it refuses the topic {:?}", self.topic));
                }
                let what = format!("brings messages of {}", self.topic);
                self.contact.made(&what);
            }
            _ => {}
        }
        Ok(None)
    }
}

/// Waits until nobody can acknowledge any more; what is acknowledged meanwhile
/// belonged to a connection that is gone.
async fn closed(receipts: &mut mpsc::UnboundedReceiver<Receipt>) {
    while receipts.recv().await.is_some() {}
}

async fn send(packets: &mut Packets, packet: &Packet) -> Result<(), String> {
    match timeout(PATIENCE, packets.send(packet)).await {
        Ok(sent) => sent.map_err(|error| error.to_string()),
        Err(_) => Err(SILENT.to_owned()),
    }
}
