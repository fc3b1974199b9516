//! `spin:postgres/postgres`, versions 3.0.0 and 4.2.0, of which 4.0.0 and 4.1.0 are
//! parts.

use std::sync::Arc;

use catena_bindings::postgres::v4::postgres as v4;
use catena_bindings::postgres::v4::{LinkOptions, postgres::Error};
use wasmtime::component::{Accessor, FutureReader, Linker, Resource, StreamReader};

use super::handles::{self, Handles};
use super::rows::streamed;
use super::{State, View, Viewed};
use crate::engine::Concurrency;
use crate::service::postgres::{Builder, Session};

mod v3;

pub(super) fn add_to_linker(
    linker: &mut Linker<State>,
    concurrency: Concurrency,
) -> wasmtime::Result<()> {
    v3::add_to_linker(linker)?;
    let mut options = LinkOptions::default();
    options.concurrency(concurrency == Concurrency::On);
    v4::add_to_linker::<_, Viewed>(linker, &(&options).into(), State::view)
}

type Answer<T> = wasmtime::Result<Result<T, Error>>;
type Connection = Resource<v4::Connection>;
type Building = Resource<v4::ConnectionBuilder>;
type Params = Vec<v4::ParameterValue>;
type Rows = (
    Vec<v4::Column>,
    StreamReader<v4::Row>,
    FutureReader<Result<(), Error>>,
);

impl v4::Host for View<'_> {}

impl v4::HostConnection for View<'_> {
    async fn open(&mut self, address: String) -> Answer<Connection> {
        match self.granted.clients.postgres().open(address, None).await {
            Ok(session) => Ok(Ok(self.keep(session)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn query(
        &mut self,
        it: Connection,
        statement: String,
        params: Params,
    ) -> Answer<v4::RowSet> {
        let session = self.held::<Session, _>(&it)?;
        Ok(session.query(statement, params).await)
    }

    async fn execute(&mut self, it: Connection, statement: String, params: Params) -> Answer<u64> {
        let session = self.held::<Session, _>(&it)?;
        Ok(session.execute(statement, params).await)
    }

    async fn drop(&mut self, it: Connection) -> wasmtime::Result<()> {
        self.release::<Session, _>(&it)
    }
}

impl v4::HostConnectionBuilder for View<'_> {
    async fn new(&mut self, address: String) -> wasmtime::Result<Building> {
        self.keep(Builder {
            address,
            authority: None,
        })
    }

    async fn set_ca_root(&mut self, it: Building, certificate: String) -> Answer<()> {
        let problem = match crate::service::postgres::authorities(&certificate) {
            Ok(0) => "the text holds no certificate".to_owned(),
            Ok(_) => {
                let entry = Resource::<Arc<Builder>>::new_borrow(it.rep());
                let builder = self.table.get_mut(&entry)?;
                *builder = Arc::new(Builder {
                    address: builder.address.clone(),
                    authority: Some(certificate),
                });
                return Ok(Ok(()));
            }
            Err(problem) => problem,
        };
        Ok(Err(Error::Other(format!("the authority: {problem}"))))
    }

    async fn build(&mut self, it: Building) -> Answer<Connection> {
        let builder = self.held::<Builder, _>(&it)?;
        let authority = builder.authority.as_deref();
        let postgres = self.granted.clients.postgres();
        match postgres.open(builder.address.clone(), authority).await {
            Ok(session) => Ok(Ok(self.keep(session)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn drop(&mut self, it: Building) -> wasmtime::Result<()> {
        self.release::<Builder, _>(&it)
    }
}

impl<T: Send + 'static> v4::HostConnectionWithStore<T> for Viewed {
    async fn open_async(store: &Accessor<T, Self>, address: String) -> Answer<Connection> {
        let postgres = handles::granted(store).clients.postgres();
        match postgres.open(address, None).await {
            Ok(session) => Ok(Ok(handles::keep(store, session)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn query_async(
        store: &Accessor<T, Self>,
        it: Connection,
        statement: String,
        params: Params,
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

    async fn execute_async(
        store: &Accessor<T, Self>,
        it: Connection,
        statement: String,
        params: Params,
    ) -> Answer<u64> {
        let session = handles::held::<Session, _, _>(store, &it)?;
        Ok(session.execute(statement, params).await)
    }
}

impl<T: Send> v4::HostConnectionBuilderWithStore<T> for Viewed {
    async fn build_async(store: &Accessor<T, Self>, it: Building) -> Answer<Connection> {
        let builder = handles::held::<Builder, _, _>(store, &it)?;
        let authority = builder.authority.as_deref();
        let postgres = handles::granted(store).clients.postgres();
        match postgres.open(builder.address.clone(), authority).await {
            Ok(session) => Ok(Ok(handles::keep(store, session)?)),
            Err(error) => Ok(Err(error)),
        }
    }
}
