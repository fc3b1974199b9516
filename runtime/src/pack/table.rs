//! Reads a TOML table key by key; whatever has the wrong type, and every key
//! that nobody asked for, becomes a mistake with its line.

use std::ops::Range;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistakes::Mistakes;

type Spot<'t> = &'t Spanned<DeValue<'t>>;

/// A table being read.
pub(super) struct Table<'t> {
    /// How sentences name it, for example `component "a"`.
    pub(super) name: String,
    pub(super) span: Range<usize>,
    table: &'t DeTable<'t>,
    known: Vec<&'static str>,
    refused: Vec<&'static str>,
}

/// A string and where it is.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) value: String,
    pub(super) span: Range<usize>,
}

impl<'t> Table<'t> {
    pub(super) fn new(name: impl Into<String>, span: Range<usize>, table: &'t DeTable<'t>) -> Self {
        Table {
            name: name.into(),
            span,
            table,
            known: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Reads a value that has to be a table.
    pub(super) fn of(
        name: impl Into<String>,
        spot: Spot<'t>,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let name = name.into();
        match spot.get_ref() {
            DeValue::Table(table) => Some(Table::new(name, spot.span(), table)),
            other => {
                mistakes.push(
                    spot.span(),
                    format!("{name} has to be a table, and is {}", kind(other)),
                );
                None
            }
        }
    }

    /// The value of a key, which is known from now on.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Spot<'t>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table
            .iter()
            .find(|(name, _)| name.get_ref() == key)
            .map(|(_, value)| value)
    }

    /// Notes a key that is known and not supported; `reason` follows its name.
    pub(super) fn refuse(&mut self, key: &'static str, reason: &str, mistakes: &mut Mistakes) {
        self.refused.push(key);
        if let Some((name, _)) = self.table.iter().find(|(name, _)| name.get_ref() == key) {
            mistakes.push(name.span(), format!("{} {reason}", self.path(key)));
        }
    }

    /// All entries in the order of the text.
    pub(super) fn entries(&self) -> Vec<(Text, Spot<'t>)> {
        let mut entries: Vec<_> = self
            .table
            .iter()
            .map(|(key, value)| {
                (
                    Text {
                        value: key.get_ref().to_string(),
                        span: key.span(),
                    },
                    value,
                )
            })
            .collect();
        entries.sort_by_key(|(key, _)| key.span.start);
        entries
    }

    pub(super) fn table(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes,
    ) -> Option<Table<'t>> {
        let name = self.path(key);
        Table::of(name, self.take(key)?, mistakes)
    }

    pub(super) fn text(&mut self, key: &'static str, mistakes: &mut Mistakes) -> Option<Text> {
        let name = self.path(key);
        text(&name, self.take(key)?, mistakes)
    }

    pub(super) fn required_text(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes,
    ) -> Option<Text> {
        let spot = self.take(key);
        if spot.is_none() {
            mistakes.push(
                self.span.clone(),
                format!("{} lacks the key `{key}`", self.name),
            );
        }
        text(&self.path(key), spot?, mistakes)
    }

    pub(super) fn bool(&mut self, key: &'static str, mistakes: &mut Mistakes) -> Option<bool> {
        let spot = self.take(key)?;
        let value = spot.get_ref().as_bool();
        if value.is_none() {
            let found = kind(spot.get_ref());
            mistakes.push(
                spot.span(),
                format!("{} has to be true or false, and is {found}", self.path(key)),
            );
        }
        value
    }

    pub(super) fn texts(&mut self, key: &'static str, mistakes: &mut Mistakes) -> Vec<Text> {
        let name = self.path(key);
        let items = self.items(key, mistakes);
        items
            .into_iter()
            .filter_map(|item| text(&name, item, mistakes))
            .collect()
    }

    /// The items of an array.
    pub(super) fn items(&mut self, key: &'static str, mistakes: &mut Mistakes) -> Vec<Spot<'t>> {
        let Some(spot) = self.take(key) else {
            return Vec::new();
        };
        match spot.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            other => {
                mistakes.push(
                    spot.span(),
                    format!(
                        "{} has to be an array, and is {}",
                        self.path(key),
                        kind(other)
                    ),
                );
                Vec::new()
            }
        }
    }

    /// A table of strings.
    pub(super) fn text_map(
        &mut self,
        key: &'static str,
        mistakes: &mut Mistakes,
    ) -> Vec<(Text, Text)> {
        let Some(table) = self.table(key, mistakes) else {
            return Vec::new();
        };
        let entries = table.entries().into_iter();
        entries
            .filter_map(|(key, value)| {
                let name = format!("{}.{}", table.name, key.value);
                text(&name, value, mistakes).map(|value| (key, value))
            })
            .collect()
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self, mistakes: &mut Mistakes) {
        for (key, _) in self.entries() {
            let name = key.value.as_str();
            if !self.known.contains(&name) && !self.refused.contains(&name) {
                mistakes.push(
                    key.span,
                    format!(
                        "{} has the unknown key `{}`; known are {}",
                        self.name,
                        key.value,
                        self.known.join(", ")
                    ),
                );
            }
        }
    }

    fn path(&self, key: &str) -> String {
        format!("{}: `{key}`", self.name)
    }
}

fn text(name: &str, spot: Spot<'_>, mistakes: &mut Mistakes) -> Option<Text> {
    match spot.get_ref() {
        DeValue::String(value) => Some(Text {
            value: value.to_string(),
            span: spot.span(),
        }),
        other => {
            mistakes.push(
                spot.span(),
                format!("{name} has to be a string, and is {}", kind(other)),
            );
            None
        }
    }
}

/// What a value is, in a sentence.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// A value as JSON, as lockfiles carry the settings of triggers.
pub(super) fn json(name: &str, spot: Spot<'_>, mistakes: &mut Mistakes) -> Value {
    match spot.get_ref() {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(value) => Value::from(*value),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::from(number),
            Err(_) => {
                mistakes.push(
                    spot.span(),
                    format!("{name} is an integer that does not fit into 64 bits"),
                );
                Value::Null
            }
        },
        DeValue::Float(number) => match number
            .as_str()
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
        {
            Some(number) => Value::from(number),
            None => {
                mistakes.push(
                    spot.span(),
                    format!("{name} is a number that JSON cannot carry"),
                );
                Value::Null
            }
        },
        DeValue::Datetime(date) => Value::from(date.to_string()),
        DeValue::Array(items) => items
            .iter()
            .map(|item| json(name, item, mistakes))
            .collect(),
        DeValue::Table(table) => {
            let fields = table
                .iter()
                .map(|(key, value)| (key.get_ref().to_string(), json(name, value, mistakes)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
    }
}
