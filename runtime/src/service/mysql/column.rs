//! Columns, values and parameters as guests see them.

use catena_bindings::mysql::mysql::{Column, DbDataType, DbValue, ParameterValue};
use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::{Row, Value};

/// The character set of what is no text.
const BINARY: u16 = 63;

/// The columns of a result.
pub(super) fn all(columns: &[mysql_async::Column]) -> Vec<Column> {
    let columns = columns.iter().map(|column| Column {
        name: column.name_str().into_owned(),
        data_type: data_type(column),
    });
    columns.collect()
}

fn data_type(column: &mysql_async::Column) -> DbDataType {
    let unsigned = column.flags().contains(ColumnFlags::UNSIGNED_FLAG);
    let binary = column.character_set() == BINARY;
    match (column.column_type(), unsigned) {
        (ColumnType::MYSQL_TYPE_TINY, false) => DbDataType::Int8,
        (ColumnType::MYSQL_TYPE_TINY, true) => DbDataType::Uint8,
        (ColumnType::MYSQL_TYPE_SHORT, false) => DbDataType::Int16,
        (ColumnType::MYSQL_TYPE_SHORT | ColumnType::MYSQL_TYPE_YEAR, true) => DbDataType::Uint16,
        (ColumnType::MYSQL_TYPE_INT24 | ColumnType::MYSQL_TYPE_LONG, false) => DbDataType::Int32,
        (ColumnType::MYSQL_TYPE_INT24 | ColumnType::MYSQL_TYPE_LONG, true) => DbDataType::Uint32,
        (ColumnType::MYSQL_TYPE_LONGLONG, false) => DbDataType::Int64,
        (ColumnType::MYSQL_TYPE_LONGLONG, true) => DbDataType::Uint64,
        (ColumnType::MYSQL_TYPE_FLOAT, _) => DbDataType::Floating32,
        (ColumnType::MYSQL_TYPE_DOUBLE, _) => DbDataType::Floating64,
        (
            ColumnType::MYSQL_TYPE_VARCHAR
            | ColumnType::MYSQL_TYPE_VAR_STRING
            | ColumnType::MYSQL_TYPE_STRING
            | ColumnType::MYSQL_TYPE_TINY_BLOB
            | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
            | ColumnType::MYSQL_TYPE_LONG_BLOB
            | ColumnType::MYSQL_TYPE_BLOB,
            _,
        ) => {
            if binary {
                DbDataType::Binary
            } else {
                DbDataType::Str
            }
        }
        _ => DbDataType::Other,
    }
}

/// The values of a row.
pub(super) fn values(row: Row) -> Vec<DbValue> {
    let kinds: Vec<DbDataType> = row.columns_ref().iter().map(data_type).collect();
    let values = row.unwrap_raw().into_iter();
    values
        .zip(kinds)
        .map(|(found, kind)| value(found.unwrap_or(Value::NULL), kind))
        .collect()
}

fn value(found: Value, kind: DbDataType) -> DbValue {
    let converted = match (found, kind) {
        (Value::NULL, _) => Some(DbValue::DbNull),
        (Value::Bytes(bytes), DbDataType::Binary) => Some(DbValue::Binary(bytes)),
        (Value::Bytes(bytes), DbDataType::Str) => String::from_utf8(bytes).ok().map(DbValue::Str),
        (Value::Float(number), DbDataType::Floating32) => Some(DbValue::Floating32(number)),
        (Value::Double(number), DbDataType::Floating64) => Some(DbValue::Floating64(number)),
        (Value::Int(number), kind) => integer(number.into(), kind),
        (Value::UInt(number), kind) => integer(number.into(), kind),
        _ => None,
    };
    converted.unwrap_or(DbValue::Unsupported)
}

fn integer(number: i128, kind: DbDataType) -> Option<DbValue> {
    match kind {
        DbDataType::Int8 => number.try_into().ok().map(DbValue::Int8),
        DbDataType::Int16 => number.try_into().ok().map(DbValue::Int16),
        DbDataType::Int32 => number.try_into().ok().map(DbValue::Int32),
        DbDataType::Int64 => number.try_into().ok().map(DbValue::Int64),
        DbDataType::Uint8 => number.try_into().ok().map(DbValue::Uint8),
        DbDataType::Uint16 => number.try_into().ok().map(DbValue::Uint16),
        DbDataType::Uint32 => number.try_into().ok().map(DbValue::Uint32),
        DbDataType::Uint64 => number.try_into().ok().map(DbValue::Uint64),
        _ => None,
    }
}

/// What a row takes in memory.
pub(super) fn size(row: &[DbValue]) -> usize {
    let more = |value: &DbValue| match value {
        DbValue::Str(text) => text.len(),
        DbValue::Binary(bytes) => bytes.len(),
        _ => 0,
    };
    size_of::<Vec<DbValue>>() + size_of_val(row) + row.iter().map(more).sum::<usize>()
}

/// A guest's value as the client sends it.
pub(super) fn parameter(value: ParameterValue) -> Value {
    match value {
        ParameterValue::Boolean(value) => Value::from(value),
        ParameterValue::Int8(value) => Value::from(value),
        ParameterValue::Int16(value) => Value::from(value),
        ParameterValue::Int32(value) => Value::from(value),
        ParameterValue::Int64(value) => Value::from(value),
        ParameterValue::Uint8(value) => Value::from(value),
        ParameterValue::Uint16(value) => Value::from(value),
        ParameterValue::Uint32(value) => Value::from(value),
        ParameterValue::Uint64(value) => Value::from(value),
        ParameterValue::Floating32(value) => Value::from(value),
        ParameterValue::Floating64(value) => Value::from(value),
        ParameterValue::Str(value) => Value::from(value),
        ParameterValue::Binary(value) => Value::from(value),
        ParameterValue::DbNull => Value::NULL,
    }
}
