//! Runs a guest that is a WASI command, once.

use std::sync::Arc;

use wasmtime_wasi::I32Exit;

use crate::body::Outcome;
use crate::call::{Call, CallError};
use crate::guest::{Exports, Guest};

/// Runs the command to its end and gives its exit code. A command that returns
/// an error without a code of its own exits with 1.
///
/// # Errors
/// When the guest traps or cannot be instantiated.
pub(crate) async fn run(guest: &Arc<Guest>, call: Arc<dyn Call>) -> Result<i32, CallError> {
    let _in_flight = guest.enter();
    let permit = guest.permit(0).await?;
    let outcome = Arc::new(Outcome::default());
    let args = [guest.id.clone()];
    let mut instance = guest.instance(permit, call, 0, Arc::clone(&outcome), &args)?;
    let store = &mut instance.store;
    let _guard = outcome.guard();
    let unavailable = |error: wasmtime::Error| guest.unavailable(format!("{error:#}"));
    let result = match &guest.exports {
        Exports::Command2(pre) => {
            let command = pre
                .instantiate_async(&mut *store)
                .await
                .map_err(unavailable)?;
            command.wasi_cli_run().call_run(&mut *store).await
        }
        Exports::Command3(pre) => {
            let command = pre
                .instantiate_async(&mut *store)
                .await
                .map_err(unavailable)?;
            store
                .run_concurrent(async |accessor| command.wasi_cli_run().call_run(accessor).await)
                .await
                .flatten()
        }
        Exports::Http2(_) | Exports::Http3(_) => {
            return Err(CallError::WrongKind {
                component: guest.id.clone(),
                event: "command",
            });
        }
    };
    outcome.finish();
    match result {
        Ok(Ok(())) => Ok(0),
        Ok(Err(())) => Ok(1),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(code)) => Ok(*code),
            None => Err(CallError::Guest {
                component: guest.id.clone(),
                reason: format!("{error:?}"),
            }),
        },
    }
}
