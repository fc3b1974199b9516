//! What traces, metrics and logs have in common, as the collector takes it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use catena_bindings::otel::{Datetime, types};
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_json::Value;

/// How bytes are written in JSON.
const BYTES: &str = "data:application/octet-stream;base64,";

pub(super) fn nanoseconds(time: Datetime) -> u64 {
    let seconds = time.seconds.saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(time.nanoseconds))
}

pub(super) fn maybe_nanoseconds(time: Option<Datetime>) -> u64 {
    time.map_or(0, nanoseconds)
}

/// An identifier that is written in hexadecimal digits; none where it is not,
/// or where it stands for none.
pub(super) fn identifier(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let bytes = bytes.unwrap_or_default();
    if bytes.iter().all(|byte| *byte == 0) {
        return Vec::new();
    }
    bytes
}

pub(super) fn attributes(pairs: Vec<types::KeyValue>) -> Vec<KeyValue> {
    let pairs = pairs.into_iter().map(|pair| KeyValue {
        key: pair.key,
        value: Some(value(&pair.value)),
        ..Default::default()
    });
    pairs.collect()
}

pub(super) fn scope(scope: types::InstrumentationScope) -> InstrumentationScope {
    InstrumentationScope {
        name: scope.name,
        version: scope.version.unwrap_or_default(),
        attributes: attributes(scope.attributes),
        ..Default::default()
    }
}

/// A resource, and its schema.
pub(super) fn resource(resource: types::Resource) -> (Resource, Option<String>) {
    let converted = Resource {
        attributes: attributes(resource.attributes),
        ..Default::default()
    };
    (converted, resource.schema_url)
}

/// A value that is written as JSON; what is not JSON is text.
pub(super) fn value(json: &str) -> AnyValue {
    match serde_json::from_str(json) {
        Ok(parsed) => any(parsed),
        Err(_) => AnyValue {
            value: Some(any_value::Value::StringValue(json.to_owned())),
        },
    }
}

fn any(json: Value) -> AnyValue {
    use any_value::Value as Any;
    let value = match json {
        Value::Null => None,
        Value::Bool(bool) => Some(Any::BoolValue(bool)),
        Value::Number(number) => Some(match number.as_i64() {
            Some(int) => Any::IntValue(int),
            None => Any::DoubleValue(number.as_f64().unwrap_or_default()),
        }),
        Value::String(text) => {
            let bytes = text.strip_prefix(BYTES);
            match bytes.and_then(|bytes| BASE64_STANDARD.decode(bytes).ok()) {
                Some(bytes) => Some(Any::BytesValue(bytes)),
                None => Some(Any::StringValue(text)),
            }
        }
        Value::Array(items) => Some(Any::ArrayValue(ArrayValue {
            values: items.into_iter().map(any).collect(),
        })),
        Value::Object(pairs) => Some(Any::KvlistValue(KeyValueList {
            values: pairs
                .into_iter()
                .map(|(key, value)| KeyValue {
                    key,
                    value: Some(any(value)),
                    ..Default::default()
                })
                .collect(),
        })),
    };
    AnyValue { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use any_value::Value as Any;

    #[test]
    fn values_are_json() {
        let read = |json: &str| value(json).value.unwrap();
        assert_eq!(read("\"a\""), Any::StringValue("a".to_owned()));
        assert_eq!(read("7"), Any::IntValue(7));
        assert_eq!(read("0.5"), Any::DoubleValue(0.5));
        assert_eq!(read("not json"), Any::StringValue("not json".to_owned()));
        let bytes = "\"data:application/octet-stream;base64,AAE=\"";
        assert_eq!(read(bytes), Any::BytesValue(vec![0, 1]));
        assert!(matches!(read("[1, \"b\"]"), Any::ArrayValue(list) if list.values.len() == 2));
        assert!(matches!(read("{\"a\": 1}"), Any::KvlistValue(list) if list.values.len() == 1));
    }

    #[test]
    fn identifiers_are_hexadecimal() {
        assert_eq!(identifier("00ff"), [0, 255]);
        assert!(identifier("0000").is_empty());
        assert!(identifier("xy").is_empty());
    }
}
