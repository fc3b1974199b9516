//! `fermyon:spin/mqtt` 2.0.0 and `spin:mqtt/mqtt` 3.0.0.

use catena_bindings::mqtt::v2::mqtt as v2;
use catena_bindings::mqtt::v3::mqtt as v3;
use wasmtime::component::{Accessor, Linker, Resource};

use super::handles::{self, Handles};
use super::{State, View, Viewed};
use crate::engine::Concurrency;
use crate::service::mqtt::Session;

pub(super) fn add_to_linker(
    linker: &mut Linker<State>,
    concurrency: Concurrency,
) -> wasmtime::Result<()> {
    v2::add_to_linker::<_, Viewed>(linker, State::view)?;
    if concurrency == Concurrency::On {
        v3::add_to_linker::<_, Viewed>(linker, State::view)?;
    }
    Ok(())
}

impl v2::Host for View<'_> {}

impl v2::HostConnection for View<'_> {
    async fn open(
        &mut self,
        address: String,
        username: String,
        password: String,
        keep_alive: u64,
    ) -> wasmtime::Result<Result<Resource<v2::Connection>, v2::Error>> {
        let mqtt = self.granted.clients.mqtt();
        match mqtt.open(address, username, password, keep_alive).await {
            Ok(session) => Ok(Ok(self.keep(session)?)),
            Err(error) => Ok(Err(failure(error))),
        }
    }

    async fn publish(
        &mut self,
        it: Resource<v2::Connection>,
        topic: String,
        payload: Vec<u8>,
        qos: v2::Qos,
    ) -> wasmtime::Result<Result<(), v2::Error>> {
        let session = self.held::<Session, _>(&it)?;
        let qos = match qos {
            v2::Qos::AtMostOnce => v3::Qos::AtMostOnce,
            v2::Qos::AtLeastOnce => v3::Qos::AtLeastOnce,
            v2::Qos::ExactlyOnce => v3::Qos::ExactlyOnce,
        };
        Ok(session.publish(topic, payload, qos).await.map_err(failure))
    }

    async fn drop(&mut self, it: Resource<v2::Connection>) -> wasmtime::Result<()> {
        self.release::<Session, _>(&it)
    }
}

fn failure(error: v3::Error) -> v2::Error {
    match error {
        v3::Error::InvalidAddress => v2::Error::InvalidAddress,
        v3::Error::TooManyConnections => v2::Error::TooManyConnections,
        v3::Error::ConnectionFailed(text) => v2::Error::ConnectionFailed(text),
        v3::Error::Other(text) => v2::Error::Other(text),
    }
}

impl v3::Host for View<'_> {}

impl v3::HostConnection for View<'_> {
    fn drop(&mut self, it: Resource<v3::Connection>) -> wasmtime::Result<()> {
        self.release::<Session, _>(&it)
    }
}

impl<T: Send> v3::HostConnectionWithStore<T> for Viewed {
    async fn open(
        store: &Accessor<T, Self>,
        address: String,
        username: String,
        password: String,
        keep_alive: u64,
    ) -> wasmtime::Result<Result<Resource<v3::Connection>, v3::Error>> {
        let mqtt = handles::granted(store).clients.mqtt();
        match mqtt.open(address, username, password, keep_alive).await {
            Ok(session) => Ok(Ok(handles::keep(store, session)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn publish(
        store: &Accessor<T, Self>,
        it: Resource<v3::Connection>,
        topic: String,
        payload: Vec<u8>,
        qos: v3::Qos,
    ) -> wasmtime::Result<Result<(), v3::Error>> {
        let session = handles::held::<Session, _, _>(store, &it)?;
        Ok(session.publish(topic, payload, qos).await)
    }
}
