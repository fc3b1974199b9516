//! Runs a guest when the clock has struck.

use std::sync::Arc;
use std::time::Duration;

use catena_bindings::inbound::cron::Metadata;

use super::event;
use crate::call::{Call, CallError, Tick};
use crate::guest::Guest;

/// Wakes a guest.
///
/// # Errors
/// When the guest failed, or cannot be woken by the clock.
pub(crate) async fn take(
    guest: &Arc<Guest>,
    call: Arc<dyn Call>,
    tick: Tick,
    timeout: Option<Duration>,
) -> Result<(), CallError> {
    event::run(guest, call, timeout, move |guest, instance| {
        Box::pin(async move {
            let Some(pre) = &guest.exports.cron else {
                return Err(event::wrong_kind("tick"));
            };
            let store = &mut instance.store;
            let one = pre.instantiate_async(&mut *store).await?;
            let metadata = Metadata {
                timestamp: tick.timestamp,
            };
            event::taken(one.call_handle_cron_event(store, metadata).await?)
        })
    })
    .await
}
