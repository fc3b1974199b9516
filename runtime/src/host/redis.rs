//! `fermyon:spin/redis`, unversioned and 2.0.0, and `spin:redis/redis` 3.0.0.

use catena_bindings::redis::{v0, v2, v3};
use wasmtime::component::{Accessor, Linker, Resource};

use super::handles::{self, Handles};
use super::{State, View, Viewed};
use crate::engine::Concurrency;
use crate::service::redis::Session;

pub(super) fn add_to_linker(
    linker: &mut Linker<State>,
    concurrency: Concurrency,
) -> wasmtime::Result<()> {
    v0::redis_types::add_to_linker::<_, Viewed>(linker, State::view)?;
    v0::redis::add_to_linker::<_, Viewed>(linker, State::view)?;
    v2::redis::add_to_linker::<_, Viewed>(linker, State::view)?;
    if concurrency == Concurrency::On {
        v3::redis::add_to_linker::<_, Viewed>(linker, State::view)?;
    }
    Ok(())
}

impl v0::redis_types::Host for View<'_> {}

/// One call without a handle. Its only error says nothing, so that it is logged.
macro_rules! once {
    ($view:ident, $address:ident, $call:ident $(, $argument:expr)*) => {{
        let redis = $view.granted.clients.redis();
        let answer = async { redis.open($address).await?.$call($($argument),*).await }.await;
        Ok(answer.map_err(|error| {
            tracing::warn!("redis: {error}");
            v0::redis_types::Error::Error
        }))
    }};
}

type Once<T> = wasmtime::Result<Result<T, v0::redis_types::Error>>;

impl v0::redis::Host for View<'_> {
    async fn publish(&mut self, at: String, channel: String, payload: Vec<u8>) -> Once<()> {
        once!(self, at, publish, channel, payload)
    }

    async fn get(&mut self, at: String, key: String) -> Once<Vec<u8>> {
        let found: Once<Option<Vec<u8>>> = once!(self, at, get, key);
        Ok(found?.map(Option::unwrap_or_default))
    }

    async fn set(&mut self, at: String, key: String, value: Vec<u8>) -> Once<()> {
        once!(self, at, set, key, value)
    }

    async fn incr(&mut self, at: String, key: String) -> Once<i64> {
        once!(self, at, incr, key)
    }

    async fn del(&mut self, at: String, keys: Vec<String>) -> Once<i64> {
        let count: Once<u32> = once!(self, at, del, keys);
        Ok(count?.map(i64::from))
    }

    async fn sadd(&mut self, at: String, key: String, values: Vec<String>) -> Once<i64> {
        let count: Once<u32> = once!(self, at, sadd, key, values);
        Ok(count?.map(i64::from))
    }

    async fn smembers(&mut self, at: String, key: String) -> Once<Vec<String>> {
        once!(self, at, smembers, key)
    }

    async fn srem(&mut self, at: String, key: String, values: Vec<String>) -> Once<i64> {
        let count: Once<u32> = once!(self, at, srem, key, values);
        Ok(count?.map(i64::from))
    }

    async fn execute(
        &mut self,
        at: String,
        command: String,
        arguments: Vec<v0::redis::RedisParameter>,
    ) -> Once<Vec<v0::redis::RedisResult>> {
        use v0::redis::{RedisParameter, RedisResult};
        let arguments = arguments.into_iter().map(|argument| match argument {
            RedisParameter::Int64(number) => v3::redis::RedisParameter::Int64(number),
            RedisParameter::Binary(bytes) => v3::redis::RedisParameter::Binary(bytes),
        });
        let arguments = arguments.collect();
        let results: Once<Vec<v3::redis::RedisResult>> =
            once!(self, at, execute, command, arguments);
        let result = |result| match result {
            v3::redis::RedisResult::Nil => RedisResult::Nil,
            v3::redis::RedisResult::Status(text) => RedisResult::Status(text),
            v3::redis::RedisResult::Int64(number) => RedisResult::Int64(number),
            v3::redis::RedisResult::Binary(bytes) => RedisResult::Binary(bytes),
        };
        Ok(results?.map(|results| results.into_iter().map(result).collect()))
    }
}

impl v2::redis::Host for View<'_> {}

type Two<T> = wasmtime::Result<Result<T, v2::redis::Error>>;
type Handle2 = Resource<v2::redis::Connection>;

fn error2(error: v3::redis::Error) -> v2::redis::Error {
    match error {
        v3::redis::Error::InvalidAddress => v2::redis::Error::InvalidAddress,
        v3::redis::Error::TooManyConnections => v2::redis::Error::TooManyConnections,
        v3::redis::Error::TypeError => v2::redis::Error::TypeError,
        v3::redis::Error::Other(text) => v2::redis::Error::Other(text),
    }
}

impl v2::redis::HostConnection for View<'_> {
    async fn open(&mut self, address: String) -> Two<Handle2> {
        match self.granted.clients.redis().open(address).await {
            Ok(session) => Ok(Ok(self.keep(session)?)),
            Err(error) => Ok(Err(error2(error))),
        }
    }

    async fn publish(&mut self, it: Handle2, channel: String, payload: Vec<u8>) -> Two<()> {
        let session = self.held::<Session, _>(&it)?;
        Ok(session.publish(channel, payload).await.map_err(error2))
    }

    async fn get(&mut self, it: Handle2, key: String) -> Two<Option<Vec<u8>>> {
        let session = self.held::<Session, _>(&it)?;
        Ok(session.get(key).await.map_err(error2))
    }

    async fn set(&mut self, it: Handle2, key: String, value: Vec<u8>) -> Two<()> {
        let session = self.held::<Session, _>(&it)?;
        Ok(session.set(key, value).await.map_err(error2))
    }

    async fn incr(&mut self, it: Handle2, key: String) -> Two<i64> {
        let session = self.held::<Session, _>(&it)?;
        Ok(session.incr(key).await.map_err(error2))
    }

    async fn del(&mut self, it: Handle2, keys: Vec<String>) -> Two<u32> {
        let session = self.held::<Session, _>(&it)?;
        Ok(session.del(keys).await.map_err(error2))
    }

    async fn sadd(&mut self, it: Handle2, key: String, values: Vec<String>) -> Two<u32> {
        let session = self.held::<Session, _>(&it)?;
        Ok(session.sadd(key, values).await.map_err(error2))
    }

    async fn smembers(&mut self, it: Handle2, key: String) -> Two<Vec<String>> {
        let session = self.held::<Session, _>(&it)?;
        Ok(session.smembers(key).await.map_err(error2))
    }

    async fn srem(&mut self, it: Handle2, key: String, values: Vec<String>) -> Two<u32> {
        let session = self.held::<Session, _>(&it)?;
        Ok(session.srem(key, values).await.map_err(error2))
    }

    async fn execute(
        &mut self,
        it: Handle2,
        command: String,
        arguments: Vec<v2::redis::RedisParameter>,
    ) -> Two<Vec<v2::redis::RedisResult>> {
        use v2::redis::{RedisParameter, RedisResult};
        let session = self.held::<Session, _>(&it)?;
        let arguments = arguments.into_iter().map(|argument| match argument {
            RedisParameter::Int64(number) => v3::redis::RedisParameter::Int64(number),
            RedisParameter::Binary(bytes) => v3::redis::RedisParameter::Binary(bytes),
        });
        let results = session.execute(command, arguments.collect()).await;
        let result = |result| match result {
            v3::redis::RedisResult::Nil => RedisResult::Nil,
            v3::redis::RedisResult::Status(text) => RedisResult::Status(text),
            v3::redis::RedisResult::Int64(number) => RedisResult::Int64(number),
            v3::redis::RedisResult::Binary(bytes) => RedisResult::Binary(bytes),
        };
        let results = results.map_err(error2);
        Ok(results.map(|results| results.into_iter().map(result).collect()))
    }

    async fn drop(&mut self, it: Handle2) -> wasmtime::Result<()> {
        self.release::<Session, _>(&it)
    }
}

impl v3::redis::Host for View<'_> {}

impl v3::redis::HostConnection for View<'_> {
    fn drop(&mut self, it: Handle3) -> wasmtime::Result<()> {
        self.release::<Session, _>(&it)
    }
}

type Three<T> = wasmtime::Result<Result<T, v3::redis::Error>>;
type Handle3 = Resource<v3::redis::Connection>;

impl<T: Send> v3::redis::HostConnectionWithStore<T> for Viewed {
    async fn open(store: &Accessor<T, Self>, address: String) -> Three<Handle3> {
        let redis = handles::granted(store).clients.redis();
        match redis.open(address).await {
            Ok(session) => Ok(Ok(handles::keep(store, session)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn publish(
        store: &Accessor<T, Self>,
        it: Handle3,
        channel: String,
        payload: Vec<u8>,
    ) -> Three<()> {
        let session = handles::held::<Session, _, _>(store, &it)?;
        Ok(session.publish(channel, payload).await)
    }

    async fn get(store: &Accessor<T, Self>, it: Handle3, key: String) -> Three<Option<Vec<u8>>> {
        let session = handles::held::<Session, _, _>(store, &it)?;
        Ok(session.get(key).await)
    }

    async fn set(store: &Accessor<T, Self>, it: Handle3, key: String, value: Vec<u8>) -> Three<()> {
        let session = handles::held::<Session, _, _>(store, &it)?;
        Ok(session.set(key, value).await)
    }

    async fn incr(store: &Accessor<T, Self>, it: Handle3, key: String) -> Three<i64> {
        let session = handles::held::<Session, _, _>(store, &it)?;
        Ok(session.incr(key).await)
    }

    async fn del(store: &Accessor<T, Self>, it: Handle3, keys: Vec<String>) -> Three<u32> {
        let session = handles::held::<Session, _, _>(store, &it)?;
        Ok(session.del(keys).await)
    }

    async fn sadd(
        store: &Accessor<T, Self>,
        it: Handle3,
        key: String,
        values: Vec<String>,
    ) -> Three<u32> {
        let session = handles::held::<Session, _, _>(store, &it)?;
        Ok(session.sadd(key, values).await)
    }

    async fn smembers(store: &Accessor<T, Self>, it: Handle3, key: String) -> Three<Vec<String>> {
        let session = handles::held::<Session, _, _>(store, &it)?;
        Ok(session.smembers(key).await)
    }

    async fn srem(
        store: &Accessor<T, Self>,
        it: Handle3,
        key: String,
        values: Vec<String>,
    ) -> Three<u32> {
        let session = handles::held::<Session, _, _>(store, &it)?;
        Ok(session.srem(key, values).await)
    }

    async fn execute(
        store: &Accessor<T, Self>,
        it: Handle3,
        command: String,
        arguments: Vec<v3::redis::RedisParameter>,
    ) -> Three<Vec<v3::redis::RedisResult>> {
        let session = handles::held::<Session, _, _>(store, &it)?;
        Ok(session.execute(command, arguments).await)
    }
}
