//! The types that both databases shared, from and to those of each.
#![allow(
    clippy::result_large_err,
    reason = "the error of PostgreSQL's interface holds all that it says of one"
)]

use catena_bindings::mysql::mysql as my;
use catena_bindings::postgres::v4::postgres as pg;
use catena_bindings::rdbms;

/// The same conversions for the two versions of the types.
macro_rules! conversions {
    ($version:ident) => {
        pub(in crate::host) mod $version {
            use super::rdbms::$version::rdbms_types::{
                Column, DbDataType, DbValue, ParameterValue, RowSet,
            };
            use super::{my, pg};

            /// # Errors
            /// PostgreSQL has no numbers without a sign.
            pub(in crate::host) fn to_postgres(
                params: Vec<ParameterValue>,
            ) -> Result<Vec<pg::ParameterValue>, pg::Error> {
                let one = |value| {
                    Ok(match value {
                        ParameterValue::Boolean(value) => pg::ParameterValue::Boolean(value),
                        ParameterValue::Int8(value) => pg::ParameterValue::Int8(value),
                        ParameterValue::Int16(value) => pg::ParameterValue::Int16(value),
                        ParameterValue::Int32(value) => pg::ParameterValue::Int32(value),
                        ParameterValue::Int64(value) => pg::ParameterValue::Int64(value),
                        ParameterValue::Floating32(value) => pg::ParameterValue::Floating32(value),
                        ParameterValue::Floating64(value) => pg::ParameterValue::Floating64(value),
                        ParameterValue::Str(value) => pg::ParameterValue::Str(value),
                        ParameterValue::Binary(value) => pg::ParameterValue::Binary(value),
                        ParameterValue::DbNull => pg::ParameterValue::DbNull,
                        ParameterValue::Uint8(_)
                        | ParameterValue::Uint16(_)
                        | ParameterValue::Uint32(_)
                        | ParameterValue::Uint64(_) => {
                            let text = "PostgreSQL has no unsigned integers".to_owned();
                            return Err(pg::Error::BadParameter(text));
                        }
                    })
                };
                params.into_iter().map(one).collect()
            }

            pub(in crate::host) fn to_mysql(
                params: Vec<ParameterValue>,
            ) -> Vec<my::ParameterValue> {
                let one = |value| match value {
                    ParameterValue::Boolean(value) => my::ParameterValue::Boolean(value),
                    ParameterValue::Int8(value) => my::ParameterValue::Int8(value),
                    ParameterValue::Int16(value) => my::ParameterValue::Int16(value),
                    ParameterValue::Int32(value) => my::ParameterValue::Int32(value),
                    ParameterValue::Int64(value) => my::ParameterValue::Int64(value),
                    ParameterValue::Uint8(value) => my::ParameterValue::Uint8(value),
                    ParameterValue::Uint16(value) => my::ParameterValue::Uint16(value),
                    ParameterValue::Uint32(value) => my::ParameterValue::Uint32(value),
                    ParameterValue::Uint64(value) => my::ParameterValue::Uint64(value),
                    ParameterValue::Floating32(value) => my::ParameterValue::Floating32(value),
                    ParameterValue::Floating64(value) => my::ParameterValue::Floating64(value),
                    ParameterValue::Str(value) => my::ParameterValue::Str(value),
                    ParameterValue::Binary(value) => my::ParameterValue::Binary(value),
                    ParameterValue::DbNull => my::ParameterValue::DbNull,
                };
                params.into_iter().map(one).collect()
            }

            pub(in crate::host) fn from_postgres(rows: pg::RowSet) -> RowSet {
                let kind = |kind: &pg::DbDataType| match kind {
                    pg::DbDataType::Boolean => DbDataType::Boolean,
                    pg::DbDataType::Int8 => DbDataType::Int8,
                    pg::DbDataType::Int16 => DbDataType::Int16,
                    pg::DbDataType::Int32 => DbDataType::Int32,
                    pg::DbDataType::Int64 => DbDataType::Int64,
                    pg::DbDataType::Floating32 => DbDataType::Floating32,
                    pg::DbDataType::Floating64 => DbDataType::Floating64,
                    pg::DbDataType::Str => DbDataType::Str,
                    pg::DbDataType::Binary => DbDataType::Binary,
                    _ => DbDataType::Other,
                };
                let value = |value| match value {
                    pg::DbValue::Boolean(value) => DbValue::Boolean(value),
                    pg::DbValue::Int8(value) => DbValue::Int8(value),
                    pg::DbValue::Int16(value) => DbValue::Int16(value),
                    pg::DbValue::Int32(value) => DbValue::Int32(value),
                    pg::DbValue::Int64(value) => DbValue::Int64(value),
                    pg::DbValue::Floating32(value) => DbValue::Floating32(value),
                    pg::DbValue::Floating64(value) => DbValue::Floating64(value),
                    pg::DbValue::Str(value) => DbValue::Str(value),
                    pg::DbValue::Binary(value) => DbValue::Binary(value),
                    pg::DbValue::DbNull => DbValue::DbNull,
                    _ => DbValue::Unsupported,
                };
                let columns = rows.columns.into_iter().map(|column| Column {
                    data_type: kind(&column.data_type),
                    name: column.name,
                });
                let columns = columns.collect();
                let rows = rows.rows.into_iter();
                let rows = rows.map(|row| row.into_iter().map(value).collect());
                let rows = rows.collect();
                RowSet { columns, rows }
            }

            pub(in crate::host) fn from_mysql(
                (columns, rows): (Vec<my::Column>, Vec<my::Row>),
            ) -> RowSet {
                let kind = |kind| match kind {
                    my::DbDataType::Boolean => DbDataType::Boolean,
                    my::DbDataType::Int8 => DbDataType::Int8,
                    my::DbDataType::Int16 => DbDataType::Int16,
                    my::DbDataType::Int32 => DbDataType::Int32,
                    my::DbDataType::Int64 => DbDataType::Int64,
                    my::DbDataType::Uint8 => DbDataType::Uint8,
                    my::DbDataType::Uint16 => DbDataType::Uint16,
                    my::DbDataType::Uint32 => DbDataType::Uint32,
                    my::DbDataType::Uint64 => DbDataType::Uint64,
                    my::DbDataType::Floating32 => DbDataType::Floating32,
                    my::DbDataType::Floating64 => DbDataType::Floating64,
                    my::DbDataType::Str => DbDataType::Str,
                    my::DbDataType::Binary => DbDataType::Binary,
                    my::DbDataType::Other => DbDataType::Other,
                };
                let value = |value| match value {
                    my::DbValue::Boolean(value) => DbValue::Boolean(value),
                    my::DbValue::Int8(value) => DbValue::Int8(value),
                    my::DbValue::Int16(value) => DbValue::Int16(value),
                    my::DbValue::Int32(value) => DbValue::Int32(value),
                    my::DbValue::Int64(value) => DbValue::Int64(value),
                    my::DbValue::Uint8(value) => DbValue::Uint8(value),
                    my::DbValue::Uint16(value) => DbValue::Uint16(value),
                    my::DbValue::Uint32(value) => DbValue::Uint32(value),
                    my::DbValue::Uint64(value) => DbValue::Uint64(value),
                    my::DbValue::Floating32(value) => DbValue::Floating32(value),
                    my::DbValue::Floating64(value) => DbValue::Floating64(value),
                    my::DbValue::Str(value) => DbValue::Str(value),
                    my::DbValue::Binary(value) => DbValue::Binary(value),
                    my::DbValue::DbNull => DbValue::DbNull,
                    my::DbValue::Unsupported => DbValue::Unsupported,
                };
                let columns = columns.into_iter().map(|column| Column {
                    data_type: kind(column.data_type),
                    name: column.name,
                });
                let columns = columns.collect();
                let rows = rows.into_iter();
                let rows = rows.map(|row| row.into_iter().map(value).collect());
                let rows = rows.collect();
                RowSet { columns, rows }
            }
        }
    };
}

conversions!(v0);
conversions!(v2);

/// The same errors under other names.
macro_rules! errors {
    ($name:ident: $($from:ident)::+ => $($to:ident)::+, $other:ident, $query:expr) => {
        pub(super) fn $name(error: $($from)::+) -> $($to)::+ {
            match error {
                $($from)::+::ConnectionFailed(text) => $($to)::+::ConnectionFailed(text),
                $($from)::+::BadParameter(text) => $($to)::+::BadParameter(text),
                $($from)::+::QueryFailed(error) => $($to)::+::QueryFailed($query(error)),
                $($from)::+::ValueConversionFailed(text) => {
                    $($to)::+::ValueConversionFailed(text)
                }
                $($from)::+::Other(text) => $($to)::+::$other(text),
            }
        }
    };
}

errors!(postgres_error0: pg::Error => rdbms::v0::postgres::PgError, OtherError, text);
errors!(postgres_error2: pg::Error => rdbms::v2::rdbms_types::Error, Other, text);
errors!(mysql_error0: my::Error => rdbms::v0::mysql::MysqlError, OtherError, String::from);
errors!(mysql_error2: my::Error => rdbms::v2::rdbms_types::Error, Other, String::from);

fn text(error: pg::QueryError) -> String {
    match error {
        pg::QueryError::Text(text) => text,
        pg::QueryError::DbError(error) => error.as_text,
    }
}
