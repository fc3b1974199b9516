//! `wasi:keyvalue/atomics`: sums, and values that change only if nobody else
//! changed them.

use std::sync::Arc;

use catena_bindings::key_value::wasi::{atomics, store};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::Resource;

use super::{Error, Store, View};

/// A swap to come.
struct Swap {
    store: Arc<Store>,
    key: String,
    /// The value as the guest last saw it.
    seen: Option<Vec<u8>>,
    _place: OwnedSemaphorePermit,
}

impl View<'_> {
    async fn begin_swap(&mut self, store: Arc<Store>, key: String) -> Result<u32, Error> {
        let place = self.places.take().ok_or(Error::TableFull)?;
        let swap = Swap {
            seen: store.get_to_swap(key.clone()).await?,
            store,
            key,
            _place: place,
        };
        let kept = self.table.push(swap).map_err(|_| Error::TableFull)?;
        Ok(kept.rep())
    }
}

impl atomics::Host for View<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<store::Bucket>,
        key: String,
        delta: i64,
    ) -> wasmtime::Result<Result<i64, store::Error>> {
        let store = self.store(bucket.rep())?;
        Ok(store.increment(key, delta).await.map_err(Into::into))
    }

    async fn swap(
        &mut self,
        cas: Resource<atomics::Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let failed = |error: Error| Ok(Err(atomics::CasError::StoreError(error.into())));
        let swap = self.table.delete(Resource::<Swap>::new_own(cas.rep()))?;
        let Swap {
            store, key, seen, ..
        } = swap;
        match store.swap(key.clone(), seen, value).await {
            Ok(true) => Ok(Ok(())),
            Ok(false) => match self.begin_swap(store, key).await {
                Ok(next) => Ok(Err(atomics::CasError::CasFailed(Resource::new_own(next)))),
                Err(error) => failed(error),
            },
            Err(error) => failed(error),
        }
    }
}

impl atomics::HostCas for View<'_> {
    async fn new(
        &mut self,
        bucket: Resource<store::Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Resource<atomics::Cas>, store::Error>> {
        let store = self.store(bucket.rep())?;
        let swap = self.begin_swap(store, key).await;
        Ok(swap.map(Resource::new_own).map_err(Into::into))
    }

    async fn current(
        &mut self,
        cas: Resource<atomics::Cas>,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        let number = Resource::<Swap>::new_borrow(cas.rep());
        let swap = self.table.get(&number)?;
        let (store, key) = (Arc::clone(&swap.store), swap.key.clone());
        let value = match store.get_to_swap(key).await {
            Ok(value) => value,
            Err(error) => return Ok(Err(error.into())),
        };
        self.table.get_mut(&number)?.seen.clone_from(&value);
        Ok(Ok(value))
    }

    async fn drop(&mut self, cas: Resource<atomics::Cas>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Swap>::new_own(cas.rep()))?;
        Ok(())
    }
}
