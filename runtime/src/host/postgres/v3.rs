//! `spin:postgres/postgres` 3.0.0, in the words of 4.2.0.

use catena_bindings::postgres::v3::postgres as v3;
use catena_bindings::postgres::v4::postgres as v4;
use wasmtime::component::{Linker, Resource};

use super::super::handles::Handles;
use super::super::{State, View, Viewed};
use crate::service::postgres::Session;

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    v3::add_to_linker::<_, Viewed>(linker, State::view)
}

type Answer<T> = wasmtime::Result<Result<T, v3::Error>>;
type Connection = Resource<v3::Connection>;

impl v3::Host for View<'_> {}

impl v3::HostConnection for View<'_> {
    async fn open(&mut self, address: String) -> Answer<Connection> {
        match self.granted.clients.postgres().open(address, None).await {
            Ok(session) => Ok(Ok(self.keep(session)?)),
            Err(error) => Ok(Err(failure(error))),
        }
    }

    async fn query(
        &mut self,
        it: Connection,
        statement: String,
        params: Vec<v3::ParameterValue>,
    ) -> Answer<v3::RowSet> {
        let session = self.held::<Session, _>(&it)?;
        let params = params.into_iter().map(parameter).collect();
        let rows = session.query(statement, params).await;
        Ok(rows.map(row_set).map_err(failure))
    }

    async fn execute(
        &mut self,
        it: Connection,
        statement: String,
        params: Vec<v3::ParameterValue>,
    ) -> Answer<u64> {
        let session = self.held::<Session, _>(&it)?;
        let params = params.into_iter().map(parameter).collect();
        Ok(session.execute(statement, params).await.map_err(failure))
    }

    async fn drop(&mut self, it: Connection) -> wasmtime::Result<()> {
        self.release::<Session, _>(&it)
    }
}

fn failure(error: v4::Error) -> v3::Error {
    match error {
        v4::Error::ConnectionFailed(text) => v3::Error::ConnectionFailed(text),
        v4::Error::BadParameter(text) => v3::Error::BadParameter(text),
        v4::Error::QueryFailed(v4::QueryError::Text(text)) => v3::Error::QueryFailed(text),
        v4::Error::QueryFailed(v4::QueryError::DbError(error)) => {
            v3::Error::QueryFailed(error.as_text)
        }
        v4::Error::ValueConversionFailed(text) => v3::Error::ValueConversionFailed(text),
        v4::Error::Other(text) => v3::Error::Other(text),
    }
}

fn parameter(value: v3::ParameterValue) -> v4::ParameterValue {
    use v3::ParameterValue as From;
    use v4::ParameterValue as To;
    match value {
        From::Boolean(value) => To::Boolean(value),
        From::Int8(value) => To::Int8(value),
        From::Int16(value) => To::Int16(value),
        From::Int32(value) => To::Int32(value),
        From::Int64(value) => To::Int64(value),
        From::Floating32(value) => To::Floating32(value),
        From::Floating64(value) => To::Floating64(value),
        From::Str(value) => To::Str(value),
        From::Binary(value) => To::Binary(value),
        From::Date(value) => To::Date(value),
        From::Time(value) => To::Time(value),
        From::Datetime(value) => To::Datetime(value),
        From::Timestamp(value) => To::Timestamp(value),
        From::DbNull => To::DbNull,
    }
}

fn row_set(rows: v4::RowSet) -> v3::RowSet {
    let columns = rows.columns.into_iter().map(|column| v3::Column {
        name: column.name,
        data_type: data_type(&column.data_type),
    });
    let rows = rows.rows.into_iter();
    v3::RowSet {
        columns: columns.collect(),
        rows: rows
            .map(|row| row.into_iter().map(value).collect())
            .collect(),
    }
}

fn data_type(kind: &v4::DbDataType) -> v3::DbDataType {
    use v3::DbDataType as To;
    use v4::DbDataType as From;
    match kind {
        From::Boolean => To::Boolean,
        From::Int8 => To::Int8,
        From::Int16 => To::Int16,
        From::Int32 => To::Int32,
        From::Int64 => To::Int64,
        From::Floating32 => To::Floating32,
        From::Floating64 => To::Floating64,
        From::Str => To::Str,
        From::Binary => To::Binary,
        From::Date => To::Date,
        From::Time => To::Time,
        From::Datetime => To::Datetime,
        From::Timestamp => To::Timestamp,
        _ => To::Other,
    }
}

fn value(value: v4::DbValue) -> v3::DbValue {
    use v3::DbValue as To;
    use v4::DbValue as From;
    match value {
        From::Boolean(value) => To::Boolean(value),
        From::Int8(value) => To::Int8(value),
        From::Int16(value) => To::Int16(value),
        From::Int32(value) => To::Int32(value),
        From::Int64(value) => To::Int64(value),
        From::Floating32(value) => To::Floating32(value),
        From::Floating64(value) => To::Floating64(value),
        From::Str(value) => To::Str(value),
        From::Binary(value) => To::Binary(value),
        From::Date(value) => To::Date(value),
        From::Time(value) => To::Time(value),
        From::Datetime(value) => To::Datetime(value),
        From::Timestamp(value) => To::Timestamp(value),
        From::DbNull => To::DbNull,
        _ => To::Unsupported,
    }
}
