//! Runs a guest for a message of a broker or a queue.

use std::sync::Arc;
use std::time::Duration;

use super::event::wrong_kind;
use crate::call::{Call, CallError, Message};
use crate::guest::Guest;

/// Gives a message to a guest. When this returns without an error, the guest
/// has taken it, and it can be acknowledged.
///
/// # Errors
/// When the guest failed, or cannot take such a message.
pub(crate) async fn take(
    guest: &Arc<Guest>,
    _call: Arc<dyn Call>,
    message: Message,
    _timeout: Option<Duration>,
) -> Result<(), CallError> {
    match message {
        Message::Redis { .. } => Err(wrong_kind(guest, "Redis message")),
        Message::Mqtt { .. } => Err(wrong_kind(guest, "MQTT message")),
        Message::Sqs(_) => Err(wrong_kind(guest, "SQS message")),
    }
}
