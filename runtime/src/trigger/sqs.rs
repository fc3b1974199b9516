//! Messages of an Amazon SQS queue.
//!
//! A message is deleted when its guest has taken it. Where the guest failed, or
//! said that it is to be left, the queue gives it to someone once more when its
//! visibility timeout is over. Nothing is fetched that could not be begun with.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Builder, Region, SharedHttpClient};
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{Message as Fetched, MessageSystemAttributeName};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use tokio_util::sync::CancellationToken;
use url::Url;

use self::credentials::{Who, endpoint};
use super::Wake;
use super::contact::Contact;
use super::work::Works;
use crate::app::SqsTrigger;
use crate::app::variables::Values;
use crate::call::{ComponentIndex, Event, Message, SqsAttribute, SqsMessage, SqsValue};
use crate::outbound::Trust;
use crate::service::dial::chain;

mod credentials;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// One trigger.
pub(super) struct Sqs {
    queue: String,
    max_messages: i32,
    idle: Duration,
    system_attributes: Vec<String>,
    message_attributes: Vec<String>,
    component: ComponentIndex,
    region: Region,
    endpoint: Option<String>,
    who: Who,
}

impl Sqs {
    /// `env` is the container's environment, which AWS's own names are read from.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn new(
        trigger: &SqsTrigger,
        component: ComponentIndex,
        values: &Values,
        env: &[(String, String)],
    ) -> Result<Self, String> {
        let get = |wanted: &str| {
            let found = env.iter().rev().find(|(name, _)| name == wanted);
            found
                .map(|(_, value)| value.clone())
                .filter(|value| !value.is_empty())
        };
        let queue = values.expand(&trigger.queue_url)?;
        let url = Url::parse(&queue)
            .map_err(|error| format!("the queue_url {queue:?} is no URL: {error}"))?;
        let host = url.host_str();
        let host = host.ok_or_else(|| format!("the queue_url {queue:?} names no host"))?;
        let region = get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION"));
        let region = region.or_else(|| region_of(host)).ok_or_else(|| {
            format!("the queue_url {queue:?} tells no region, so that AWS_REGION has to be set")
        })?;
        let endpoint = endpoint(&get, "AWS_ENDPOINT_URL_SQS")?;
        let who = Who::new(&get)?;
        Ok(Self {
            queue,
            max_messages: trigger.max_messages,
            idle: Duration::from_secs(trigger.idle_wait_seconds),
            system_attributes: trigger.system_attributes.clone(),
            message_attributes: trigger.message_attributes.clone(),
            component,
            region: Region::new(region),
            endpoint,
            who,
        })
    }

    pub(super) async fn run(self, wake: Wake, shutdown: CancellationToken) {
        let mut contact = Contact::new(format!("sqs queue {}", self.queue));
        let client = match self.client(&wake.trust) {
            Ok(client) => client,
            Err(error) => {
                tracing::error!("sqs queue {} cannot be asked: {error:#}", self.queue);
                return;
            }
        };
        let mut works = Works::new();
        let mut there = false;
        while !shutdown.is_cancelled() {
            if works.is_busy() {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    _ = works.next() => {}
                }
                continue;
            }
            let fetched = tokio::select! {
                () = shutdown.cancelled() => break,
                fetched = works.beside(self.fetch(&client)) => fetched,
            };
            let wait = match fetched {
                Err(error) => {
                    there = false;
                    contact.lost(&error)
                }
                Ok(messages) => {
                    if !there {
                        contact.made("is asked for messages");
                        there = true;
                    }
                    let wait = if messages.is_empty() {
                        self.idle
                    } else {
                        Duration::ZERO
                    };
                    for message in messages {
                        let (wake, client) = (wake.clone(), client.clone());
                        let job =
                            deliver(wake, client, self.queue.clone(), self.component, message);
                        // What is dropped comes again; there is room for far more.
                        let _ = works.offer(job);
                    }
                    wait
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = works.beside(tokio::time::sleep(wait)) => {}
            }
        }
        works.finish().await;
    }

    async fn fetch(&self, client: &Client) -> Result<Vec<Fetched>, String> {
        let mut request = client
            .receive_message()
            .queue_url(&self.queue)
            .max_number_of_messages(self.max_messages);
        for name in &self.system_attributes {
            let name = MessageSystemAttributeName::from(name.as_str());
            request = request.message_system_attribute_names(name);
        }
        for name in &self.message_attributes {
            request = request.message_attribute_names(name);
        }
        match request.send().await {
            Ok(answer) => Ok(answer.messages.unwrap_or_default()),
            Err(error) => Err(said(&error)),
        }
    }

    fn client(&self, trust: &Arc<Trust>) -> anyhow::Result<Client> {
        let http = http(trust)?;
        let who = self.who.provider(&self.region, &http, trust)?;
        let mut config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(self.region.clone())
            .credentials_provider(who)
            .timeout_config(timeouts())
            .http_client(http);
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Ok(Client::from_conf(config.build()))
    }
}

/// How long one attempt of a request may take.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ANSWER)
        .build()
}

/// What went wrong: in the service's own words where it answered.
fn said<E, R>(error: &SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    let told = error.as_service_error().map(ProvideErrorMetadata::meta);
    match told.and_then(|told| told.code().zip(told.message())) {
        Some((code, message)) => format!("{code}: {message}"),
        None => chain(error),
    }
}

/// The region that the name of one of Amazon's hosts tells.
fn region_of(host: &str) -> Option<String> {
    let rest = host.strip_prefix("sqs.")?;
    let (region, rest) = rest.split_once('.')?;
    rest.starts_with("amazonaws.com").then(|| region.to_owned())
}

fn http(trust: &Trust) -> anyhow::Result<SharedHttpClient> {
    let mut store = TrustStore::default();
    if let Some(pem) = trust.pem()? {
        store = TrustStore::empty().with_pem_certificate(pem);
    }
    let context = TlsContext::builder().with_trust_store(store).build()?;
    Ok(aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(context)
        .build_https())
}

/// Gives a message to the guest, and deletes it when that has taken it.
async fn deliver(
    wake: Wake,
    client: Client,
    queue: String,
    component: ComponentIndex,
    mut fetched: Fetched,
) {
    let receipt = fetched.receipt_handle.take();
    let message = Message::Sqs(Box::new(message(fetched)));
    // That a guest failed is logged already; the message comes again.
    if wake.wake(Event::Message(component, message)).await.is_err() {
        return;
    }
    let deleted = client.delete_message().queue_url(&queue);
    if let Err(error) = deleted.set_receipt_handle(receipt).send().await {
        let error = said(&error);
        tracing::warn!("sqs queue {queue}: a message is done but not deleted: {error}");
    }
}

fn message(fetched: Fetched) -> SqsMessage {
    let system = fetched.attributes.into_iter().flatten();
    let system = system.map(|(name, value)| SqsAttribute {
        name: name.as_str().to_owned(),
        data_type: None,
        value: SqsValue::Text(value),
    });
    let own = fetched.message_attributes.into_iter().flatten();
    let own = own.filter_map(|(name, value)| {
        let data_type = Some(value.data_type);
        let value = match (value.string_value, value.binary_value) {
            (Some(text), _) => SqsValue::Text(text),
            (None, Some(bytes)) => SqsValue::Binary(bytes.into_inner()),
            (None, None) => return None,
        };
        Some(SqsAttribute {
            name,
            data_type,
            value,
        })
    });
    SqsMessage {
        id: fetched.message_id,
        attributes: system.chain(own).collect(),
        body: fetched.body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amazons_hosts_tell_their_region() {
        let is = |host, region: &str| region_of(host).as_deref() == Some(region);
        assert!(is("sqs.eu-west-1.amazonaws.com", "eu-west-1"));
        assert!(is("sqs.cn-north-1.amazonaws.com.cn", "cn-north-1"));
        assert_eq!(region_of("127.0.0.1"), None);
    }
}
