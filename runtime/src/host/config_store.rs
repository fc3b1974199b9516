//! `wasi:config/store`: the configuration of the component, as its lockfile
//! declares it.

use catena_bindings::config_store::store::{self, Error, Host};
use wasmtime::component::Linker;

use super::{State, View, Viewed};
use crate::service::ReadError;

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, Viewed>(linker, State::view)
}

impl Host for View<'_> {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, Error>> {
        Ok(match self.granted.variable(&key).await {
            Ok(value) => Ok(Some(value)),
            Err(ReadError::InvalidName(_) | ReadError::Undefined(_)) => Ok(None),
            Err(ReadError::Provider(problem)) => Err(Error::Upstream(problem)),
        })
    }

    async fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, Error>> {
        let mut all = Vec::new();
        for key in self.granted.config.keys() {
            match self.granted.variable(key).await {
                Ok(value) => all.push((key.clone(), value)),
                Err(error) => return Ok(Err(Error::Upstream(error.to_string()))),
            }
        }
        Ok(Ok(all))
    }
}
