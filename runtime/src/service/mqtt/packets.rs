//! MQTT packets over a connection, with or without TLS: what the messages that
//! guests publish and the mqtt trigger have in common.

use std::io;

use bytes::BytesMut;
use futures_util::FutureExt as _;
use rumqttc::{Connect, ConnectReturnCode, Packet, mqttbytes::Error as Malformed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::service::dial::Wire;

/// The largest packet.
const MAX_PACKET: usize = 16 << 20;

/// A connection with a broker.
pub(crate) struct Packets {
    wire: Box<dyn Wire>,
    /// What has come and was not taken.
    read: BytesMut,
}

/// Why a connection with a broker is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PacketError {
    /// The network failed.
    #[error("{0}")]
    Lost(#[from] io::Error),
    /// The broker ended it.
    #[error("the broker closed the connection")]
    Closed,
    /// The broker does not take this client.
    #[error("the broker refuses {}", refused(*.0))]
    Refused(ConnectReturnCode),
    /// Something came that does not belong there.
    #[error("the broker answered out of turn")]
    OutOfTurn,
    /// Something is no packet, or too large a one.
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

impl Packets {
    pub(crate) fn new(wire: Box<dyn Wire>) -> Self {
        Self {
            wire,
            read: BytesMut::new(),
        }
    }

    /// Begins: says who the client is, and waits until the broker takes it.
    pub(crate) async fn greet(&mut self, connect: Connect) -> Result<(), PacketError> {
        self.send(&Packet::Connect(connect)).await?;
        match self.receive().await? {
            Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => Ok(()),
            Packet::ConnAck(answer) => Err(PacketError::Refused(answer.code)),
            _ => Err(PacketError::OutOfTurn),
        }
    }

    /// Sends a packet. The connection is of no use when the future was dropped.
    pub(crate) async fn send(&mut self, packet: &Packet) -> Result<(), PacketError> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, MAX_PACKET)?;
        self.wire.write_all(&bytes).await?;
        Ok(self.wire.flush().await?)
    }

    /// The next packet that comes. Nothing is lost when the future is dropped.
    pub(crate) async fn receive(&mut self) -> Result<Packet, PacketError> {
        loop {
            match Packet::read(&mut self.read, MAX_PACKET) {
                Ok(packet) => return Ok(packet),
                Err(Malformed::InsufficientBytes(_)) => {}
                Err(error) => return Err(error.into()),
            }
            if self.wire.read_buf(&mut self.read).await? == 0 {
                return Err(PacketError::Closed);
            }
        }
    }

    /// Whether nothing has come, not even the end.
    pub(crate) fn is_silent(&mut self) -> bool {
        let said = self.wire.read_buf(&mut self.read).now_or_never();
        said.is_none() && self.read.is_empty()
    }
}

/// What a broker does not take, by its answer.
fn refused(code: ConnectReturnCode) -> &'static str {
    match code {
        ConnectReturnCode::RefusedProtocolVersion => "MQTT 3.1.1",
        ConnectReturnCode::BadClientId => "the client's name",
        ConnectReturnCode::BadUserNamePassword => "the user name or the password",
        ConnectReturnCode::NotAuthorized => {
            "the user: user name or password are wrong or missing, or the user may not connect"
        }
        ConnectReturnCode::ServiceUnavailable => "everybody: it is not ready",
        ConnectReturnCode::Success => "nothing",
    }
}
