//! Runs a guest for a message of a broker or a queue.

use std::sync::Arc;
use std::time::Duration;

use catena_bindings::inbound::mqtt::Metadata;
use catena_bindings::inbound::sqs::MessageAction;
use catena_bindings::inbound::sqs::spin::sqs::sqs_types::{
    Message as QueueMessage, MessageAttribute, MessageAttributeValue,
};

use super::event;
use crate::call::{Call, CallError, Message, SqsMessage, SqsValue};
use crate::guest::{Guest, RedisExport};

/// Gives a message to a guest. When this returns without an error, the guest
/// has taken it, and it can be acknowledged.
///
/// # Errors
/// When the guest failed, cannot take such a message, or wants it left where it
/// was.
pub(crate) async fn take(
    guest: &Arc<Guest>,
    call: Arc<dyn Call>,
    message: Message,
    timeout: Option<Duration>,
) -> Result<(), CallError> {
    match message {
        Message::Redis { payload } => redis(guest, call, payload, timeout).await,
        Message::Mqtt { payload, topic } => mqtt(guest, call, payload, topic, timeout).await,
        Message::Sqs(message) => sqs(guest, call, *message, timeout).await,
    }
}

async fn redis(
    guest: &Arc<Guest>,
    call: Arc<dyn Call>,
    payload: Vec<u8>,
    timeout: Option<Duration>,
) -> Result<(), CallError> {
    event::run(guest, call, timeout, move |guest, instance| {
        Box::pin(async move {
            let store = &mut instance.store;
            match &guest.exports.redis {
                Some(RedisExport::Fermyon(pre)) => {
                    let one = pre.instantiate_async(&mut *store).await?;
                    let handler = one.fermyon_spin_inbound_redis();
                    let taken = handler.call_handle_message(store, &payload).await?;
                    event::taken(taken)
                }
                Some(RedisExport::Third(pre)) => {
                    let one = pre.instantiate_async(&mut *store).await?;
                    let handler = one.spin_redis_inbound_redis();
                    let taken = handler.call_handle_message(store, &payload).await?;
                    event::taken(taken)
                }
                None => Err(event::wrong_kind("Redis message")),
            }
        })
    })
    .await
}

async fn mqtt(
    guest: &Arc<Guest>,
    call: Arc<dyn Call>,
    payload: Vec<u8>,
    topic: String,
    timeout: Option<Duration>,
) -> Result<(), CallError> {
    event::run(guest, call, timeout, move |guest, instance| {
        Box::pin(async move {
            let Some(pre) = &guest.exports.mqtt else {
                return Err(event::wrong_kind("MQTT message"));
            };
            let store = &mut instance.store;
            let one = pre.instantiate_async(&mut *store).await?;
            let metadata = Metadata { topic };
            let taken = one.call_handle_message(store, &payload, &metadata).await?;
            event::taken(taken)
        })
    })
    .await
}

async fn sqs(
    guest: &Arc<Guest>,
    call: Arc<dyn Call>,
    message: SqsMessage,
    timeout: Option<Duration>,
) -> Result<(), CallError> {
    event::run(guest, call, timeout, move |guest, instance| {
        Box::pin(async move {
            let Some(pre) = &guest.exports.sqs else {
                return Err(event::wrong_kind("SQS message"));
            };
            let store = &mut instance.store;
            let one = pre.instantiate_async(&mut *store).await?;
            let message = queue_message(message);
            match one.call_handle_queue_message(store, &message).await? {
                Ok(MessageAction::Delete) => Ok(()),
                Ok(MessageAction::Leave) => {
                    Err(wasmtime::Error::msg("it leaves the message in the queue"))
                }
                Err(error) => event::taken(Err(error)),
            }
        })
    })
    .await
}

fn queue_message(message: SqsMessage) -> QueueMessage {
    let attributes = message.attributes.into_iter().map(|attribute| {
        let value = match attribute.value {
            SqsValue::Text(text) => MessageAttributeValue::Str(text),
            SqsValue::Binary(bytes) => MessageAttributeValue::Binary(bytes),
        };
        MessageAttribute {
            name: attribute.name,
            data_type: attribute.data_type,
            value,
        }
    });
    QueueMessage {
        id: message.id,
        message_attributes: attributes.collect(),
        body: message.body,
    }
}
