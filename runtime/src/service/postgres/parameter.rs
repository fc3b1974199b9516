//! Values of guests as parameters of statements.

use std::error::Error as StdError;

use bytes::{BufMut, BytesMut};
use catena_bindings::postgres::v4::postgres::{Error, Interval, ParameterValue};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use rust_decimal::Decimal;
use tokio_postgres::types::{IsNull, ToSql, Type, WrongType, to_sql_checked};
use uuid::Uuid;

use super::range::{self, Bound};

/// A value that the client can send from any thread.
pub(super) type Parameter = Box<dyn ToSql + Send + Sync>;

/// All parameters of a statement.
///
/// # Errors
/// Names the first that is not what its type says.
pub(super) fn all(values: Vec<ParameterValue>) -> Result<Vec<Parameter>, Error> {
    values.into_iter().map(one).collect()
}

fn one(value: ParameterValue) -> Result<Parameter, Error> {
    Ok(match value {
        ParameterValue::Boolean(value) => Box::new(value),
        ParameterValue::Int8(value) => Box::new(value),
        ParameterValue::Int16(value) => Box::new(value),
        ParameterValue::Int32(value) => Box::new(value),
        ParameterValue::Int64(value) => Box::new(value),
        ParameterValue::Floating32(value) => Box::new(value),
        ParameterValue::Floating64(value) => Box::new(value),
        ParameterValue::Str(value) => Box::new(value),
        ParameterValue::Binary(value) => Box::new(value),
        ParameterValue::Date((year, month, day)) => Box::new(date(year, month, day)?),
        ParameterValue::Time((hour, minute, second, nano)) => {
            Box::new(time(hour, minute, second, nano)?)
        }
        ParameterValue::Datetime((year, month, day, hour, minute, second, nano)) => {
            let date = date(year, month, day)?;
            Box::new(NaiveDateTime::new(date, time(hour, minute, second, nano)?))
        }
        ParameterValue::Timestamp(seconds) => {
            let bad = || Error::BadParameter(format!("{seconds} is no timestamp"));
            Box::new(DateTime::from_timestamp(seconds, 0).ok_or_else(bad)?)
        }
        ParameterValue::Uuid(text) => {
            let bad = |error| Error::BadParameter(format!("{text:?} is no UUID: {error}"));
            Box::new(Uuid::parse_str(&text).map_err(bad)?)
        }
        ParameterValue::Jsonb(text) => Box::new(Raw::jsonb(&text)),
        ParameterValue::Decimal(text) => Box::new(decimal(&text)?),
        ParameterValue::RangeInt32((lower, upper)) => {
            let bytes = |value: i32| value.to_be_bytes().to_vec();
            Box::new(Raw::range(
                &Type::INT4_RANGE,
                of(lower, bytes),
                of(upper, bytes),
            ))
        }
        ParameterValue::RangeInt64((lower, upper)) => {
            let bytes = |value: i64| value.to_be_bytes().to_vec();
            Box::new(Raw::range(
                &Type::INT8_RANGE,
                of(lower, bytes),
                of(upper, bytes),
            ))
        }
        ParameterValue::RangeDecimal((lower, upper)) => {
            let bound = |bound: Bound<String>| -> Result<Bound<Vec<u8>>, Error> {
                bound
                    .map(|(text, kind)| Ok((numeric(&text)?, kind)))
                    .transpose()
            };
            Box::new(Raw::range(&Type::NUM_RANGE, bound(lower)?, bound(upper)?))
        }
        ParameterValue::ArrayInt32(values) => Box::new(values),
        ParameterValue::ArrayInt64(values) => Box::new(values),
        ParameterValue::ArrayStr(values) => Box::new(values),
        ParameterValue::ArrayDecimal(values) => {
            let values = values
                .into_iter()
                .map(|text| text.map(|text| decimal(&text)).transpose());
            Box::new(values.collect::<Result<Vec<_>, _>>()?)
        }
        ParameterValue::Interval(interval) => Box::new(Raw::interval(interval)),
        ParameterValue::DbNull => Box::new(Null),
    })
}

fn date(year: i32, month: u8, day: u8) -> Result<NaiveDate, Error> {
    let bad = || Error::BadParameter(format!("{year}-{month}-{day} is no date"));
    NaiveDate::from_ymd_opt(year, month.into(), day.into()).ok_or_else(bad)
}

fn time(hour: u8, minute: u8, second: u8, nano: u32) -> Result<NaiveTime, Error> {
    let bad = || Error::BadParameter(format!("{hour}:{minute}:{second}.{nano:09} is no time"));
    NaiveTime::from_hms_nano_opt(hour.into(), minute.into(), second.into(), nano).ok_or_else(bad)
}

fn decimal(text: &str) -> Result<Decimal, Error> {
    let bad = |error| Error::BadParameter(format!("{text:?} is no decimal: {error}"));
    text.parse().map_err(bad)
}

/// A decimal in PostgreSQL's binary form.
fn numeric(text: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = BytesMut::new();
    decimal(text)?
        .to_sql(&Type::NUMERIC, &mut bytes)
        .map_err(|error| Error::BadParameter(error.to_string()))?;
    Ok(bytes.to_vec())
}

fn of<T>(bound: Bound<T>, bytes: impl Fn(T) -> Vec<u8>) -> Bound<Vec<u8>> {
    bound.map(|(value, kind)| (bytes(value), kind))
}

/// No value, of whatever type.
#[derive(Debug)]
struct Null;

impl ToSql for Null {
    fn to_sql(
        &self,
        _: &Type,
        _: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        Ok(IsNull::Yes)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A value of one type in its binary form.
#[derive(Debug)]
struct Raw {
    kind: Type,
    bytes: Vec<u8>,
}

impl Raw {
    fn jsonb(text: &[u8]) -> Self {
        // The form begins with its version.
        let bytes = [&[1], text].concat();
        Self {
            kind: Type::JSONB,
            bytes,
        }
    }

    fn range(kind: &Type, lower: Bound<Vec<u8>>, upper: Bound<Vec<u8>>) -> Self {
        Self {
            kind: kind.clone(),
            bytes: range::encode(lower, upper),
        }
    }

    fn interval(interval: Interval) -> Self {
        let mut bytes = Vec::with_capacity(16);
        bytes.put_i64(interval.micros);
        bytes.put_i32(interval.days);
        bytes.put_i32(interval.months);
        Self {
            kind: Type::INTERVAL,
            bytes,
        }
    }
}

impl ToSql for Raw {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.put_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(
        &self,
        wanted: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        if *wanted != self.kind {
            return Err(Box::new(WrongType::new::<Self>(wanted.clone())));
        }
        self.to_sql(wanted, out)
    }
}
