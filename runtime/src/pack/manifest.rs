//! The manifest: spin.toml, version 2.

use std::collections::BTreeMap;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use crate::app;
use crate::app::variables::{Variables, check_name};

use super::component::Component;
use super::mistakes::Mistakes;
use super::table::{self, Table};
use super::trigger::{self, Trigger};

/// A manifest without mistakes of form.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) name: String,
    pub(super) version: Option<String>,
    pub(super) description: Option<String>,
    pub(super) authors: Vec<String>,
    /// Words for the lockfile's `must_understand`, from catena's own table.
    pub(super) must_understand: Vec<String>,
    /// The settings that all triggers of a type share.
    pub(super) trigger_settings: BTreeMap<String, Value>,
    pub(super) variables: Vec<Variable>,
    pub(super) triggers: Vec<Trigger>,
    pub(super) components: Vec<Component>,
}

/// A variable of the application.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) description: Option<String>,
    pub(super) default: Option<String>,
    pub(super) secret: bool,
}

impl Manifest {
    /// Reads a manifest. `None` when its text is not TOML; otherwise whatever
    /// could be read, with all mistakes noted.
    pub(super) fn read(text: &str, mistakes: &mut Mistakes) -> Option<Self> {
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            mistakes.push(
                error.span().unwrap_or(0..0),
                format!("this is not TOML: {}", error.message()),
            );
        }
        if !errors.is_empty() {
            return None;
        }
        let mut root = Table::new("the manifest", 0..0, document.get_ref());
        if !check_version(&mut root, mistakes) {
            return None;
        }
        let mut manifest = Manifest {
            name: String::new(),
            version: None,
            description: None,
            authors: Vec::new(),
            must_understand: Vec::new(),
            trigger_settings: BTreeMap::new(),
            variables: read_variables(&mut root, mistakes),
            triggers: trigger::read(&mut root, mistakes),
            components: read_components(&mut root, mistakes),
        };
        match root.table("application", mistakes) {
            Some(application) => manifest.read_application(application, mistakes),
            None => mistakes.push(0..0, "the manifest lacks the table [application]"),
        }
        root.finish(mistakes);
        trigger::check_components(&manifest.triggers, &manifest.components, mistakes);
        let declared = manifest.declared_variables();
        for component in &manifest.components {
            component.check_templates(&declared, mistakes);
        }
        Some(manifest)
    }

    fn read_application(&mut self, mut table: Table<'_>, mistakes: &mut Mistakes) {
        table.name = "[application]".to_owned();
        if let Some(name) = table.required_text("name", mistakes) {
            if name.value.trim().is_empty() {
                mistakes.push(name.span, "[application]: `name` is empty");
            }
            self.name = name.value;
        }
        self.version = table.text("version", mistakes).map(|version| version.value);
        self.description = table
            .text("description", mistakes)
            .map(|description| description.value);
        self.authors = table
            .texts("authors", mistakes)
            .into_iter()
            .map(|author| author.value)
            .collect();
        if let Some(settings) = table.table("trigger", mistakes) {
            for (kind, value) in settings.entries() {
                let name = format!("[application.trigger.{}]", kind.value);
                trigger::check_kind(&kind, &name, mistakes);
                self.trigger_settings
                    .insert(kind.value, table::json(&name, value, mistakes));
            }
        }
        // Other tools keep their settings here; only catena's table is read.
        if let Some(mut tools) = table.table("tool", mistakes)
            && let Some(mut catena) = tools.table("catena", mistakes)
        {
            catena.name = "[application.tool.catena]".to_owned();
            let words = catena.texts("must_understand", mistakes);
            self.must_understand = words.into_iter().map(|word| word.value).collect();
            catena.finish(mistakes);
        }
        table.finish(mistakes);
    }

    fn declared_variables(&self) -> Variables {
        let declared = self.variables.iter().map(|variable| {
            let Variable {
                description,
                default,
                secret,
                ..
            } = variable;
            let value = app::Variable {
                description: description.clone(),
                default: default.clone(),
                secret: *secret,
            };
            (variable.name.clone(), value)
        });
        declared.collect()
    }

    pub(super) fn component(&self, id: &str) -> Option<&Component> {
        self.components.iter().find(|component| component.id == id)
    }

    /// The line of whatever a sentence about the lockfile names.
    pub(super) fn line_of(&self, text: &str) -> Option<usize> {
        let names = |kind: &str, id: &str| text.contains(&format!("{kind} \"{id}\""));
        let triggers = self
            .triggers
            .iter()
            .filter(|trigger| names("trigger", &trigger.id))
            .map(|trigger| trigger.line);
        let components = self
            .components
            .iter()
            .filter(|component| names("component", &component.id))
            .map(|component| component.line);
        let variables = self
            .variables
            .iter()
            .filter(|variable| names("variable", &variable.name))
            .map(|variable| variable.line);
        triggers.chain(components).chain(variables).next()
    }
}

fn check_version(root: &mut Table<'_>, mistakes: &mut Mistakes) -> bool {
    let spot = root.take("spin_manifest_version");
    let version = spot.map(|spot| (spot.span(), spot.get_ref()));
    match version {
        Some((_, DeValue::Integer(number))) if number.as_str() == "2" => true,
        Some((span, DeValue::Integer(number))) => {
            mistakes.push(
                span,
                format!(
                    "spin_manifest_version is {}; catena packs version 2",
                    number.as_str()
                ),
            );
            false
        }
        Some((span, other)) => {
            mistakes.push(
                span,
                format!(
                    "spin_manifest_version has to be the number 2, and is {}",
                    table::kind(other)
                ),
            );
            false
        }
        None => {
            mistakes.push(0..0, "the manifest lacks `spin_manifest_version = 2`");
            false
        }
    }
}

fn read_variables(root: &mut Table<'_>, mistakes: &mut Mistakes) -> Vec<Variable> {
    let Some(table) = root.table("variables", mistakes) else {
        return Vec::new();
    };
    let mut variables = Vec::new();
    for (name, spot) in table.entries() {
        let place = format!("variable \"{}\"", name.value);
        let line = mistakes.line(name.span.clone());
        if let Err(reason) = check_name(&name.value) {
            mistakes.push(
                name.span,
                format!("the variable \"{}\" {reason}", name.value),
            );
        }
        let Some(mut table) = Table::of(place.as_str(), spot, mistakes) else {
            continue;
        };
        let default = table.text("default", mistakes).map(|default| default.value);
        let required = table.bool("required", mistakes).unwrap_or(false);
        match (&default, required) {
            (Some(_), true) => {
                mistakes.push(
                    spot.span(),
                    format!("{place} is required and has a default; keep one of the two"),
                );
            }
            (None, false) => {
                mistakes.push(
                    spot.span(),
                    format!("{place} needs either a `default` or `required = true`"),
                );
            }
            _ => {}
        }
        let secret = table.bool("secret", mistakes).unwrap_or(false);
        let description = table
            .text("description", mistakes)
            .map(|description| description.value);
        table.finish(mistakes);
        variables.push(Variable {
            name: name.value,
            line,
            description,
            default,
            secret,
        });
    }
    variables
}

fn read_components(root: &mut Table<'_>, mistakes: &mut Mistakes) -> Vec<Component> {
    let Some(table) = root.table("component", mistakes) else {
        return Vec::new();
    };
    let entries = table.entries().into_iter();
    entries
        .filter_map(|(id, spot)| Component::read(id, spot, mistakes))
        .collect()
}
