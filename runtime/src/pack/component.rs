//! One `[component.<id>]` of a manifest.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use crate::app::content::guest_path;
use crate::app::variables::{self, Variables};
use crate::app::{allowed_hosts, check_component_id};

use super::dependency::{self, Dependency};
use super::mistakes::Mistakes;
use super::table::{Table, Text, kind};

/// A component as the manifest describes it.
#[derive(Debug)]
pub(super) struct Component {
    pub(super) id: String,
    pub(super) line: usize,
    pub(super) source: Text,
    pub(super) build_command: Option<String>,
    pub(super) description: Option<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) files: Vec<Files>,
    pub(super) exclude_files: Vec<Text>,
    pub(super) allowed_outbound_hosts: Vec<Text>,
    pub(super) key_value_stores: Vec<String>,
    pub(super) sqlite_databases: Vec<String>,
    pub(super) ai_models: Vec<String>,
    pub(super) variables: Vec<(Text, Text)>,
    pub(super) dependencies: Vec<Dependency>,
}

/// Files that a component's instances see.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) source: String,
    pub(super) span: Range<usize>,
    /// The guest's path; without one, `source` is a pattern whose matches keep
    /// their paths.
    pub(super) destination: Option<String>,
}

impl Component {
    pub(super) fn read(
        id: Text,
        spot: &Spanned<DeValue<'_>>,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let place = format!("component \"{}\"", id.value);
        if let Err(reason) = check_component_id(&id.value) {
            mistakes.push(id.span.clone(), format!("{place}: the id {reason}"));
        }
        let mut table = Table::of(place.as_str(), spot, mistakes)?;
        // A table header begins where its name stands.
        table.span = id.span.clone();
        let component = Component {
            line: mistakes.line(id.span.clone()),
            source: read_source(&mut table, &place, mistakes),
            build_command: read_build(&mut table),
            description: table
                .text("description", mistakes)
                .map(|description| description.value),
            environment: read_environment(&mut table, &place, mistakes),
            files: read_files(&mut table, &place, mistakes),
            exclude_files: table.texts("exclude_files", mistakes),
            allowed_outbound_hosts: table.texts("allowed_outbound_hosts", mistakes),
            key_value_stores: labels(&mut table, "key_value_stores", mistakes),
            sqlite_databases: labels(&mut table, "sqlite_databases", mistakes),
            ai_models: labels(&mut table, "ai_models", mistakes),
            variables: read_variables(&mut table, &place, mistakes),
            dependencies: dependency::read(&mut table, &place, mistakes),
            id: id.value,
        };
        table.refuse(
            "allowed_http_hosts",
            "is what old manifests had; use `allowed_outbound_hosts`",
            mistakes,
        );
        // Of the tools that build and check; nothing of it goes into an image.
        for key in ["tool", "targets"] {
            table.take(key);
        }
        table.finish(mistakes);
        Some(component)
    }

    /// What it is given that it would not have as a part of another component, by
    /// the names in the manifest.
    pub(super) fn settings(&self) -> Vec<&'static str> {
        let settings = [
            ("`ai_models`", self.ai_models.is_empty()),
            (
                "`allowed_outbound_hosts`",
                self.allowed_outbound_hosts.is_empty(),
            ),
            ("`dependencies`", self.dependencies.is_empty()),
            ("`files`", self.files.is_empty()),
            ("`key_value_stores`", self.key_value_stores.is_empty()),
            ("`sqlite_databases`", self.sqlite_databases.is_empty()),
            ("`variables`", self.variables.is_empty()),
        ];
        let given = settings.into_iter().filter(|(_, is_empty)| !is_empty);
        given.map(|(name, _)| name).collect()
    }

    /// Checks what needs the application's variables to be known.
    pub(super) fn check_templates(&self, declared: &Variables, mistakes: &mut Mistakes) {
        for entry in &self.allowed_outbound_hosts {
            for problem in allowed_hosts::check(std::slice::from_ref(&entry.value), declared) {
                mistakes.push(
                    entry.span.clone(),
                    format!("component \"{}\": {problem}", self.id),
                );
            }
        }
        for (key, template) in &self.variables {
            if let Err(reason) = variables::check_template(&template.value, declared) {
                mistakes.push(
                    template.span.clone(),
                    format!(
                        "component \"{}\": variable `{}`: {reason}",
                        self.id, key.value
                    ),
                );
            }
        }
    }
}

fn read_source(table: &mut Table<'_>, place: &str, mistakes: &mut Mistakes) -> Text {
    let missing = Text {
        value: String::new(),
        span: table.span.clone(),
    };
    let Some(spot) = table.take("source") else {
        mistakes.push(
            table.span.clone(),
            format!("{place} lacks the key `source`"),
        );
        return missing;
    };
    match spot.get_ref() {
        DeValue::String(path) if path.is_empty() => mistakes.push(spot.span(), format!("{place}: `source` is empty")),
        DeValue::String(path) => return Text { value: path.to_string(), span: spot.span() },
        DeValue::Table(_) => mistakes.push(
            spot.span(),
            format!("{place}: `source` names a place on the network, and catena fetches nothing; download the file and give its path"),
        ),
        other => mistakes.push(spot.span(), format!("{place}: `source` has to be the path of a wasm file, and is {}", kind(other))),
    }
    missing
}

/// The command that builds the component, for the hint when it is not built.
fn read_build(table: &mut Table<'_>) -> Option<String> {
    match table.take("build")?.get_ref().get("command")?.get_ref() {
        DeValue::String(command) => Some(command.to_string()),
        DeValue::Array(commands) => {
            let commands: Vec<_> = commands
                .iter()
                .filter_map(|command| command.get_ref().as_str())
                .collect();
            Some(commands.join(" && "))
        }
        _ => None,
    }
}

fn read_environment(
    table: &mut Table<'_>,
    place: &str,
    mistakes: &mut Mistakes,
) -> Vec<(String, String)> {
    let mut environment = Vec::new();
    for (key, value) in table.text_map("environment", mistakes) {
        if key.value.is_empty() || key.value.contains(['=', '\0']) || value.value.contains('\0') {
            mistakes.push(
                key.span,
                format!(
                    "{place}: `{}` cannot be an environment variable",
                    key.value.escape_default()
                ),
            );
        }
        environment.push((key.value, value.value));
    }
    environment
}

fn read_files(table: &mut Table<'_>, place: &str, mistakes: &mut Mistakes) -> Vec<Files> {
    let mut files = Vec::new();
    for spot in table.items("files", mistakes) {
        let span = spot.span();
        match spot.get_ref() {
            DeValue::String(pattern) => {
                files.push(Files { source: pattern.to_string(), span, destination: None });
            }
            DeValue::Table(_) => {
                let Some(mut mount) = Table::of(format!("{place}: `files`"), spot, mistakes) else { continue };
                let source = mount.required_text("source", mistakes);
                let destination = mount.required_text("destination", mistakes);
                mount.finish(mistakes);
                let (Some(source), Some(destination)) = (source, destination) else { continue };
                match guest_path(&destination.value) {
                    Ok(path) => files.push(Files { source: source.value, span, destination: Some(path) }),
                    Err(reason) => mistakes.push(destination.span, format!("{place}: the destination `{}` {reason}", destination.value)),
                }
            }
            other => mistakes.push(
                span,
                format!("{place}: `files` has to hold patterns and {{ source, destination }} tables, and holds {}", kind(other)),
            ),
        }
    }
    files
}

fn read_variables(
    table: &mut Table<'_>,
    place: &str,
    mistakes: &mut Mistakes,
) -> Vec<(Text, Text)> {
    let variables = table.text_map("variables", mistakes);
    for (key, _) in &variables {
        if let Err(reason) = variables::check_name(&key.value) {
            mistakes.push(
                key.span.clone(),
                format!("{place}: the variable \"{}\" {reason}", key.value),
            );
        }
    }
    variables
}

fn labels(table: &mut Table<'_>, key: &'static str, mistakes: &mut Mistakes) -> Vec<String> {
    table
        .texts(key, mistakes)
        .into_iter()
        .map(|label| label.value)
        .collect()
}
