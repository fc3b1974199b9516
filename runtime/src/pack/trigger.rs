//! The triggers of a manifest, `[[trigger.http]]` and its like.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use toml::Spanned;
use toml::de::DeValue;

use crate::app::routes;

use super::component::Component;
use super::mistakes::Mistakes;
use super::table::{self, Table, Text};

/// What brings events to a component.
#[derive(Debug)]
pub(super) struct Trigger {
    pub(super) kind: String,
    /// As given, or made up the way Spin does.
    pub(super) id: String,
    pub(super) line: usize,
    /// The component that it wakes, if any.
    pub(super) component: Option<Text>,
    /// `trigger_config` of the lockfile.
    pub(super) config: Value,
}

const HTTP: &str = "http";

/// What triggers of every other type have beside `id` and `component`; the
/// reader of the lockfile knows what of it has to be there, and what it may say.
const FIELDS: [(&str, &[&str]); 5] = [
    ("redis", &["address", "channel"]),
    ("mqtt", &["topic", "qos"]),
    ("cron", &["cron_expression"]),
    (
        "sqs",
        &[
            "queue_url",
            "max_messages",
            "idle_wait_seconds",
            "system_attributes",
            "message_attributes",
        ],
    ),
    ("command", &[]),
];

/// Reads all triggers.
pub(super) fn read(root: &mut Table<'_>, mistakes: &mut Mistakes) -> Vec<Trigger> {
    let Some(kinds) = root.table("trigger", mistakes) else {
        if !root.entries().iter().any(|(key, _)| key.value == "trigger") {
            mistakes.push(
                0..0,
                "the manifest has no trigger; add one, for example [[trigger.http]]",
            );
        }
        return Vec::new();
    };
    let mut triggers = Vec::new();
    for (kind, spot) in kinds.entries() {
        if !check_kind(&kind, &format!("[[trigger.{}]]", kind.value), mistakes) {
            continue;
        }
        let items: Vec<_> = match spot.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![spot],
        };
        triggers.extend(
            items
                .into_iter()
                .filter_map(|item| read_one(&kind.value, item, mistakes)),
        );
    }
    name(&mut triggers, mistakes);
    triggers
}

/// Notes a type of trigger that catena cannot serve.
pub(super) fn check_kind(kind: &Text, name: &str, mistakes: &mut Mistakes) -> bool {
    let known = kind.value == HTTP || fields(&kind.value).is_some();
    if !known {
        mistakes.push(
            kind.span.clone(),
            format!("{name}: this version of catena has no trigger of the type \"{}\"; it has http, redis, mqtt, cron, sqs and command", kind.value),
        );
    }
    known
}

/// What a trigger of this type has.
fn fields(kind: &str) -> Option<&'static [&'static str]> {
    let found = FIELDS.iter().find(|(name, _)| *name == kind);
    found.map(|(_, fields)| *fields)
}

fn read_one(kind: &str, spot: &Spanned<DeValue<'_>>, mistakes: &mut Mistakes) -> Option<Trigger> {
    let place = format!("[[trigger.{kind}]]");
    let mut table = Table::of(place.as_str(), spot, mistakes)?;
    let id = table
        .text("id", mistakes)
        .map(|id| id.value)
        .unwrap_or_default();
    let component = match table.take("component") {
        Some(spot) if matches!(spot.get_ref(), DeValue::Table(_)) => {
            mistakes.push(spot.span(), format!("{place}: `component` is a table; declare it as [component.<id>] and name its id here"));
            None
        }
        _ => table.text("component", mistakes),
    };
    let mut config = json!({});
    if let Some(component) = &component {
        config["component"] = json!(component.value);
    }
    match kind {
        HTTP => read_http(&mut table, &place, &mut config, mistakes),
        _ => {
            for field in fields(kind).unwrap_or_default() {
                if let Some(spot) = table.take(field) {
                    config[*field] = table::json(&place, spot, mistakes);
                }
            }
            if component.is_none() && table.take("component").is_none() {
                mistakes.push(spot.span(), format!("{place} lacks the key `component`"));
            }
        }
    }
    table.finish(mistakes);
    let line = mistakes.line(spot.span());
    Some(Trigger {
        kind: kind.to_owned(),
        id,
        line,
        component,
        config,
    })
}

fn read_http(table: &mut Table<'_>, place: &str, config: &mut Value, mistakes: &mut Mistakes) {
    match table.take("route") {
        None => mistakes.push(table.span.clone(), format!("{place} lacks the key `route`")),
        Some(spot) => {
            config["route"] = table::json(place, spot, mistakes);
            match spot.get_ref() {
                DeValue::String(route) => {
                    if let Err(reason) = routes::check(route) {
                        mistakes.push(spot.span(), format!("{place}: {reason}"));
                    }
                }
                DeValue::Table(_) if config["route"] == json!({ "private": true }) => {}
                _ => mistakes.push(
                    spot.span(),
                    format!("{place}: `route` has to be a path such as \"/...\", or {{ private = true }}"),
                ),
            }
        }
    }
    if let Some(mut executor) = table.table("executor", mistakes) {
        let kind = executor.required_text("type", mistakes);
        if let Some(kind) = kind {
            config["executor"] = json!({ "type": kind.value });
            if kind.value == "wagi" {
                for key in ["argv", "entrypoint"] {
                    if let Some(text) = executor.text(key, mistakes) {
                        config["executor"][key] = json!(text.value);
                    }
                }
            } else if !matches!(kind.value.as_str(), "http" | "spin") {
                mistakes.push(
                    kind.span,
                    format!(
                        "{place}: there is no executor \"{}\"; use \"http\" or \"wagi\"",
                        kind.value
                    ),
                );
            }
        }
        executor.finish(mistakes);
    }
    let response = table.take("static_response");
    if let Some(spot) = response {
        if let Some(mut response) = Table::of(format!("{place}: `static_response`"), spot, mistakes)
        {
            response.take("status_code");
            response.text_map("headers", mistakes);
            response.text("body", mistakes);
            response.finish(mistakes);
        }
        config["static_response"] = table::json(place, spot, mistakes);
    }
    match (table.take("component").is_some(), response.is_some()) {
        (true, true) => mistakes.push(
            table.span.clone(),
            format!("{place} has a `component` and a `static_response`; keep one of them"),
        ),
        (false, false) => mistakes.push(
            table.span.clone(),
            format!("{place} lacks the key `component` (or `static_response`)"),
        ),
        _ => {}
    }
}

/// Gives every trigger an id: its own, else `<component>-<type>-trigger`, else
/// a numbered one. Two that are given the same id are a mistake.
fn name(triggers: &mut [Trigger], mistakes: &mut Mistakes) {
    let mut taken = BTreeSet::new();
    for trigger in triggers.iter().filter(|trigger| !trigger.id.is_empty()) {
        if !taken.insert(trigger.id.clone()) {
            mistakes.push_at(
                Some(trigger.line),
                format!(
                    "[[trigger.{}]]: another trigger has the id \"{}\"",
                    trigger.kind, trigger.id
                ),
            );
        }
    }
    for trigger in triggers.iter_mut().filter(|trigger| trigger.id.is_empty()) {
        let kind = &trigger.kind;
        let nice = trigger
            .component
            .as_ref()
            .map(|component| format!("{}-{kind}-trigger", component.value));
        let numbered = (0..).map(|number| format!("{kind}-{number}"));
        let id = nice
            .into_iter()
            .chain(numbered)
            .find(|id| !taken.contains(id));
        trigger.id = id.unwrap_or_default();
        taken.insert(trigger.id.clone());
    }
}

/// Notes triggers that name a component which nobody declares.
pub(super) fn check_components(
    triggers: &[Trigger],
    components: &[Component],
    mistakes: &mut Mistakes,
) {
    for trigger in triggers {
        let Some(named) = &trigger.component else {
            continue;
        };
        if !components
            .iter()
            .any(|component| component.id == named.value)
        {
            mistakes.push(
                named.span.clone(),
                format!(
                    "[[trigger.{}]] names the component \"{}\", and there is no [component.{}]",
                    trigger.kind, named.value, named.value
                ),
            );
        }
    }
}
