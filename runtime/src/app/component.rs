//! Reads one component of a lockfile.

use std::collections::{BTreeMap, BTreeSet};

use super::json::{Node, Report, quoted};
use super::variables::{self, Variables};
use super::{Component, allowed_hosts, content, dependency, requirements};

/// Whether an id can name a component; the error says what is wrong with it.
/// Letters, digits, `-` and `_` are what Spin's ids are made of, and what can
/// stand before `.spin.internal`.
pub fn check_component_id(id: &str) -> Result<(), &'static str> {
    let usable = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if id.is_empty() {
        Err("is empty; name the component")
    } else if !id.chars().all(usable) {
        Err("may only hold letters, digits, \"-\" and \"_\"; rename the component")
    } else {
        Ok(())
    }
}

/// Reads a component; `None` when it is so wrong that there is none.
pub(super) fn read(
    node: &Node<'_>,
    variables: &Variables,
    required: &mut BTreeSet<String>,
    report: &mut Report,
) -> Option<Component> {
    let node = node.clone().object(report)?;
    let id = node.required_str("id", report);
    let who = match id {
        Some(id) => format!("component {}", quoted(id)),
        None => node.at().to_owned(),
    };
    if let Some(Err(reason)) = id.map(check_component_id) {
        report.malformed(format!(
            "{}.id is {}: it {reason}",
            node.at(),
            quoted(id.unwrap_or(""))
        ));
    }
    requirements::read_host_requirements(&node, &who, required, report);
    refuse_trigger_dependencies(&node, &who, report);

    let source = node
        .required("source", report)
        .and_then(|source| source.object(report));
    let source = source.and_then(|source| content::read_content(&source, report));
    let metadata = node
        .field("metadata")
        .and_then(|metadata| metadata.object(report));
    let component = Component {
        id: id.unwrap_or_default().to_owned(),
        description: metadata
            .as_ref()
            .and_then(|metadata| metadata.optional_str("description", report))
            .map(ToOwned::to_owned),
        source: source.clone().unwrap_or_default(),
        dependencies: dependency::read(&node, report),
        env: read_env(&node, report),
        files: content::read_files(&node, report),
        config: read_config(&node, &who, variables, report),
        allowed_hosts: read_allowed_hosts(metadata.as_ref(), &who, variables, report),
        key_value_stores: labels(metadata.as_ref(), "key_value_stores", report),
        databases: labels(metadata.as_ref(), "databases", report),
        ai_models: labels(metadata.as_ref(), "ai_models", report),
    };
    id.zip(source).map(|_| component)
}

/// Only triggers have those; a component of several parts names them otherwise.
fn refuse_trigger_dependencies(node: &Node<'_>, who: &str, report: &mut Report) {
    let Some(section) = node.field("trigger_dependencies") else {
        return;
    };
    if !section.entries(report).is_empty() {
        report.unmet(format!(
            "{who} has \"trigger_dependencies\", and catena composes no middleware; push \
             the application with a tool that composes"
        ));
    }
}

fn read_env(node: &Node<'_>, report: &mut Report) -> Vec<(String, String)> {
    let mut env = Vec::new();
    for (key, value, place) in node.string_map("env", report) {
        if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
            report.malformed(format!(
                "{} cannot be an environment variable: its name must not be empty or hold \"=\", \
                 and neither name nor value may hold NUL; rename or remove it",
                place.at()
            ));
        } else {
            env.push((key.to_owned(), value.to_owned()));
        }
    }
    env
}

fn read_config(
    node: &Node<'_>,
    who: &str,
    variables: &Variables,
    report: &mut Report,
) -> BTreeMap<String, String> {
    let mut config = BTreeMap::new();
    for (key, template, place) in node.string_map("config", report) {
        if let Err(reason) = variables::check_name(key) {
            report.malformed(format!("{who}: the config key {} {reason}", quoted(key)));
        }
        if let Err(reason) = variables::check_template(template, variables) {
            report.malformed(format!("{}: {reason}", place.at()));
        }
        config.insert(key.to_owned(), template.to_owned());
    }
    config
}

fn read_allowed_hosts(
    metadata: Option<&Node<'_>>,
    who: &str,
    variables: &Variables,
    report: &mut Report,
) -> Vec<String> {
    let Some(metadata) = metadata else {
        return Vec::new();
    };
    let hosts = metadata.strings("allowed_outbound_hosts", report);
    let mut hosts: Vec<String> = hosts.into_iter().map(ToOwned::to_owned).collect();
    for problem in allowed_hosts::check(&hosts, variables) {
        report.malformed(format!("{who}: {problem}"));
    }
    for warning in allowed_hosts::idle_chaining_entries(&hosts) {
        report.warn(format!("{who}: {warning}"));
    }
    for entry in metadata.strings("allowed_http_hosts", report) {
        match allowed_hosts::translate_legacy(entry) {
            Ok(translated) => hosts.extend(translated),
            Err(problem) => report.malformed(format!("{who}: {problem}")),
        }
    }
    hosts
}

fn labels(metadata: Option<&Node<'_>>, name: &str, report: &mut Report) -> Vec<String> {
    let labels = metadata
        .map(|metadata| metadata.strings(name, report))
        .unwrap_or_default();
    labels.into_iter().map(ToOwned::to_owned).collect()
}
