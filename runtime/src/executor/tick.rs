//! Runs a guest when the clock has struck.

use std::sync::Arc;
use std::time::Duration;

use super::event::wrong_kind;
use crate::call::{Call, CallError, Tick};
use crate::guest::Guest;

/// Wakes a guest.
///
/// # Errors
/// When the guest failed, or cannot be woken by the clock.
pub(crate) async fn take(
    guest: &Arc<Guest>,
    _call: Arc<dyn Call>,
    _tick: Tick,
    _timeout: Option<Duration>,
) -> Result<(), CallError> {
    Err(wrong_kind(guest, "tick"))
}
