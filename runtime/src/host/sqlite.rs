//! SQLite databases: `fermyon:spin/sqlite` unversioned and 2.0.0, `spin:sqlite`
//! 3.0.0 and 3.1.0.

use std::sync::Arc;

use catena_bindings::sqlite::{unversioned, v2, v3_0, v3_1};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{Linker, Resource};

use super::{State, View, Viewed};
use crate::service::sqlite::{Connection, Error, Rows, Value};

mod asynchronous;
mod convert;

/// Where nothing is asynchronous, 3.0.0 also stands for the part of 3.1.0 that a
/// component can import there.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    unversioned::add_to_linker::<_, Viewed>(linker, State::view)?;
    v2::add_to_linker::<_, Viewed>(linker, State::view)?;
    v3_0::add_to_linker::<_, Viewed>(linker, State::view)
}

/// Those of whose functions some are asynchronous.
pub(super) fn add_async_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    v3_1::add_to_linker::<_, Viewed>(linker, State::view)
}

/// An open database. Each interface has a type of its own for it; the number of
/// the resource is that of this one.
struct Opened {
    connection: Arc<Connection>,
    _place: OwnedSemaphorePermit,
}

/// What a guest is told that has too many.
fn too_many() -> Error {
    Error::Io("too many connections are open".to_owned())
}

impl View<'_> {
    /// Opens a database; gives the number of the resource.
    async fn open_database(&mut self, label: &str) -> Result<u32, Error> {
        let place = self.places.take().ok_or_else(too_many)?;
        let connection = self.granted.sqlite.open(label).await?;
        self.keep_database(connection, place)
    }

    fn keep_database(
        &mut self,
        connection: Connection,
        place: OwnedSemaphorePermit,
    ) -> Result<u32, Error> {
        let opened = Opened {
            connection: Arc::new(connection),
            _place: place,
        };
        let kept = self.table.push(opened).map_err(|_| too_many())?;
        Ok(kept.rep())
    }

    fn database(&self, number: u32) -> wasmtime::Result<Arc<Connection>> {
        let opened = self.table.get(&Resource::<Opened>::new_borrow(number))?;
        Ok(Arc::clone(&opened.connection))
    }

    fn close_database(&mut self, number: u32) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Opened>::new_own(number))?;
        Ok(())
    }
}

/// Runs a statement with values of some version of the interface.
async fn execute<V: Into<Value>>(
    connection: &Connection,
    statement: String,
    values: Vec<V>,
) -> Result<Rows, Error> {
    let values = values.into_iter().map(Into::into);
    connection.execute(statement, values.collect()).await
}

/// Connections are numbers here, which a guest may have made up.
impl unversioned::Host for View<'_> {
    async fn open(
        &mut self,
        database: String,
    ) -> wasmtime::Result<Result<u32, unversioned::Error>> {
        Ok(self.open_database(&database).await.map_err(Into::into))
    }

    async fn execute(
        &mut self,
        connection: u32,
        statement: String,
        parameters: Vec<unversioned::Value>,
    ) -> wasmtime::Result<Result<unversioned::QueryResult, unversioned::Error>> {
        let Ok(connection) = self.database(connection) else {
            return Ok(Err(unversioned::Error::InvalidConnection));
        };
        let rows = execute(&connection, statement, parameters).await;
        Ok(rows.map(Into::into).map_err(Into::into))
    }

    async fn close(&mut self, connection: u32) -> wasmtime::Result<()> {
        // There is no error to give for a number that is no connection.
        _ = self.close_database(connection);
        Ok(())
    }
}

impl v2::Host for View<'_> {}

impl v2::HostConnection for View<'_> {
    async fn open(
        &mut self,
        database: String,
    ) -> wasmtime::Result<Result<Resource<v2::Connection>, v2::Error>> {
        let opened = self.open_database(&database).await;
        Ok(opened.map(Resource::new_own).map_err(Into::into))
    }

    async fn execute(
        &mut self,
        connection: Resource<v2::Connection>,
        statement: String,
        parameters: Vec<v2::Value>,
    ) -> wasmtime::Result<Result<v2::QueryResult, v2::Error>> {
        let connection = self.database(connection.rep())?;
        let rows = execute(&connection, statement, parameters).await;
        Ok(rows.map(Into::into).map_err(Into::into))
    }

    async fn drop(&mut self, connection: Resource<v2::Connection>) -> wasmtime::Result<()> {
        self.close_database(connection.rep())
    }
}

impl v3_0::Host for View<'_> {}

impl v3_0::HostConnection for View<'_> {
    async fn open(
        &mut self,
        database: String,
    ) -> wasmtime::Result<Result<Resource<v3_0::Connection>, v3_0::Error>> {
        let opened = self.open_database(&database).await;
        Ok(opened.map(Resource::new_own).map_err(Into::into))
    }

    async fn execute(
        &mut self,
        connection: Resource<v3_0::Connection>,
        statement: String,
        parameters: Vec<v3_0::Value>,
    ) -> wasmtime::Result<Result<v3_0::QueryResult, v3_0::Error>> {
        let connection = self.database(connection.rep())?;
        let rows = execute(&connection, statement, parameters).await;
        Ok(rows.map(Into::into).map_err(Into::into))
    }

    async fn last_insert_rowid(
        &mut self,
        connection: Resource<v3_0::Connection>,
    ) -> wasmtime::Result<i64> {
        Ok(self.database(connection.rep())?.last_insert_rowid())
    }

    async fn changes(&mut self, connection: Resource<v3_0::Connection>) -> wasmtime::Result<u64> {
        Ok(self.database(connection.rep())?.changes())
    }

    async fn drop(&mut self, connection: Resource<v3_0::Connection>) -> wasmtime::Result<()> {
        self.close_database(connection.rep())
    }
}
