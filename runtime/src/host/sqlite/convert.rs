//! Values, rows and errors of the versions of the interface, which are the same
//! but for their types.

use catena_bindings::sqlite::{unversioned, v2, v3_0, v3_1};

use super::{Error, Rows, Value};

macro_rules! convert {
    ($version:ident) => {
        impl From<$version::Value> for Value {
            fn from(value: $version::Value) -> Self {
                match value {
                    $version::Value::Integer(number) => Self::Integer(number),
                    $version::Value::Real(number) => Self::Real(number),
                    $version::Value::Text(text) => Self::Text(text),
                    $version::Value::Blob(blob) => Self::Blob(blob),
                    $version::Value::Null => Self::Null,
                }
            }
        }

        impl From<Value> for $version::Value {
            fn from(value: Value) -> Self {
                match value {
                    Value::Integer(number) => Self::Integer(number),
                    Value::Real(number) => Self::Real(number),
                    Value::Text(text) => Self::Text(text),
                    Value::Blob(blob) => Self::Blob(blob),
                    Value::Null => Self::Null,
                }
            }
        }

        impl From<Rows> for $version::QueryResult {
            fn from(Rows { columns, rows }: Rows) -> Self {
                let rows = rows.into_iter().map(|row| $version::RowResult {
                    values: row.into_iter().map(Into::into).collect(),
                });
                Self {
                    columns,
                    rows: rows.collect(),
                }
            }
        }

        impl From<Error> for $version::Error {
            fn from(error: Error) -> Self {
                match error {
                    Error::NoSuchDatabase => Self::NoSuchDatabase,
                    Error::AccessDenied => Self::AccessDenied,
                    Error::Full => Self::DatabaseFull,
                    Error::Io(reason) => Self::Io(reason),
                }
            }
        }
    };
}

convert!(unversioned);
convert!(v2);
convert!(v3_0);
convert!(v3_1);
