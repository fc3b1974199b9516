//! JSON as the lockfile reader sees it: a value and the place where it stands.
//!
//! The readers of [`lockfile`](super::lockfile) walk the document with
//! [`Node`]s and write what they find into one [`Report`], so that one wrong
//! field hides no other. Nothing here knows what the fields mean.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::refusal::{ProblemKind, Refusal};

/// What a reading found: reasons to refuse, and sentences for the log.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) refusal: Refusal,
    pub(super) warnings: Vec<String>,
    found: usize,
}

/// So many reasons and warnings are kept: a hostile file must not make this
/// process hold one for each of its bytes.
const KEPT: usize = 1000;

impl Report {
    /// The file is not what it claims to be.
    pub(super) fn malformed(&mut self, text: impl Into<String>) {
        self.problem(ProblemKind::Malformed, text.into());
    }

    /// The file asks for what catena does not give.
    pub(super) fn unmet(&mut self, text: impl Into<String>) {
        self.problem(ProblemKind::Unmet, text.into());
    }

    /// Odd, but harmless.
    pub(super) fn warn(&mut self, text: impl Into<String>) {
        if self.warnings.len() < KEPT {
            self.warnings.push(text.into());
        }
    }

    /// How many reasons were found so far, kept or not.
    pub(super) fn found(&self) -> usize {
        self.found
    }

    fn problem(&mut self, kind: ProblemKind, text: String) {
        self.found += 1;
        if self.found <= KEPT {
            self.refusal.push(kind, text);
        }
    }
}

/// Parses a document; the error is the sentence to print.
///
/// An object that names a key twice is no document: readers disagree on which
/// of the two counts, so a second, empty `must_understand` could hide the first.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice::<UniqueKeys>(bytes)
        .and_then(|UniqueKeys| serde_json::from_slice(bytes))
        .map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let reason = error.to_string();
            let reason = reason.strip_suffix(&format!(" at line {line} column {column}"));
            let reason = reason
                .map(ToOwned::to_owned)
                .unwrap_or_else(|| error.to_string());
            format!("the lockfile is not valid JSON at line {line}, column {column}: {reason}")
        })
}

/// A string as a sentence shows it: quoted, escaped, and cut when long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{:?}", format!("{}...", &text[..cut])),
        None => format!("{text:?}"),
    }
}

/// A value and its place, such as `components[2].id`.
#[derive(Debug, Clone)]
pub(super) struct Node<'j> {
    value: &'j Value,
    at: String,
}

impl<'j> Node<'j> {
    /// The document itself.
    pub(super) fn root(value: &'j Value) -> Self {
        Node {
            value,
            at: String::new(),
        }
    }

    /// The place, as sentences name it.
    pub(super) fn at(&self) -> &str {
        if self.at.is_empty() {
            "the lockfile"
        } else {
            &self.at
        }
    }

    /// Whether this is an object.
    pub(super) fn is_object(&self) -> bool {
        self.value.is_object()
    }

    /// Whether this is a list.
    pub(super) fn is_list(&self) -> bool {
        self.value.is_array()
    }

    /// The field of this name; `null` counts as absent.
    pub(super) fn field(&self, name: &str) -> Option<Node<'j>> {
        let value = self.value.as_object()?.get(name)?;
        (!value.is_null()).then(|| Node {
            value,
            at: self.place_of(name),
        })
    }

    /// The field of this name, which has to be there.
    pub(super) fn required(&self, name: &str, report: &mut Report) -> Option<Node<'j>> {
        let field = self.field(name);
        if field.is_none() && self.is_object() {
            report.malformed(format!(
                "{} is missing, but is required",
                self.place_of(name)
            ));
        }
        field
    }

    /// A string field that may be absent.
    pub(super) fn optional_str(&self, name: &str, report: &mut Report) -> Option<&'j str> {
        self.field(name)?.str(report)
    }

    /// A string field that has to be there.
    pub(super) fn required_str(&self, name: &str, report: &mut Report) -> Option<&'j str> {
        self.required(name, report)?.str(report)
    }

    /// The strings of a list that may be absent.
    pub(super) fn strings(&self, name: &str, report: &mut Report) -> Vec<&'j str> {
        let items = self
            .field(name)
            .map(|list| list.items(report))
            .unwrap_or_default();
        items
            .into_iter()
            .filter_map(|item| item.str(report))
            .collect()
    }

    /// The string values of an object that may be absent, with their places.
    pub(super) fn string_map(
        &self,
        name: &str,
        report: &mut Report,
    ) -> Vec<(&'j str, &'j str, Node<'j>)> {
        let entries = self
            .field(name)
            .map(|map| map.entries(report))
            .unwrap_or_default();
        entries
            .into_iter()
            .filter_map(|(key, node)| node.str(report).map(|text| (key, text, node)))
            .collect()
    }

    /// This value as a string.
    pub(super) fn str(&self, report: &mut Report) -> Option<&'j str> {
        self.expect(self.value.as_str(), "a string", report)
    }

    /// This value as a truth value.
    pub(super) fn bool(&self, report: &mut Report) -> Option<bool> {
        self.expect(self.value.as_bool(), "true or false", report)
    }

    /// This value as a whole number that is not negative.
    pub(super) fn uint(&self, report: &mut Report) -> Option<u64> {
        self.expect(self.value.as_u64(), "a whole number", report)
    }

    /// This value as text: a string, or a whole number as one writes it.
    pub(super) fn scalar(&self, report: &mut Report) -> Option<String> {
        let number = self.value.as_u64().map(|number| number.to_string());
        let text = number.or_else(|| self.value.as_str().map(ToOwned::to_owned));
        self.expect(text, "a string", report)
    }

    /// This value when it is an object.
    pub(super) fn object(self, report: &mut Report) -> Option<Node<'j>> {
        self.expect(self.value.as_object(), "an object", report)?;
        Some(self)
    }

    /// This value's items.
    pub(super) fn items(&self, report: &mut Report) -> Vec<Node<'j>> {
        let items = self.expect(self.value.as_array(), "a list", report);
        let items = items.into_iter().flatten().enumerate();
        items
            .map(|(i, value)| Node {
                value,
                at: format!("{}[{i}]", self.at),
            })
            .collect()
    }

    /// This value's fields.
    pub(super) fn entries(&self, report: &mut Report) -> Vec<(&'j str, Node<'j>)> {
        let entries = self.expect(self.value.as_object(), "an object", report);
        let entries = entries.into_iter().flatten();
        entries
            .map(|(key, value)| {
                (
                    key.as_str(),
                    Node {
                        value,
                        at: self.place_of(key),
                    },
                )
            })
            .collect()
    }

    /// This value when it is a string, without a complaint when it is not.
    pub(super) fn as_str(&self) -> Option<&'j str> {
        self.value.as_str()
    }

    fn expect<T>(&self, found: Option<T>, wanted: &str, report: &mut Report) -> Option<T> {
        if found.is_none() {
            report.malformed(format!(
                "{} must be {wanted}, not {}",
                self.at(),
                kind_of(self.value)
            ));
        }
        found
    }

    fn place_of(&self, key: &str) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if key.is_empty() || !key.chars().all(plain) {
            format!("{}[{}]", self.at, quoted(key))
        } else if self.at.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.at)
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "this number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Reads any JSON and keeps nothing; fails on an object with a key twice.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueKeys)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = UniqueKeys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if seen.contains(&key) {
                let key = quoted(&key);
                return Err(de::Error::custom(format!(
                    "the key {key} stands twice in one object"
                )));
            }
            seen.insert(key);
            map.next_value::<UniqueKeys>()?;
        }
        Ok(UniqueKeys)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<UniqueKeys>()?.is_some() {}
        Ok(UniqueKeys)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(UniqueKeys)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(UniqueKeys)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(UniqueKeys)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(UniqueKeys)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(UniqueKeys)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(UniqueKeys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_json_is_reported_by_line_and_column() {
        assert_eq!(
            parse(b"{\n  \"a\": oops}").unwrap_err(),
            "the lockfile is not valid JSON at line 2, column 8: expected value"
        );
        assert_eq!(
            parse(b"").unwrap_err(),
            "the lockfile is not valid JSON at line 1, column 0: EOF while parsing a value"
        );
        assert!(parse(b"{} {}").is_err());
        assert!(parse(&[b'['; 10_000]).is_err());
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        assert_eq!(
            parse(b"{\"a\": [{\"b\": 1,\n \"b\": 2}]}").unwrap_err(),
            "the lockfile is not valid JSON at line 2, column 4: the key \"b\" stands twice in one \
             object"
        );
        assert!(parse(b"{\"a\": {\"b\": -1}, \"c\": {\"b\": 1.5, \"d\": null}}").is_ok());
    }

    #[test]
    fn places_are_named_as_one_would_write_them() {
        let value = serde_json::json!({"a": [{"b-c": 1, "d e": 2, "": 3}]});
        let list = Node::root(&value).field("a").unwrap();
        let item = &list.items(&mut Report::default())[0];
        assert_eq!(item.field("b-c").unwrap().at(), "a[0].b-c");
        assert_eq!(item.field("d e").unwrap().at(), "a[0][\"d e\"]");
        assert_eq!(item.field("").unwrap().at(), "a[0][\"\"]");
    }

    #[test]
    fn long_strings_are_cut() {
        assert_eq!(quoted("a\"b\n"), "\"a\\\"b\\n\"");
        assert_eq!(
            quoted(&"é".repeat(100)),
            format!("\"{}...\"", "é".repeat(80))
        );
    }

    #[test]
    fn a_flood_of_problems_is_not_kept() {
        let mut report = Report::default();
        (0..5000).for_each(|_| report.unmet("no"));
        assert_eq!(
            (report.found(), report.refusal.problems.len()),
            (5000, KEPT)
        );
    }
}
