//! `spin:mysql/mysql` 3.0.0.

use catena_bindings::mysql::mysql::{self, Error, Host, HostConnection, HostConnectionWithStore};
use wasmtime::component::{Accessor, FutureReader, Linker, Resource, StreamReader};

use super::handles::{self, Handles};
use super::rows::streamed;
use super::{State, View, Viewed};
use crate::engine::Concurrency;
use crate::service::mysql::Session;

pub(super) fn add_to_linker(
    linker: &mut Linker<State>,
    concurrency: Concurrency,
) -> wasmtime::Result<()> {
    if concurrency == Concurrency::On {
        mysql::add_to_linker::<_, Viewed>(linker, State::view)?;
    }
    Ok(())
}

type Answer<T> = wasmtime::Result<Result<T, Error>>;
type Connection = Resource<mysql::Connection>;
type Rows = (
    Vec<mysql::Column>,
    StreamReader<mysql::Row>,
    FutureReader<Result<(), Error>>,
);

impl Host for View<'_> {}

impl HostConnection for View<'_> {
    fn drop(&mut self, it: Connection) -> wasmtime::Result<()> {
        self.release::<Session, _>(&it)
    }
}

impl<T: Send + 'static> HostConnectionWithStore<T> for Viewed {
    async fn open(store: &Accessor<T, Self>, address: String) -> Answer<Connection> {
        let mysql = handles::granted(store).clients.mysql();
        match mysql.open(address).await {
            Ok(session) => Ok(Ok(handles::keep(store, session)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn query(
        store: &Accessor<T, Self>,
        it: Connection,
        statement: String,
        params: Vec<mysql::ParameterValue>,
    ) -> Answer<Rows> {
        let session = handles::held::<Session, _, _>(store, &it)?;
        match session.stream(statement, params).await {
            Ok((columns, rows)) => {
                let (rows, end) = streamed(store, rows, Error::Other)?;
                Ok(Ok((columns, rows, end)))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    async fn execute(
        store: &Accessor<T, Self>,
        it: Connection,
        statement: String,
        params: Vec<mysql::ParameterValue>,
    ) -> Answer<()> {
        let session = handles::held::<Session, _, _>(store, &it)?;
        Ok(session.execute(statement, params).await)
    }
}
