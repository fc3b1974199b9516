//! Credentials from an agent on the node: that of EKS's pod identity, or that of
//! ECS. It is asked by HTTP, and answers with JSON.

use std::fmt::{self, Debug, Formatter};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::provider::{self, ProvideCredentials, future};
use aws_sdk_sqs::config::Credentials;
use bytes::Bytes;
use chrono::DateTime;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::task::JoinSet;
use url::{Host, Url};

use super::failed;
use crate::outbound::Trust;
use crate::trigger::place::Place;

/// Where ECS's agent is.
const ECS: &str = "http://169.254.170.2";

/// Where agents are that need no TLS, beside loopback addresses.
const AGENTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];

const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest answer, in bytes.
const LONGEST: usize = 64 << 10;

/// An agent, and what shows it who asks.
#[derive(Clone)]
pub(in crate::trigger::sqs) struct Agent {
    url: Url,
    token: Token,
}

#[derive(Clone)]
enum Token {
    None,
    Text(String),
    /// Read anew each time, since a kubelet replaces it.
    File(PathBuf),
}

/// What an agent answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

impl Agent {
    /// The agent that the container's environment names, if it does.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn new(get: &impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let (name, address) = match (get(RELATIVE), get(FULL)) {
            (Some(path), _) if path.starts_with('/') => (RELATIVE, format!("{ECS}{path}")),
            (Some(path), _) => {
                return Err(format!("{RELATIVE} is {path:?}, but begins with a slash"));
            }
            (None, Some(address)) => (FULL, address),
            (None, None) => return Ok(None),
        };
        let url = Url::parse(&address)
            .map_err(|error| format!("{name} is {address:?}, which is no URL: {error}"))?;
        if !is_fit(&url) {
            return Err(format!(
                "{name} is {address:?}, but has to be an address of https, or of this machine, \
                 or of an agent: {}",
                AGENTS.join(", ")
            ));
        }
        let token = match (get(TOKEN_FILE), get(TOKEN)) {
            (Some(file), _) => Token::File(file.into()),
            (None, Some(text)) => Token::Text(text),
            (None, None) => Token::None,
        };
        Ok(Some(Self { url, token }))
    }

    /// Asks it when credentials are needed.
    pub(super) fn trusting(&self, trust: &Arc<Trust>) -> Asked {
        Asked {
            agent: self.clone(),
            trust: Arc::clone(trust),
        }
    }

    async fn ask(&self, trust: &Trust) -> Result<Credentials, String> {
        let (tls, port) = match self.url.scheme() {
            "https" => (true, 443),
            _ => (false, 80),
        };
        let place = Place::new(&self.url, port, tls)?;
        let path = &self.url[url::Position::BeforePath..url::Position::AfterQuery];
        let mut request = Request::get(path).header(HOST, place.to_string());
        if let Some(token) = self.token().await? {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Empty::<Bytes>::new());
        let request = request.map_err(|error| error.to_string())?;
        let wire = TokioIo::new(place.connect(trust).await?);
        let (mut sender, connection) = http1::handshake(wire)
            .await
            .map_err(|error| error.to_string())?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        if status != StatusCode::OK {
            return Err(format!("it answers {status}"));
        }
        let found: Answer = serde_json::from_slice(&body)
            .map_err(|error| format!("what it answers are no credentials: {error}"))?;
        let end = found
            .expiration
            .map(|end| DateTime::parse_from_rfc3339(&end));
        let end = end.transpose();
        let end = end.map_err(|error| format!("its Expiration is no time: {error}"))?;
        Ok(Credentials::new(
            found.access_key_id,
            found.secret_access_key,
            found.token,
            end.map(Into::into),
            "agent",
        ))
    }

    async fn token(&self) -> Result<Option<HeaderValue>, String> {
        let (name, text) = match &self.token {
            Token::None => return Ok(None),
            Token::Text(text) => (TOKEN, text.clone()),
            Token::File(file) => {
                let text = tokio::fs::read_to_string(file).await;
                let text = text.map_err(|error| {
                    format!("reading {TOKEN_FILE}, {}: {error}", file.display())
                })?;
                (TOKEN_FILE, text)
            }
        };
        let value = HeaderValue::from_str(text.trim());
        let mut value = value.map_err(|_| format!("what {name} gives is no header"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// Whether a token may be shown there.
fn is_fit(url: &Url) -> bool {
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(Host::Ipv4(address))) if address.is_loopback() => true,
        ("http", Some(Host::Ipv6(address))) if address.is_loopback() => true,
        ("http", Some(_)) => url
            .host_str()
            .is_some_and(|host| host == "localhost" || AGENTS.contains(&host)),
        _ => false,
    }
}

/// Gives what an agent answers.
pub(super) struct Asked {
    agent: Agent,
    trust: Arc<Trust>,
}

impl Debug for Asked {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "agent at {}", self.agent.url)
    }
}

impl Asked {
    async fn ask(&self) -> provider::Result {
        let asking = self.agent.ask(&self.trust);
        let answer = tokio::time::timeout(PATIENCE, asking).await;
        let answer = answer.unwrap_or_else(|_| Err("it does not answer".to_owned()));
        let url = &self.agent.url;
        answer.map_err(|problem| {
            failed(format!(
                "the agent at {url} gives no credentials: {problem}"
            ))
        })
    }
}

impl ProvideCredentials for Asked {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.ask())
    }
}
