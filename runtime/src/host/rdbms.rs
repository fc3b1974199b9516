//! `fermyon:spin/postgres` and `fermyon:spin/mysql`, unversioned and 2.0.0: the same
//! types for both databases, in the words of their later interfaces.

use catena_bindings::rdbms::{v0, v2};
use wasmtime::component::{Linker, Resource};

use super::handles::Handles;
use super::{State, View, Viewed};
use crate::service::mysql::Session as MysqlSession;
use crate::service::postgres::Session as PostgresSession;

mod convert;

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    v0::rdbms_types::add_to_linker::<_, Viewed>(linker, State::view)?;
    v0::postgres::add_to_linker::<_, Viewed>(linker, State::view)?;
    v0::mysql::add_to_linker::<_, Viewed>(linker, State::view)?;
    v2::rdbms_types::add_to_linker::<_, Viewed>(linker, State::view)?;
    v2::postgres::add_to_linker::<_, Viewed>(linker, State::view)?;
    v2::mysql::add_to_linker::<_, Viewed>(linker, State::view)
}

impl v0::rdbms_types::Host for View<'_> {}
impl v2::rdbms_types::Host for View<'_> {}
impl v2::postgres::Host for View<'_> {}
impl v2::mysql::Host for View<'_> {}

type Rows0 = v0::rdbms_types::RowSet;
type Params0 = Vec<v0::rdbms_types::ParameterValue>;
type Answer0<T, E> = wasmtime::Result<Result<T, E>>;

impl v0::postgres::Host for View<'_> {
    async fn query(
        &mut self,
        address: String,
        statement: String,
        params: Params0,
    ) -> Answer0<Rows0, v0::postgres::PgError> {
        let answer = async {
            let params = convert::v0::to_postgres(params)?;
            let session = self.granted.clients.postgres().open(address, None).await?;
            session.query(statement, params).await
        };
        let rows = answer.await.map(convert::v0::from_postgres);
        Ok(rows.map_err(convert::postgres_error0))
    }

    async fn execute(
        &mut self,
        address: String,
        statement: String,
        params: Params0,
    ) -> Answer0<u64, v0::postgres::PgError> {
        let answer = async {
            let params = convert::v0::to_postgres(params)?;
            let session = self.granted.clients.postgres().open(address, None).await?;
            session.execute(statement, params).await
        };
        Ok(answer.await.map_err(convert::postgres_error0))
    }
}

impl v0::mysql::Host for View<'_> {
    async fn query(
        &mut self,
        address: String,
        statement: String,
        params: Params0,
    ) -> Answer0<Rows0, v0::mysql::MysqlError> {
        let params = convert::v0::to_mysql(params);
        let answer = async {
            let session = self.granted.clients.mysql().open(address).await?;
            session.query(statement, params).await
        };
        let rows = answer.await.map(convert::v0::from_mysql);
        Ok(rows.map_err(convert::mysql_error0))
    }

    async fn execute(
        &mut self,
        address: String,
        statement: String,
        params: Params0,
    ) -> Answer0<(), v0::mysql::MysqlError> {
        let params = convert::v0::to_mysql(params);
        let answer = async {
            let session = self.granted.clients.mysql().open(address).await?;
            session.execute(statement, params).await
        };
        Ok(answer.await.map_err(convert::mysql_error0))
    }
}

type Rows2 = v2::rdbms_types::RowSet;
type Params2 = Vec<v2::rdbms_types::ParameterValue>;
type Answer2<T> = wasmtime::Result<Result<T, v2::rdbms_types::Error>>;

impl v2::postgres::HostConnection for View<'_> {
    async fn open(&mut self, address: String) -> Answer2<Resource<v2::postgres::Connection>> {
        match self.granted.clients.postgres().open(address, None).await {
            Ok(session) => Ok(Ok(self.keep(session)?)),
            Err(error) => Ok(Err(convert::postgres_error2(error))),
        }
    }

    async fn query(
        &mut self,
        it: Resource<v2::postgres::Connection>,
        statement: String,
        params: Params2,
    ) -> Answer2<Rows2> {
        let session = self.held::<PostgresSession, _>(&it)?;
        let answer = async {
            let params = convert::v2::to_postgres(params)?;
            session.query(statement, params).await
        };
        let rows = answer.await.map(convert::v2::from_postgres);
        Ok(rows.map_err(convert::postgres_error2))
    }

    async fn execute(
        &mut self,
        it: Resource<v2::postgres::Connection>,
        statement: String,
        params: Params2,
    ) -> Answer2<u64> {
        let session = self.held::<PostgresSession, _>(&it)?;
        let answer = async {
            let params = convert::v2::to_postgres(params)?;
            session.execute(statement, params).await
        };
        Ok(answer.await.map_err(convert::postgres_error2))
    }

    async fn drop(&mut self, it: Resource<v2::postgres::Connection>) -> wasmtime::Result<()> {
        self.release::<PostgresSession, _>(&it)
    }
}

impl v2::mysql::HostConnection for View<'_> {
    async fn open(&mut self, address: String) -> Answer2<Resource<v2::mysql::Connection>> {
        match self.granted.clients.mysql().open(address).await {
            Ok(session) => Ok(Ok(self.keep(session)?)),
            Err(error) => Ok(Err(convert::mysql_error2(error))),
        }
    }

    async fn query(
        &mut self,
        it: Resource<v2::mysql::Connection>,
        statement: String,
        params: Params2,
    ) -> Answer2<Rows2> {
        let session = self.held::<MysqlSession, _>(&it)?;
        let params = convert::v2::to_mysql(params);
        let rows = session.query(statement, params).await;
        let rows = rows.map(convert::v2::from_mysql);
        Ok(rows.map_err(convert::mysql_error2))
    }

    async fn execute(
        &mut self,
        it: Resource<v2::mysql::Connection>,
        statement: String,
        params: Params2,
    ) -> Answer2<()> {
        let session = self.held::<MysqlSession, _>(&it)?;
        let params = convert::v2::to_mysql(params);
        let done = session.execute(statement, params).await;
        Ok(done.map_err(convert::mysql_error2))
    }

    async fn drop(&mut self, it: Resource<v2::mysql::Connection>) -> wasmtime::Result<()> {
        self.release::<MysqlSession, _>(&it)
    }
}
