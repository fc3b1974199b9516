//! Stores on a Redis server. Keys are there as guests write them, so that two
//! labels with one URL are one store, as they are for Spin.
//!
//! One connection serves all guests. A lost one is made anew behind the scenes;
//! calls fail meanwhile, none waits for long.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{
    Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue,
    IntoConnectionInfo as _, RedisError, TlsCertificates, cmd,
};
use tokio::sync::OnceCell;

use super::{Error, MAX_ANSWER, Page};
use crate::config::Secret;
use crate::outbound::Trust;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the server may take to answer.
const RESPONSE: Duration = Duration::from_secs(10);

/// Sets a key to its third argument if it is missing (first argument 0) or has
/// its second argument as value.
const SWAP: &str = "
local now = redis.call('GET', KEYS[1])
if ARGV[1] == '0' then
  if now then return 0 end
elseif now ~= ARGV[2] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[3])
return 1
";

pub(crate) struct Redis {
    label: String,
    info: ConnectionInfo,
    trust: Arc<Trust>,
    connection: OnceCell<ConnectionManager>,
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        Self::Other(format!("Redis: {error}"))
    }
}

impl Redis {
    /// Reads the URL; connects later.
    pub(super) fn new(label: &str, url: &Secret, trust: &Arc<Trust>) -> Result<Self, String> {
        let info = url.expose().into_connection_info();
        let info = info.map_err(|error| format!("url: {error}"))?;
        if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
            return Err(
                "url: #insecure asks for TLS with whoever answers: leave it out, and name the \
                 authority to trust in SSL_CERT_FILE"
                    .to_owned(),
            );
        }
        Ok(Self {
            label: label.to_owned(),
            info,
            trust: Arc::clone(trust),
            connection: OnceCell::new(),
        })
    }

    /// By TLS, the server has to show a certificate that the container trusts.
    fn client(&self) -> Result<Client, RedisError> {
        if !matches!(self.info.addr(), ConnectionAddr::TcpTls { .. }) {
            return Client::open(self.info.clone());
        }
        let trusted = self.trust.authorities_as_pem().map_err(|error| {
            let what = "the certificate authorities";
            RedisError::from((ErrorKind::InvalidClientConfig, what, format!("{error:#}")))
        })?;
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: Some(trusted),
        };
        Client::build_with_tls(self.info.clone(), certificates)
    }

    pub(super) async fn open(&self) -> Result<(), Error> {
        self.connection().await.map(drop)
    }

    async fn connection(&self) -> Result<ConnectionManager, Error> {
        let connect = async || {
            let config = ConnectionManagerConfig::new()
                .set_number_of_retries(1)
                .set_connection_timeout(Some(CONNECT))
                .set_response_timeout(Some(RESPONSE));
            let connection = match self.client() {
                Ok(client) => ConnectionManager::new_with_config(client, config).await,
                Err(error) => Err(error),
            };
            connection.map_err(|error| {
                let label = &self.label;
                tracing::error!("the key-value store {label:?} cannot be reached: {error}");
                Error::from(error)
            })
        };
        self.connection.get_or_try_init(connect).await.cloned()
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        let mut connection = self.connection().await?;
        Ok(command.query_async(&mut connection).await?)
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.ask(cmd("GET").arg(key)).await
    }

    pub(super) async fn exists(&self, key: &str) -> Result<bool, Error> {
        self.ask(cmd("EXISTS").arg(key)).await
    }

    /// About `limit` keys. The server may give a key twice when its table grows
    /// meanwhile; within a page it is there once. A key that is no text, which
    /// no guest could name, is left out.
    pub(super) async fn page(&self, cursor: Option<String>, limit: usize) -> Result<Page, Error> {
        let mut cursor = cursor.unwrap_or_else(|| "0".to_owned());
        let mut keys = Vec::new();
        let mut bytes = 0;
        loop {
            let scan = cmd("SCAN").arg(&cursor).arg("COUNT").arg(1000).to_owned();
            let (next, found): (String, Vec<Vec<u8>>) = self.ask(&scan).await?;
            let found = found.into_iter().map(String::from_utf8);
            keys.extend(
                found
                    .filter_map(Result::ok)
                    .inspect(|key| bytes += key.len()),
            );
            cursor = next;
            if cursor == "0" || keys.len() >= limit || bytes > MAX_ANSWER {
                break;
            }
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(Page {
            keys,
            cursor: (cursor != "0").then_some(cursor),
        })
    }

    pub(super) async fn get_many(
        &self,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        // How much it would be is asked before it is fetched.
        let mut lengths = redis::pipe();
        for key in &keys {
            lengths.cmd("STRLEN").arg(key);
        }
        let mut connection = self.connection().await?;
        let lengths: Vec<usize> = lengths.query_async(&mut connection).await?;
        let bytes = lengths.into_iter().fold(0, usize::saturating_add);
        if bytes > MAX_ANSWER {
            return Err(super::too_large("the answer", MAX_ANSWER));
        }
        let values: Vec<Option<Vec<u8>>> = self.ask(cmd("MGET").arg(&keys)).await?;
        Ok(keys.into_iter().zip(values).collect())
    }

    pub(super) async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        if pairs.is_empty() {
            return Ok(());
        }
        let mut command = cmd("MSET");
        for (key, value) in pairs {
            command.arg(key).arg(value);
        }
        self.ask(&command).await
    }

    pub(super) async fn delete_many(&self, keys: Vec<String>) -> Result<(), Error> {
        if keys.is_empty() {
            return Ok(());
        }
        self.ask(cmd("DEL").arg(keys)).await
    }

    pub(super) async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        self.ask(cmd("INCRBY").arg(key).arg(delta)).await
    }

    pub(super) async fn swap(
        &self,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, Error> {
        let mut command = cmd("EVAL");
        command.arg(SWAP).arg(1).arg(key);
        command.arg(u8::from(expected.is_some()));
        command.arg(expected.unwrap_or_default()).arg(value);
        self.ask(&command).await
    }
}
