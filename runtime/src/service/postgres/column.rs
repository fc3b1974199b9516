//! Columns and their values as guests see them.

use std::error::Error as StdError;

use catena_bindings::postgres::v4::postgres::{Column, DbDataType, DbValue, Error, Interval};
use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _, Utc};
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

use super::range;

/// The columns of a statement's result.
pub(super) fn all(statement: &Statement) -> Vec<Column> {
    let columns = statement.columns().iter();
    columns
        .map(|column| Column {
            name: column.name().to_owned(),
            data_type: data_type(column.type_()),
        })
        .collect()
}

fn data_type(kind: &Type) -> DbDataType {
    match *kind {
        Type::BOOL => DbDataType::Boolean,
        Type::CHAR => DbDataType::Int8,
        Type::INT2 => DbDataType::Int16,
        Type::INT4 => DbDataType::Int32,
        Type::INT8 => DbDataType::Int64,
        Type::FLOAT4 => DbDataType::Floating32,
        Type::FLOAT8 => DbDataType::Floating64,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => DbDataType::Str,
        Type::BYTEA => DbDataType::Binary,
        Type::DATE => DbDataType::Date,
        Type::TIME => DbDataType::Time,
        Type::TIMESTAMP => DbDataType::Datetime,
        Type::TIMESTAMPTZ => DbDataType::Timestamp,
        Type::UUID => DbDataType::Uuid,
        Type::JSONB => DbDataType::Jsonb,
        Type::NUMERIC => DbDataType::Decimal,
        Type::INT4_RANGE => DbDataType::RangeInt32,
        Type::INT8_RANGE => DbDataType::RangeInt64,
        Type::NUM_RANGE => DbDataType::RangeDecimal,
        Type::INT4_ARRAY => DbDataType::ArrayInt32,
        Type::INT8_ARRAY => DbDataType::ArrayInt64,
        Type::NUMERIC_ARRAY => DbDataType::ArrayDecimal,
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY => DbDataType::ArrayStr,
        Type::INTERVAL => DbDataType::Interval,
        _ => DbDataType::Other(kind.name().to_owned()),
    }
}

/// The values of a row.
///
/// # Errors
/// Names the first column whose value guests cannot be given.
pub(super) fn values(row: &Row) -> Result<Vec<DbValue>, Error> {
    (0..row.len()).map(|index| value(row, index)).collect()
}

/// What a row takes in memory.
pub(super) fn size(row: &[DbValue]) -> usize {
    let more = |value: &DbValue| match value {
        DbValue::Str(text) | DbValue::Uuid(text) | DbValue::Decimal(text) => text.len(),
        DbValue::Binary(bytes) | DbValue::Jsonb(bytes) | DbValue::Unsupported(bytes) => bytes.len(),
        DbValue::ArrayInt32(all) => size_of_val(&**all),
        DbValue::ArrayInt64(all) => size_of_val(&**all),
        DbValue::ArrayStr(all) | DbValue::ArrayDecimal(all) => {
            let texts = all.iter().flatten().map(String::len).sum::<usize>();
            size_of_val(&**all) + texts
        }
        _ => 0,
    };
    size_of::<Vec<DbValue>>() + size_of_val(row) + row.iter().map(more).sum::<usize>()
}

fn value(row: &Row, index: usize) -> Result<DbValue, Error> {
    let column = &row.columns()[index];
    let found = match *column.type_() {
        Type::BOOL => get(row, index, DbValue::Boolean),
        Type::CHAR => get(row, index, DbValue::Int8),
        Type::INT2 => get(row, index, DbValue::Int16),
        Type::INT4 => get(row, index, DbValue::Int32),
        Type::INT8 => get(row, index, DbValue::Int64),
        Type::FLOAT4 => get(row, index, DbValue::Floating32),
        Type::FLOAT8 => get(row, index, DbValue::Floating64),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => get(row, index, DbValue::Str),
        Type::BYTEA => get(row, index, DbValue::Binary),
        Type::DATE => get(row, index, |date: NaiveDate| {
            let (month, day) = (small(date.month()), small(date.day()));
            DbValue::Date((date.year(), month, day))
        }),
        Type::TIME => get(row, index, |time: NaiveTime| DbValue::Time(clock(time))),
        Type::TIMESTAMP => get(row, index, |at: NaiveDateTime| {
            let date = at.date();
            let (hour, minute, second, nano) = clock(at.time());
            let (month, day) = (small(date.month()), small(date.day()));
            DbValue::Datetime((date.year(), month, day, hour, minute, second, nano))
        }),
        Type::TIMESTAMPTZ => get(row, index, |at: DateTime<Utc>| {
            DbValue::Timestamp(at.timestamp())
        }),
        Type::UUID => get(row, index, |uuid: Uuid| DbValue::Uuid(uuid.to_string())),
        Type::JSONB => get(row, index, |Raw(mut bytes)| {
            // The form begins with its version.
            bytes.drain(..bytes.len().min(1));
            DbValue::Jsonb(bytes)
        }),
        Type::NUMERIC => get(row, index, |Numeric(text)| DbValue::Decimal(text)),
        Type::INT4_RANGE => get(row, index, |Raw(bytes)| {
            let read = |bytes: &[u8]| Some(i32::from_be_bytes(bytes.try_into().ok()?));
            let range = range::decode(&bytes, || 0, read);
            range.map_or(DbValue::Unsupported(bytes), DbValue::RangeInt32)
        }),
        Type::INT8_RANGE => get(row, index, |Raw(bytes)| {
            let read = |bytes: &[u8]| Some(i64::from_be_bytes(bytes.try_into().ok()?));
            let range = range::decode(&bytes, || 0, read);
            range.map_or(DbValue::Unsupported(bytes), DbValue::RangeInt64)
        }),
        Type::NUM_RANGE => get(row, index, |Raw(bytes)| {
            let range = range::decode(&bytes, || "0".to_owned(), numeric);
            range.map_or(DbValue::Unsupported(bytes), DbValue::RangeDecimal)
        }),
        Type::INT4_ARRAY => get(row, index, DbValue::ArrayInt32),
        Type::INT8_ARRAY => get(row, index, DbValue::ArrayInt64),
        Type::NUMERIC_ARRAY => get(row, index, |all: Vec<Option<Numeric>>| {
            let texts = all.into_iter().map(|one| one.map(|Numeric(text)| text));
            DbValue::ArrayDecimal(texts.collect())
        }),
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY => {
            get(row, index, DbValue::ArrayStr)
        }
        Type::INTERVAL => get(row, index, |Raw(bytes)| {
            interval(&bytes).map_or(DbValue::Unsupported(bytes), DbValue::Interval)
        }),
        _ => get(row, index, |Raw(bytes)| DbValue::Unsupported(bytes)),
    };
    found.map_err(|error| {
        Error::ValueConversionFailed(format!(
            "column {:?} of type {}: {}",
            column.name(),
            column.type_(),
            super::chain(&error)
        ))
    })
}

fn get<'a, T: FromSql<'a>>(
    row: &'a Row,
    index: usize,
    value: impl FnOnce(T) -> DbValue,
) -> Result<DbValue, tokio_postgres::Error> {
    let found = row.try_get::<_, Option<T>>(index)?;
    Ok(found.map_or(DbValue::DbNull, value))
}

/// A part of a date or of a time.
fn small(part: u32) -> u8 {
    u8::try_from(part).unwrap_or(u8::MAX)
}

fn clock(time: NaiveTime) -> (u8, u8, u8, u32) {
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    (small(hour), small(minute), small(second), time.nanosecond())
}

fn interval(bytes: &[u8]) -> Option<Interval> {
    let (micros, rest) = bytes.split_first_chunk::<8>()?;
    let (days, months) = rest.split_first_chunk::<4>()?;
    Some(Interval {
        micros: i64::from_be_bytes(*micros),
        days: i32::from_be_bytes(*days),
        months: i32::from_be_bytes(months.try_into().ok()?),
    })
}

/// A value of any type, in its binary form.
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A decimal number of any length, as text.
struct Numeric(String);

impl<'a> FromSql<'a> for Numeric {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(numeric(raw).ok_or("a malformed number")?))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::NUMERIC
    }
}

/// Reads a number of digits to the base of 10000: their count, the power of the
/// first, the sign, and the number of decimal places that are shown.
fn numeric(raw: &[u8]) -> Option<String> {
    let mut parts = raw
        .chunks(2)
        .map(|pair| Some(i16::from_be_bytes(pair.try_into().ok()?)));
    let mut part = || parts.next().flatten();
    let (count, weight, sign, places) = (part()?, part()?, part()?, part()?);
    let sign = match sign.cast_unsigned() {
        0 => "",
        0x4000 => "-",
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        _ => return None,
    };
    let digits: Vec<i16> = (0..count).map(|_| part()).collect::<Option<_>>()?;
    let at = |power: i32| {
        let index = usize::try_from(i32::from(weight) - power).ok();
        index
            .and_then(|index| digits.get(index))
            .copied()
            .unwrap_or(0)
    };
    let mut whole = String::new();
    for power in (0..=i32::from(weight).max(0)).rev() {
        whole += &format!("{:04}", at(power));
    }
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let places = usize::try_from(places).ok()?;
    if places == 0 {
        return Some(format!("{sign}{whole}"));
    }
    let mut fraction = String::new();
    let mut power = -1;
    while fraction.len() < places {
        fraction += &format!("{:04}", at(power));
        power -= 1;
    }
    fraction.truncate(places);
    Some(format!("{sign}{whole}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(parts: &[i16]) -> Vec<u8> {
        parts.iter().flat_map(|part| part.to_be_bytes()).collect()
    }

    #[test]
    fn numbers_are_read_with_all_their_digits() {
        let minus = 0x4000;
        for (parts, text) in [
            (&[0, 0, 0, 0][..], "0"),
            (&[1, 0, minus, 0, 7], "-7"),
            (&[2, 0, 0, 2, 3, 1400], "3.14"),
            (&[2, 1, 0, 0, 1, 2], "10002"),
            (&[1, 2, 0, 0, 1], "100000000"),
            (&[1, -2, 0, 8, 5], "0.00000005"),
        ] {
            assert_eq!(numeric(&raw(parts)).as_deref(), Some(text));
        }
        assert_eq!(numeric(&raw(&[2, 0, 0, 0, 1])), None);
        assert_eq!(numeric(&[0]), None);
    }
}
