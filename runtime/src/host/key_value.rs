//! Key-value stores: `fermyon:spin/key-value` unversioned and 2.0.0,
//! `spin:key-value` 3.0.0, `wasi:keyvalue` 0.2.0-draft2.

use std::sync::Arc;

use catena_bindings::key_value::{unversioned, v2, v3, wasi};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{Linker, Resource};

use super::{State, View, Viewed};
use crate::service::key_value::{Error, Store};

mod asynchronous;
mod atomics;

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    unversioned::add_to_linker::<_, Viewed>(linker, State::view)?;
    v2::add_to_linker::<_, Viewed>(linker, State::view)?;
    wasi::store::add_to_linker::<_, Viewed>(linker, State::view)?;
    wasi::batch::add_to_linker::<_, Viewed>(linker, State::view)?;
    wasi::atomics::add_to_linker::<_, Viewed>(linker, State::view)
}

/// Those whose functions are asynchronous.
pub(super) fn add_async_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    v3::add_to_linker::<_, Viewed>(linker, State::view)
}

/// An open store. Each interface has a type of its own for it; the number of the
/// resource is that of this one.
struct Opened {
    store: Arc<Store>,
    _place: OwnedSemaphorePermit,
}

impl View<'_> {
    /// Opens a store; gives the number of the resource.
    async fn open_store(&mut self, label: &str) -> Result<u32, Error> {
        let place = self.places.take().ok_or(Error::TableFull)?;
        let store = self.granted.key_value.open(label).await?;
        self.keep_store(store, place)
    }

    fn keep_store(&mut self, store: Arc<Store>, place: OwnedSemaphorePermit) -> Result<u32, Error> {
        let opened = Opened {
            store,
            _place: place,
        };
        let kept = self.table.push(opened).map_err(|_| Error::TableFull)?;
        Ok(kept.rep())
    }

    fn store(&self, number: u32) -> wasmtime::Result<Arc<Store>> {
        let opened = self.table.get(&Resource::<Opened>::new_borrow(number))?;
        Ok(Arc::clone(&opened.store))
    }

    fn close_store(&mut self, number: u32) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Opened>::new_own(number))?;
        Ok(())
    }
}

impl From<Error> for unversioned::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::TableFull => Self::StoreTableFull,
            Error::NoSuchStore => Self::NoSuchStore,
            Error::AccessDenied => Self::AccessDenied,
            Error::Other(reason) => Self::Io(reason),
        }
    }
}

impl From<Error> for v2::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::TableFull => Self::StoreTableFull,
            Error::NoSuchStore => Self::NoSuchStore,
            Error::AccessDenied => Self::AccessDenied,
            Error::Other(reason) => Self::Other(reason),
        }
    }
}

impl From<Error> for v3::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::TableFull => Self::StoreTableFull,
            Error::NoSuchStore => Self::NoSuchStore,
            Error::AccessDenied => Self::AccessDenied,
            Error::Other(reason) => Self::Other(reason),
        }
    }
}

impl From<Error> for wasi::store::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::TableFull => Self::Other("too many stores are open".to_owned()),
            Error::NoSuchStore => Self::NoSuchStore,
            Error::AccessDenied => Self::AccessDenied,
            Error::Other(reason) => Self::Other(reason),
        }
    }
}

/// Stores are numbers here, which a guest may have made up.
impl unversioned::Host for View<'_> {
    async fn open(&mut self, name: String) -> wasmtime::Result<Result<u32, unversioned::Error>> {
        Ok(self.open_store(&name).await.map_err(Into::into))
    }

    async fn get(
        &mut self,
        store: u32,
        key: String,
    ) -> wasmtime::Result<Result<Vec<u8>, unversioned::Error>> {
        let Ok(store) = self.store(store) else {
            return Ok(Err(unversioned::Error::InvalidStore));
        };
        Ok(match store.get(key).await {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(unversioned::Error::NoSuchKey),
            Err(error) => Err(error.into()),
        })
    }

    async fn set(
        &mut self,
        store: u32,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), unversioned::Error>> {
        let Ok(store) = self.store(store) else {
            return Ok(Err(unversioned::Error::InvalidStore));
        };
        Ok(store.set(key, value).await.map_err(Into::into))
    }

    async fn delete(
        &mut self,
        store: u32,
        key: String,
    ) -> wasmtime::Result<Result<(), unversioned::Error>> {
        let Ok(store) = self.store(store) else {
            return Ok(Err(unversioned::Error::InvalidStore));
        };
        Ok(store.delete(key).await.map_err(Into::into))
    }

    async fn exists(
        &mut self,
        store: u32,
        key: String,
    ) -> wasmtime::Result<Result<bool, unversioned::Error>> {
        let Ok(store) = self.store(store) else {
            return Ok(Err(unversioned::Error::InvalidStore));
        };
        Ok(store.exists(key).await.map_err(Into::into))
    }

    async fn get_keys(
        &mut self,
        store: u32,
    ) -> wasmtime::Result<Result<Vec<String>, unversioned::Error>> {
        let Ok(store) = self.store(store) else {
            return Ok(Err(unversioned::Error::InvalidStore));
        };
        Ok(store.keys().await.map_err(Into::into))
    }

    async fn close(&mut self, store: u32) -> wasmtime::Result<()> {
        // There is no error to give for a number that is no store.
        _ = self.close_store(store);
        Ok(())
    }
}

impl v2::Host for View<'_> {}

impl v2::HostStore for View<'_> {
    async fn open(
        &mut self,
        label: String,
    ) -> wasmtime::Result<Result<Resource<v2::Store>, v2::Error>> {
        let opened = self.open_store(&label).await;
        Ok(opened.map(Resource::new_own).map_err(Into::into))
    }

    async fn get(
        &mut self,
        store: Resource<v2::Store>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, v2::Error>> {
        let store = self.store(store.rep())?;
        Ok(store.get(key).await.map_err(Into::into))
    }

    async fn set(
        &mut self,
        store: Resource<v2::Store>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), v2::Error>> {
        let store = self.store(store.rep())?;
        Ok(store.set(key, value).await.map_err(Into::into))
    }

    async fn delete(
        &mut self,
        store: Resource<v2::Store>,
        key: String,
    ) -> wasmtime::Result<Result<(), v2::Error>> {
        let store = self.store(store.rep())?;
        Ok(store.delete(key).await.map_err(Into::into))
    }

    async fn exists(
        &mut self,
        store: Resource<v2::Store>,
        key: String,
    ) -> wasmtime::Result<Result<bool, v2::Error>> {
        let store = self.store(store.rep())?;
        Ok(store.exists(key).await.map_err(Into::into))
    }

    async fn get_keys(
        &mut self,
        store: Resource<v2::Store>,
    ) -> wasmtime::Result<Result<Vec<String>, v2::Error>> {
        let store = self.store(store.rep())?;
        Ok(store.keys().await.map_err(Into::into))
    }

    async fn drop(&mut self, store: Resource<v2::Store>) -> wasmtime::Result<()> {
        self.close_store(store.rep())
    }
}

impl wasi::store::Host for View<'_> {
    async fn open(
        &mut self,
        identifier: String,
    ) -> wasmtime::Result<Result<Resource<wasi::store::Bucket>, wasi::store::Error>> {
        let opened = self.open_store(&identifier).await;
        Ok(opened.map(Resource::new_own).map_err(Into::into))
    }
}

impl wasi::store::HostBucket for View<'_> {
    async fn get(
        &mut self,
        bucket: Resource<wasi::store::Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, wasi::store::Error>> {
        let store = self.store(bucket.rep())?;
        Ok(store.get(key).await.map_err(Into::into))
    }

    async fn set(
        &mut self,
        bucket: Resource<wasi::store::Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), wasi::store::Error>> {
        let store = self.store(bucket.rep())?;
        Ok(store.set(key, value).await.map_err(Into::into))
    }

    async fn delete(
        &mut self,
        bucket: Resource<wasi::store::Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<(), wasi::store::Error>> {
        let store = self.store(bucket.rep())?;
        Ok(store.delete(key).await.map_err(Into::into))
    }

    async fn exists(
        &mut self,
        bucket: Resource<wasi::store::Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<bool, wasi::store::Error>> {
        let store = self.store(bucket.rep())?;
        Ok(store.exists(key).await.map_err(Into::into))
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<wasi::store::Bucket>,
        cursor: Option<String>,
    ) -> wasmtime::Result<Result<wasi::store::KeyResponse, wasi::store::Error>> {
        let store = self.store(bucket.rep())?;
        let page = store.list(cursor).await.map_err(Into::into);
        Ok(page.map(|page| wasi::store::KeyResponse {
            keys: page.keys,
            cursor: page.cursor,
        }))
    }

    async fn drop(&mut self, bucket: Resource<wasi::store::Bucket>) -> wasmtime::Result<()> {
        self.close_store(bucket.rep())
    }
}

impl wasi::batch::Host for View<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<wasi::store::Bucket>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<(String, Option<Vec<u8>>)>, wasi::store::Error>> {
        let store = self.store(bucket.rep())?;
        Ok(store.get_many(keys).await.map_err(Into::into))
    }

    async fn set_many(
        &mut self,
        bucket: Resource<wasi::store::Bucket>,
        key_values: Vec<(String, Vec<u8>)>,
    ) -> wasmtime::Result<Result<(), wasi::store::Error>> {
        let store = self.store(bucket.rep())?;
        Ok(store.set_many(key_values).await.map_err(Into::into))
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<wasi::store::Bucket>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<(), wasi::store::Error>> {
        let store = self.store(bucket.rep())?;
        Ok(store.delete_many(keys).await.map_err(Into::into))
    }
}
