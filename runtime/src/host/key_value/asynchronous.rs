//! `spin:key-value` 3.0.0, whose functions are asynchronous: other tasks of the
//! instance go on while one waits for a store.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use catena_bindings::key_value::v3;
use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Accessor, Destination, FutureReader, Resource, StreamProducer, StreamReader, StreamResult,
    VecBuffer,
};

use super::{Error, Store, View, Viewed};
use crate::service::key_value::Page;

type Answer<T> = wasmtime::Result<Result<T, v3::Error>>;

/// How a stream of keys ended.
type Ended = Result<(), v3::Error>;

fn store<T>(
    accessor: &Accessor<T, Viewed>,
    store: &Resource<v3::Store>,
) -> wasmtime::Result<Arc<Store>> {
    accessor.with(|mut access| access.get().store(store.rep()))
}

impl v3::Host for View<'_> {}

impl v3::HostStore for View<'_> {
    fn drop(&mut self, store: Resource<v3::Store>) -> wasmtime::Result<()> {
        self.close_store(store.rep())
    }
}

impl<T> v3::HostStoreWithStore<T> for Viewed {
    async fn open(accessor: &Accessor<T, Self>, label: String) -> Answer<Resource<v3::Store>> {
        let (granted, place) = accessor.with(|mut access| {
            let view = access.get();
            (Arc::clone(view.granted), view.places.take())
        });
        let Some(place) = place else {
            return Ok(Err(v3::Error::StoreTableFull));
        };
        let opened = granted.key_value.open(&label).await;
        let kept = opened
            .and_then(|store| accessor.with(|mut access| access.get().keep_store(store, place)));
        Ok(kept.map(Resource::new_own).map_err(Into::into))
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        this: Resource<v3::Store>,
        key: String,
    ) -> Answer<Option<Vec<u8>>> {
        let store = store(accessor, &this)?;
        Ok(store.get(key).await.map_err(Into::into))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        this: Resource<v3::Store>,
        key: String,
        value: Vec<u8>,
    ) -> Answer<()> {
        let store = store(accessor, &this)?;
        Ok(store.set(key, value).await.map_err(Into::into))
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        this: Resource<v3::Store>,
        key: String,
    ) -> Answer<()> {
        let store = store(accessor, &this)?;
        Ok(store.delete(key).await.map_err(Into::into))
    }

    async fn exists(
        accessor: &Accessor<T, Self>,
        this: Resource<v3::Store>,
        key: String,
    ) -> Answer<bool> {
        let store = store(accessor, &this)?;
        Ok(store.exists(key).await.map_err(Into::into))
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        this: Resource<v3::Store>,
    ) -> wasmtime::Result<(StreamReader<String>, FutureReader<Ended>)> {
        accessor.with(|mut access| {
            let store = access.get().store(this.rep())?;
            let (ended, end) = oneshot::channel();
            let keys = Keys::new(store, ended);
            let end = async move {
                // Nobody told the end: the guest did not read so far.
                Ok::<Ended, wasmtime::Error>(end.await.unwrap_or(Ok(())))
            };
            let keys = StreamReader::new(&mut access, keys)?;
            Ok((keys, FutureReader::new(&mut access, end)?))
        })
    }
}

type NextPage = Pin<Box<dyn Future<Output = Result<Page, Error>> + Send>>;

/// The keys of a store, fetched by the page as the guest reads them.
struct Keys {
    store: Arc<Store>,
    next: NextPage,
    ended: Option<oneshot::Sender<Ended>>,
}

fn fetch(store: &Arc<Store>, cursor: Option<String>) -> NextPage {
    let store = Arc::clone(store);
    Box::pin(async move { store.next_keys(cursor).await })
}

impl Keys {
    fn new(store: Arc<Store>, ended: oneshot::Sender<Ended>) -> Self {
        Self {
            next: fetch(&store, None),
            store,
            ended: Some(ended),
        }
    }

    fn end(&mut self, how: Ended) -> Poll<wasmtime::Result<StreamResult>> {
        if let Some(ended) = self.ended.take() {
            // A guest that does not ask how it ended is none of ours.
            _ = ended.send(how);
        }
        Poll::Ready(Ok(StreamResult::Dropped))
    }
}

impl<D> StreamProducer<D> for Keys {
    type Item = String;
    type Buffer = VecBuffer<String>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut context: StoreContextMut<'a, D>,
        mut to: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        // The guest only asks whether there is something to read.
        if to.remaining(&mut context) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        if self.ended.is_none() {
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
        loop {
            let page = match self.next.as_mut().poll(cx) {
                Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                page => ready!(page),
            };
            let page = match page {
                Ok(page) => page,
                Err(error) => return self.end(Err(error.into())),
            };
            let has_keys = !page.keys.is_empty();
            to.set_buffer(page.keys.into());
            let Some(cursor) = page.cursor else {
                return self.end(Ok(()));
            };
            self.next = fetch(&self.store, Some(cursor));
            if has_keys {
                return Poll::Ready(Ok(StreamResult::Completed));
            }
        }
    }
}
