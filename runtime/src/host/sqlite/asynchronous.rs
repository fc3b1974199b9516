//! `spin:sqlite` 3.1.0: each function of 3.0.0, and one beside it during which
//! other tasks of the instance go on.

use std::sync::Arc;

use catena_bindings::sqlite::v3_1;
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

use super::{Connection, View, Viewed, execute, too_many};

/// Columns, rows, and how the rows ended.
type Streamed = (
    Vec<String>,
    StreamReader<v3_1::RowResult>,
    FutureReader<Result<(), v3_1::Error>>,
);

fn database<T>(
    accessor: &Accessor<T, Viewed>,
    connection: &Resource<v3_1::Connection>,
) -> wasmtime::Result<Arc<Connection>> {
    accessor.with(|mut access| access.get().database(connection.rep()))
}

impl v3_1::Host for View<'_> {}

impl v3_1::HostConnection for View<'_> {
    async fn open(
        &mut self,
        database: String,
    ) -> wasmtime::Result<Result<Resource<v3_1::Connection>, v3_1::Error>> {
        let opened = self.open_database(&database).await;
        Ok(opened.map(Resource::new_own).map_err(Into::into))
    }

    async fn execute(
        &mut self,
        connection: Resource<v3_1::Connection>,
        statement: String,
        parameters: Vec<v3_1::Value>,
    ) -> wasmtime::Result<Result<v3_1::QueryResult, v3_1::Error>> {
        let connection = self.database(connection.rep())?;
        let rows = execute(&connection, statement, parameters).await;
        Ok(rows.map(Into::into).map_err(Into::into))
    }

    async fn last_insert_rowid(
        &mut self,
        connection: Resource<v3_1::Connection>,
    ) -> wasmtime::Result<i64> {
        Ok(self.database(connection.rep())?.last_insert_rowid())
    }

    async fn changes(&mut self, connection: Resource<v3_1::Connection>) -> wasmtime::Result<u64> {
        Ok(self.database(connection.rep())?.changes())
    }

    async fn drop(&mut self, connection: Resource<v3_1::Connection>) -> wasmtime::Result<()> {
        self.close_database(connection.rep())
    }
}

impl<T> v3_1::HostConnectionWithStore<T> for Viewed {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        label: String,
    ) -> wasmtime::Result<Result<Resource<v3_1::Connection>, v3_1::Error>> {
        let (granted, place) = accessor.with(|mut access| {
            let view = access.get();
            (Arc::clone(view.granted), view.places.take())
        });
        let Some(place) = place else {
            return Ok(Err(too_many().into()));
        };
        let opened = granted.sqlite.open(&label).await;
        let kept = opened.and_then(|connection| {
            accessor.with(|mut access| access.get().keep_database(connection, place))
        });
        Ok(kept.map(Resource::new_own).map_err(Into::into))
    }

    /// The rows are all there before the first is given: a guest that stops
    /// reading does not hold the database.
    async fn execute_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<v3_1::Connection>,
        statement: String,
        parameters: Vec<v3_1::Value>,
    ) -> wasmtime::Result<Result<Streamed, v3_1::Error>> {
        let connection = database(accessor, &connection)?;
        let rows = match execute(&connection, statement, parameters).await {
            Ok(rows) => v3_1::QueryResult::from(rows),
            Err(error) => return Ok(Err(error.into())),
        };
        accessor.with(|mut access| {
            let stream = StreamReader::new(&mut access, rows.rows)?;
            let end = async { Ok::<_, wasmtime::Error>(Ok(())) };
            let end = FutureReader::new(&mut access, end)?;
            Ok(Ok((rows.columns, stream, end)))
        })
    }

    async fn last_insert_rowid_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<v3_1::Connection>,
    ) -> wasmtime::Result<i64> {
        Ok(database(accessor, &connection)?.last_insert_rowid())
    }

    async fn changes_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<v3_1::Connection>,
    ) -> wasmtime::Result<u64> {
        Ok(database(accessor, &connection)?.changes())
    }
}
