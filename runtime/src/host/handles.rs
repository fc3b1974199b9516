//! Guests' handles of connections: what the instance's table holds for them.

use std::sync::Arc;

use wasmtime::component::{Accessor, Resource};

use super::{View, Viewed};
use crate::service::Granted;

/// A table's entry is shared, so that a call can go on while others use it.
pub(super) trait Handles {
    /// A handle `H` for a new entry.
    fn keep<S: Send + Sync + 'static, H: 'static>(
        &mut self,
        one: S,
    ) -> wasmtime::Result<Resource<H>>;
    /// What a handle stands for.
    fn held<S: Send + Sync + 'static, H: 'static>(
        &self,
        handle: &Resource<H>,
    ) -> wasmtime::Result<Arc<S>>;
    /// Takes a handle back.
    fn release<S: Send + Sync + 'static, H: 'static>(
        &mut self,
        handle: &Resource<H>,
    ) -> wasmtime::Result<()>;
}

impl Handles for View<'_> {
    fn keep<S: Send + Sync + 'static, H: 'static>(
        &mut self,
        one: S,
    ) -> wasmtime::Result<Resource<H>> {
        let entry = self.table.push(Arc::new(one))?;
        Ok(Resource::new_own(entry.rep()))
    }

    fn held<S: Send + Sync + 'static, H: 'static>(
        &self,
        handle: &Resource<H>,
    ) -> wasmtime::Result<Arc<S>> {
        let entry = Resource::<Arc<S>>::new_borrow(handle.rep());
        Ok(Arc::clone(self.table.get(&entry)?))
    }

    fn release<S: Send + Sync + 'static, H: 'static>(
        &mut self,
        handle: &Resource<H>,
    ) -> wasmtime::Result<()> {
        self.table
            .delete(Resource::<Arc<S>>::new_own(handle.rep()))?;
        Ok(())
    }
}

/// What the component may use.
pub(super) fn granted<T: Send>(store: &Accessor<T, Viewed>) -> Arc<Granted> {
    store.with(|mut store| Arc::clone(store.get().granted))
}

/// [`Handles::keep`] from an asynchronous function.
pub(super) fn keep<S: Send + Sync + 'static, H: 'static, T: Send>(
    store: &Accessor<T, Viewed>,
    one: S,
) -> wasmtime::Result<Resource<H>> {
    store.with(|mut store| store.get().keep(one))
}

/// [`Handles::held`] from an asynchronous function.
pub(super) fn held<S: Send + Sync + 'static, H: 'static, T: Send>(
    store: &Accessor<T, Viewed>,
    handle: &Resource<H>,
) -> wasmtime::Result<Arc<S>> {
    store.with(|mut store| store.get().held(handle))
}
