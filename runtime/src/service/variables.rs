//! The values of the application's variables: all of them at start, for
//! templates; and again when a component reads one that may have changed.
//!
//! Only what Vault gives can change. It is asked when a component reads it, and
//! its answer counts for [`FRESH`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use super::exchange::{Limits, exchange};
use crate::app::variables::{self, Values, Variables};
use crate::config::{Secret, Source, Sources};
use crate::outbound::Client;

/// How long an answer of Vault counts.
const FRESH: Duration = Duration::from_secs(5);

/// What one question to Vault may take.
const LIMITS: Limits = Limits {
    time: Duration::from_secs(10),
    length: 1 << 20,
};

/// Knows the values of an application's variables.
pub(crate) struct Resolver {
    declared: Variables,
    sources: Vec<Source>,
    client: Arc<Client>,
    /// What Vault said: by the place of the source, and the variable.
    heard: Mutex<HashMap<(usize, String), Heard>>,
}

struct Heard {
    at: Instant,
    value: Option<String>,
}

/// Why a component's variable has no value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// No variable can have the name.
    #[error("the variable's name {0}")]
    InvalidName(&'static str),
    /// The component declares no such variable.
    #[error("the component has no variable {0:?}")]
    Undefined(String),
    /// Who knows the value did not tell.
    #[error("{0}")]
    Provider(String),
}

impl Resolver {
    pub(crate) fn new(declared: Variables, sources: Sources, client: Arc<Client>) -> Self {
        Self {
            declared,
            sources: sources.into_inner(),
            client,
            heard: Mutex::default(),
        }
    }

    /// The values of all variables.
    ///
    /// # Errors
    /// One sentence for all variables without a value, or one for each that
    /// nobody could be asked for.
    pub(crate) async fn all(&self) -> Result<Values, Vec<String>> {
        let asked = self.declared.keys().map(|name| self.provided(name));
        let answers = futures_util::future::join_all(asked).await;
        let mut provided = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, answer) in self.declared.keys().zip(answers) {
            match answer {
                Ok(Some(value)) => drop(provided.insert(name.clone(), value)),
                Ok(None) => {}
                Err(problem) => problems.push(format!("the variable {name:?}: {problem}")),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        variables::resolve(&self.declared, &provided).map_err(|refusal| vec![refusal.to_string()])
    }

    /// A template's text. `start` are the values at start.
    pub(crate) async fn expand(&self, template: &str, start: &Values) -> Result<String, ReadError> {
        let mut newer = BTreeMap::new();
        if self.may_change() {
            for name in variables::mentioned(template) {
                let value = self.provided(name).await.map_err(ReadError::Provider)?;
                let default = || self.declared.get(name)?.default.clone();
                if let Some(value) = value.or_else(default) {
                    newer.insert(name.to_owned(), value);
                }
            }
        }
        let values = start.with(newer);
        values.expand(template).map_err(ReadError::Provider)
    }

    fn may_change(&self) -> bool {
        let changes = |source: &Source| matches!(source, Source::Vault { .. });
        self.sources.iter().any(changes)
    }

    /// The value that the first source has which has one.
    async fn provided(&self, name: &str) -> Result<Option<String>, String> {
        for (place, source) in self.sources.iter().enumerate() {
            let value = match source {
                Source::Known(values) => values.get(name).cloned(),
                Source::Vault {
                    url,
                    token,
                    mount,
                    prefix,
                } => {
                    let key = (place, name.to_owned());
                    match self.heard(&key) {
                        Some(value) => value,
                        None => {
                            let url = secret_url(url, mount, prefix.as_deref(), name)?;
                            let value = self.ask(&url, token).await?;
                            self.hear(key, value.clone());
                            value
                        }
                    }
                }
            };
            if value.is_some() {
                return Ok(value);
            }
        }
        Ok(None)
    }

    fn heard(&self, key: &(usize, String)) -> Option<Option<String>> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = heard.get(key)?;
        (heard.at.elapsed() < FRESH).then(|| heard.value.clone())
    }

    /// Only declared variables are asked for, so this stays small.
    fn hear(&self, key: (usize, String), value: Option<String>) {
        let at = Instant::now();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.insert(key, Heard { at, value });
    }

    async fn ask(&self, url: &Url, token: &Secret) -> Result<Option<String>, String> {
        let mut secret = HeaderValue::from_str(token.expose())
            .map_err(|_| "the token for Vault is no header's value".to_owned())?;
        secret.set_sensitive(true);
        let request = Request::get(url.as_str())
            .header("x-vault-token", secret)
            .header("x-vault-request", "true")
            .body(Bytes::new())
            .map_err(|error| format!("asking Vault: {error}"))?;
        let (status, body) = exchange(&self.client, request, LIMITS).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => {
                let found: Found = serde_json::from_slice(&body)
                    .map_err(|_| format!("Vault has no text under \"value\" at {}", url.path()))?;
                Ok(Some(found.data.data.value))
            }
            status => Err(format!("Vault answered with {status} at {}", url.path())),
        }
    }
}

/// An answer of the KV engine, version 2.
#[derive(Deserialize)]
struct Found {
    data: Version,
}

#[derive(Deserialize)]
struct Version {
    data: Pair,
}

#[derive(Deserialize)]
struct Pair {
    value: String,
}

fn secret_url(url: &str, mount: &str, prefix: Option<&str>, name: &str) -> Result<Url, String> {
    let mut url = Url::parse(url).map_err(|error| format!("Vault's URL: {error}"))?;
    {
        let mut path = url
            .path_segments_mut()
            .map_err(|()| "Vault's URL can have no path".to_owned())?;
        let parts = |text: &str| -> Vec<String> {
            let parts = text.split('/').filter(|part| !part.is_empty());
            parts.map(ToOwned::to_owned).collect()
        };
        path.pop_if_empty().push("v1");
        path.extend(parts(mount)).push("data");
        path.extend(parts(prefix.unwrap_or_default())).push(name);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_vault_keeps_a_secret() {
        let url = |base, prefix| {
            secret_url(base, "secret", prefix, "a_b")
                .unwrap()
                .to_string()
        };
        assert_eq!(
            url("http://v:8200", None),
            "http://v:8200/v1/secret/data/a_b"
        );
        assert_eq!(
            url("http://v/base/", Some("my/app/")),
            "http://v/base/v1/secret/data/my/app/a_b"
        );
    }
}
