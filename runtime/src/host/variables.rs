//! `fermyon:spin/config`, `fermyon:spin/variables` and `spin:variables`: the
//! configuration of the component, as its lockfile declares it.

use std::sync::Arc;

use catena_bindings::variables::{unversioned::config, v2, v3};
use wasmtime::component::{Accessor, Linker};

use super::{State, View, Viewed};
use crate::service::ReadError;

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    config::add_to_linker::<_, Viewed>(linker, State::view)?;
    v2::variables::add_to_linker::<_, Viewed>(linker, State::view)
}

/// What needs the engine for concurrent guests.
pub(super) fn add_concurrent_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    v3::variables::add_to_linker::<_, Viewed>(linker, State::view)
}

impl config::Host for View<'_> {
    async fn get_config(&mut self, key: String) -> wasmtime::Result<Result<String, config::Error>> {
        Ok(self.granted.variable(&key).await.map_err(|error| {
            let text = error.to_string();
            match error {
                ReadError::InvalidName(_) => config::Error::InvalidKey(text),
                ReadError::Undefined(_) | ReadError::Provider(_) => config::Error::Provider(text),
            }
        }))
    }
}

impl v2::variables::Host for View<'_> {
    async fn get(
        &mut self,
        name: String,
    ) -> wasmtime::Result<Result<String, v2::variables::Error>> {
        use v2::variables::Error;
        Ok(self.granted.variable(&name).await.map_err(|error| {
            let text = error.to_string();
            match error {
                ReadError::InvalidName(_) => Error::InvalidName(text),
                ReadError::Undefined(_) => Error::Undefined(text),
                ReadError::Provider(_) => Error::Provider(text),
            }
        }))
    }
}

impl v3::variables::Host for View<'_> {}

impl<T> v3::variables::HostWithStore<T> for Viewed {
    async fn get(
        accessor: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<String, v3::variables::Error>> {
        use v3::variables::Error;
        let granted = accessor.with(|mut view| Arc::clone(view.get().granted));
        Ok(granted.variable(&name).await.map_err(|error| {
            let text = error.to_string();
            match error {
                ReadError::InvalidName(_) => Error::InvalidName(text),
                ReadError::Undefined(_) => Error::Undefined(text),
                ReadError::Provider(_) => Error::Provider(text),
            }
        }))
    }
}
