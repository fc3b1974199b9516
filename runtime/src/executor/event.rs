//! Runs a guest for an event that has no answer: a fresh instance, one call of
//! an export, to its end.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::call::{Call, CallError};
use crate::guest::{Guest, Instance};
use crate::life::{Driver, Life};

/// The call of an export; an error is a trap, or the guest's own word that it
/// failed.
pub(super) type Calling<'a> = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send + 'a>>;

/// Makes an instance and has `run` call its export. Requests of the guest are
/// driven beside it. Dropping the future cancels the guest.
///
/// # Errors
/// When there is no instance to be had, when the guest fails, and when it takes
/// longer than `timeout`.
pub(super) async fn run<R>(
    guest: &Arc<Guest>,
    call: Arc<dyn Call>,
    timeout: Option<Duration>,
    run: R,
) -> Result<(), CallError>
where
    R: for<'a> FnOnce(&'a Guest, &'a mut Instance) -> Calling<'a> + Send + 'static,
{
    let life = Arc::new(Life::default());
    let work = {
        let (guest, life) = (Arc::clone(guest), Arc::clone(&life));
        Box::pin(async move {
            let _in_flight = guest.enter();
            let permit = guest.permit(0).await?;
            let mut instance = guest.instance(permit, call, 0, Arc::clone(&life), None)?;
            let _guard = life.guard();
            let called = run(&guest, &mut instance).await;
            called.map_err(|error| CallError::Guest {
                component: guest.id.clone(),
                reason: format!("{error:?}"),
            })?;
            life.finish();
            Ok(())
        })
    };
    let driver = Driver::new(work, life);
    match timeout {
        None => driver.await,
        Some(limit) => tokio::time::timeout(limit, driver)
            .await
            .unwrap_or_else(|_| {
                Err(CallError::Timeout {
                    component: guest.id.clone(),
                    seconds: limit.as_secs_f64(),
                })
            }),
    }
}

/// What a guest said of an event; that it failed is an error like a trap.
pub(super) fn taken<E: std::fmt::Debug>(said: Result<(), E>) -> wasmtime::Result<()> {
    said.map_err(|error| wasmtime::Error::msg(format!("it returned the error {error:?}")))
}

/// The error of a guest that cannot take this kind of event.
pub(super) fn wrong_kind(event: &'static str) -> wasmtime::Error {
    wasmtime::Error::msg(format!("it does not export what a {event} needs"))
}
