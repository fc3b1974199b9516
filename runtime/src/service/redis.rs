//! Redis as guests use it: a connection for each handle, which goes back to the
//! component's shelf unless the guest changed its session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use catena_bindings::redis::v3::redis::{Error, RedisParameter, RedisResult};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo as _,
    RedisError, Value,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::dial::{DialError, Dialer};
use super::shelf::Shelf;

/// Commands whose answers do not come one for each command: a connection that
/// is shared by calls cannot tell them apart.
const REFUSED: [&str; 6] = [
    "SUBSCRIBE",
    "PSUBSCRIBE",
    "SSUBSCRIBE",
    "MONITOR",
    "SYNC",
    "PSYNC",
];

/// Commands after which a connection is not what it was.
const CHANGING: [&str; 13] = [
    "ASKING",
    "AUTH",
    "CLIENT",
    "DISCARD",
    "EXEC",
    "HELLO",
    "MULTI",
    "QUIT",
    "READONLY",
    "READWRITE",
    "RESET",
    "SELECT",
    "WATCH",
];

/// The Redis connections of a component.
pub(crate) struct Redis {
    dialer: Arc<Dialer>,
    shelf: Shelf<Idle>,
}

struct Idle {
    connection: MultiplexedConnection,
    /// What reads and writes; the connection is closed when it has ended.
    driver: JoinSet<()>,
    _place: OwnedSemaphorePermit,
}

/// One handle of a guest.
pub(crate) struct Session {
    home: Arc<Redis>,
    address: String,
    wire: Option<Idle>,
    connection: MultiplexedConnection,
    /// Whether nobody else may use the connection after this.
    spoiled: AtomicBool,
}

impl From<DialError> for Error {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Denied(_) => Self::InvalidAddress,
            DialError::TooMany => Self::TooManyConnections,
            DialError::Failed(text) => Self::Other(text),
        }
    }
}

impl Redis {
    pub(crate) fn new(dialer: Arc<Dialer>) -> Self {
        Self {
            dialer,
            shelf: Shelf::default(),
        }
    }

    /// A connection to the server at a URL.
    pub(crate) async fn open(self: &Arc<Self>, address: String) -> Result<Session, Error> {
        let url = url::Url::parse(&address).map_err(|_| Error::InvalidAddress)?;
        let info = address.as_str().into_connection_info();
        let info = info.map_err(|_| Error::InvalidAddress)?;
        let (host, port, tls) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (host.clone(), *port, false),
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                ..
            } => (host.clone(), *port, true),
            _ => return Err(Error::InvalidAddress),
        };
        self.dialer.allow(url.scheme(), &host, port)?;
        let shelved = self.shelf.take(&address, Idle::is_open);
        let wire = match shelved {
            Some(wire) => wire,
            None => {
                let place = self.dialer.place().await?;
                let connecting = async {
                    let stream = self.dialer.wire(&host, port, tls).await?;
                    let config = AsyncConnectionConfig::new()
                        .set_response_timeout(Some(self.dialer.answer()));
                    let made = MultiplexedConnection::new_with_config(
                        info.redis_settings(),
                        stream,
                        config,
                    );
                    made.await.map_err(|error| failure(&error))
                };
                let (connection, driving) = self.dialer.connecting(connecting).await?;
                let mut driver = JoinSet::new();
                driver.spawn(driving);
                Idle {
                    connection,
                    driver,
                    _place: place,
                }
            }
        };
        Ok(Session {
            home: Arc::clone(self),
            address,
            connection: wire.connection.clone(),
            wire: Some(wire),
            spoiled: AtomicBool::new(false),
        })
    }
}

impl Idle {
    fn is_open(&mut self) -> bool {
        self.driver.try_join_next().is_none()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(wire) = self.wire.take().filter(|_| !*self.spoiled.get_mut()) {
            self.home.shelf.put(&self.address, wire);
        }
    }
}

impl Session {
    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        // Whatever does not end well leaves the connection as nobody knows.
        let before = self.spoiled.swap(true, Ordering::SeqCst);
        let mut connection = self.connection.clone();
        let answer = command.query_async::<T>(&mut connection).await;
        let harmless = match &answer {
            Ok(_) => true,
            Err(error) => matches!(
                error.kind(),
                ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType
            ),
        };
        if harmless && !before {
            self.spoiled.store(false, Ordering::SeqCst);
        }
        answer.map_err(|error| failure(&error))
    }

    pub(crate) async fn publish(&self, channel: String, payload: Vec<u8>) -> Result<(), Error> {
        self.ask(redis::cmd("PUBLISH").arg(channel).arg(payload))
            .await
    }

    pub(crate) async fn get(&self, key: String) -> Result<Option<Vec<u8>>, Error> {
        self.ask(redis::cmd("GET").arg(key)).await
    }

    pub(crate) async fn set(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
        self.ask(redis::cmd("SET").arg(key).arg(value)).await
    }

    pub(crate) async fn incr(&self, key: String) -> Result<i64, Error> {
        let answer = self.ask(redis::cmd("INCR").arg(key)).await;
        answer.map_err(|error| match error {
            Error::Other(text) if text.contains("not an integer") => Error::TypeError,
            error => error,
        })
    }

    pub(crate) async fn del(&self, keys: Vec<String>) -> Result<u32, Error> {
        self.ask(redis::cmd("DEL").arg(keys)).await
    }

    pub(crate) async fn sadd(&self, key: String, values: Vec<String>) -> Result<u32, Error> {
        self.ask(redis::cmd("SADD").arg(key).arg(values)).await
    }

    pub(crate) async fn smembers(&self, key: String) -> Result<Vec<String>, Error> {
        self.ask(redis::cmd("SMEMBERS").arg(key)).await
    }

    pub(crate) async fn srem(&self, key: String, values: Vec<String>) -> Result<u32, Error> {
        self.ask(redis::cmd("SREM").arg(key).arg(values)).await
    }

    pub(crate) async fn execute(
        &self,
        command: String,
        arguments: Vec<RedisParameter>,
    ) -> Result<Vec<RedisResult>, Error> {
        let name = command.to_ascii_uppercase();
        if REFUSED.contains(&name.as_str()) {
            return Err(Error::Other(format!("{name} cannot be executed here")));
        }
        let mut asked = redis::cmd(&command);
        for argument in arguments {
            match argument {
                RedisParameter::Int64(number) => asked.arg(number),
                RedisParameter::Binary(bytes) => asked.arg(bytes),
            };
        }
        let answer = self.ask::<Value>(&asked).await?;
        if CHANGING.contains(&name.as_str()) {
            self.spoiled.store(true, Ordering::SeqCst);
        }
        let mut results = Vec::new();
        flatten(answer, &mut results)?;
        Ok(results)
    }
}

/// The interface knows no nesting: what is nested comes one after the other.
fn flatten(value: Value, results: &mut Vec<RedisResult>) -> Result<(), Error> {
    match value {
        Value::Nil => results.push(RedisResult::Nil),
        Value::Int(number) => results.push(RedisResult::Int64(number)),
        Value::Boolean(truth) => results.push(RedisResult::Int64(truth.into())),
        Value::BulkString(bytes) => results.push(RedisResult::Binary(bytes)),
        Value::SimpleString(text) => results.push(RedisResult::Status(text)),
        Value::Okay => results.push(RedisResult::Status("OK".to_owned())),
        Value::Double(number) => results.push(RedisResult::Binary(number.to_string().into())),
        Value::VerbatimString { text, .. } => results.push(RedisResult::Binary(text.into())),
        Value::Attribute { data, .. } => flatten(*data, results)?,
        Value::Array(all) | Value::Set(all) | Value::Push { data: all, .. } => {
            for one in all {
                flatten(one, results)?;
            }
        }
        Value::Map(pairs) => {
            for (key, value) in pairs {
                flatten(key, results)?;
                flatten(value, results)?;
            }
        }
        Value::ServerError(error) => return Err(failure(&RedisError::from(error))),
        _ => return Err(Error::Other("an answer of an unknown type".to_owned())),
    }
    Ok(())
}

fn failure(error: &RedisError) -> Error {
    let wrong = error.code() == Some("WRONGTYPE");
    if wrong || error.kind() == ErrorKind::UnexpectedReturnType {
        Error::TypeError
    } else {
        Error::Other(error.to_string())
    }
}
