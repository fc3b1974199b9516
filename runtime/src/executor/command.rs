//! Runs a guest that is a WASI command, once.

use std::sync::Arc;

use tokio::sync::oneshot;
use wasmtime_wasi::I32Exit;

use crate::call::{Call, CallError, CommandLine};
use crate::guest::{CommandExport, Guest, Instance};
use crate::life::{Driver, Life};

/// Runs the command to its end and gives its exit code. A command that returns
/// an error without a code of its own exits with 1.
///
/// # Errors
/// When the guest traps or cannot be instantiated.
pub(crate) async fn run(
    guest: &Arc<Guest>,
    call: Arc<dyn Call>,
    line: CommandLine,
) -> Result<i32, CallError> {
    let life = Arc::new(Life::default());
    let (exit, code) = oneshot::channel();
    let work = {
        let (guest, life) = (Arc::clone(guest), Arc::clone(&life));
        Box::pin(async move {
            let code = to_end(&guest, call, &life, line).await?;
            // The receiver below outlives the driver.
            let _ = exit.send(code);
            Ok(())
        })
    };
    Driver::new(work, life).await?;
    code.await.map_err(|_| CallError::Guest {
        component: guest.id.clone(),
        reason: "it ended without an exit code".to_owned(),
    })
}

async fn to_end(
    guest: &Guest,
    call: Arc<dyn Call>,
    life: &Arc<Life>,
    mut line: CommandLine,
) -> Result<i32, CallError> {
    let _in_flight = guest.enter();
    let permit = guest.permit(0).await?;
    if line.args.is_empty() {
        line.args.push(guest.id.clone());
    }
    let mut instance = guest.instance(permit, call, 0, Arc::clone(life), Some(&line))?;
    execute(guest, &mut instance, life).await
}

/// Runs the command that an instance was made for, and gives its exit code.
///
/// # Errors
/// When the guest traps, cannot be instantiated, or is no command.
pub(super) async fn execute(
    guest: &Guest,
    instance: &mut Instance,
    life: &Arc<Life>,
) -> Result<i32, CallError> {
    let store = &mut instance.store;
    let _guard = life.guard();
    let unavailable = |error: wasmtime::Error| guest.unavailable(format!("{error:#}"));
    let result = match &guest.exports.command {
        Some(CommandExport::Second(pre)) => {
            let command = pre
                .instantiate_async(&mut *store)
                .await
                .map_err(unavailable)?;
            command.wasi_cli_run().call_run(&mut *store).await
        }
        Some(CommandExport::Third(pre)) => {
            let command = pre
                .instantiate_async(&mut *store)
                .await
                .map_err(unavailable)?;
            store
                .run_concurrent(async |accessor| command.wasi_cli_run().call_run(accessor).await)
                .await
                .flatten()
        }
        None => {
            return Err(CallError::WrongKind {
                component: guest.id.clone(),
                event: "command",
            });
        }
    };
    match result {
        Ok(result) => {
            life.finish();
            Ok(i32::from(result.is_err()))
        }
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(code)) => {
                life.finish();
                Ok(*code)
            }
            None => Err(CallError::Guest {
                component: guest.id.clone(),
                reason: format!("{error:?}"),
            }),
        },
    }
}
