//! Variables of an application, and the templates that mention them.
//!
//! A template is text with `{{ name }}` in it, where `name` is a variable that
//! the application declares; there is nothing else to the language, and a
//! value is never a template itself. Templates stand in components' `config`
//! and in allowed outbound hosts. The server resolves them once, at start;
//! values come in as arguments, never from this process's environment.

use std::collections::BTreeMap;

use super::json::{Node, Report, quoted};
use super::{Component, ProblemKind, Refusal, Variable};

/// Declared variables by name.
pub type Variables = BTreeMap<String, Variable>;

/// What stands before `_<NAME>` in an environment variable that sets a variable.
pub const ENV_PREFIX: &str = "SPIN_VARIABLE";

/// Every declared variable with its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<String, String>);

/// A template, split into its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Template<'t> {
    parts: Vec<Part<'t>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part<'t> {
    Text(&'t str),
    Variable(&'t str),
}

/// Picks the values for `declared` variables out of an environment: `a_b` is
/// set by `SPIN_VARIABLE_A_B`. Where a name stands twice the last one counts.
pub fn from_env(declared: &Variables, env: &[(String, String)]) -> BTreeMap<String, String> {
    from_env_under(ENV_PREFIX, declared, env)
}

/// As [`from_env`], with another prefix.
pub fn from_env_under(
    prefix: &str,
    declared: &Variables,
    env: &[(String, String)],
) -> BTreeMap<String, String> {
    let find = |wanted: &str| env.iter().rev().find(|(key, _)| key == wanted);
    let values = declared.keys().filter_map(|name| {
        let (_, value) = find(&env_name(prefix, name))?;
        Some((name.clone(), value.clone()))
    });
    values.collect()
}

/// Gives every declared variable its provided value or its default. The
/// refusal names all variables that have neither.
pub fn resolve(
    declared: &Variables,
    provided: &BTreeMap<String, String>,
) -> Result<Values, Refusal> {
    let mut values = BTreeMap::new();
    let mut missing = Vec::new();
    for (name, variable) in declared {
        match provided.get(name).or(variable.default.as_ref()) {
            Some(value) => drop(values.insert(name.clone(), value.clone())),
            None => missing.push(name.as_str()),
        }
    }
    if missing.is_empty() {
        return Ok(Values(values));
    }
    let (variables, have) = if missing.len() == 1 {
        ("variable", "has")
    } else {
        ("variables", "have")
    };
    let names = list(missing.iter().map(|name| quoted(name)));
    let settings = list(missing.iter().map(|name| env_name(ENV_PREFIX, name)));
    Err(Refusal::new(
        ProblemKind::Unmet,
        format!("the {variables} {names} {have} no value and no default; set {settings}"),
    ))
}

/// A component's configuration with all templates replaced by their values.
/// [`parse_lockfile`](super::parse_lockfile) has checked the templates, so an
/// error means that `values` are not those of the component's application.
pub fn component_config(
    component: &Component,
    values: &Values,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut refusal = Refusal::default();
    let mut config = BTreeMap::new();
    for (key, template) in &component.config {
        match values.expand(template) {
            Ok(value) => drop(config.insert(key.clone(), value)),
            Err(reason) => refusal.push(
                ProblemKind::Malformed,
                format!(
                    "component {}, config {}: {reason}",
                    quoted(&component.id),
                    quoted(key)
                ),
            ),
        }
    }
    refusal.or(config)
}

/// Whether the text mentions a variable, or at least tries to.
pub fn is_template(text: &str) -> bool {
    text.contains("{{")
}

/// The variables that a template mentions; none where it is not well formed.
pub fn mentioned(template: &str) -> Vec<&str> {
    let parsed = Template::parse(template).ok();
    parsed
        .iter()
        .flat_map(Template::variables)
        .collect::<Vec<_>>()
}

/// Whether a template is well formed and mentions only `declared` variables.
pub fn check_template(template: &str, declared: &Variables) -> Result<(), String> {
    for name in Template::parse(template)?.variables() {
        if !declared.contains_key(name) {
            return Err(undeclared(template, name));
        }
    }
    Ok(())
}

/// Whether a name can be a variable's; the error is the end of a sentence that
/// begins with the name.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let usable = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if !name.bytes().all(usable) {
        Err("may only hold lower-case letters, digits and \"_\"; rename it")
    } else if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        Err("must begin with a lower-case letter; rename it")
    } else if name.ends_with('_') || name.contains("__") {
        Err("may hold \"_\" only singly, between other characters; rename it")
    } else {
        Ok(())
    }
}

impl Values {
    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// These values, with others in the place of some.
    #[must_use]
    pub fn with(&self, newer: BTreeMap<String, String>) -> Self {
        let mut values = self.0.clone();
        values.extend(newer);
        Values(values)
    }

    /// A template's text with every variable replaced by its value.
    pub fn expand(&self, template: &str) -> Result<String, String> {
        let mut text = String::with_capacity(template.len());
        for part in Template::parse(template)?.parts {
            text.push_str(match part {
                Part::Text(literal) => literal,
                Part::Variable(name) => self.get(name).ok_or_else(|| undeclared(template, name))?,
            });
        }
        Ok(text)
    }
}

/// Reads the application's `variables`.
pub(super) fn read(root: &Node<'_>, report: &mut Report) -> Variables {
    let entries = root
        .field("variables")
        .map(|map| map.entries(report))
        .unwrap_or_default();
    let mut variables = Variables::new();
    for (name, node) in entries {
        if let Err(reason) = check_name(name) {
            report.malformed(format!("the variable {} {reason}", quoted(name)));
        }
        let Some(node) = node.object(report) else {
            continue;
        };
        let variable = Variable {
            description: node
                .optional_str("description", report)
                .map(ToOwned::to_owned),
            default: node.optional_str("default", report).map(ToOwned::to_owned),
            secret: node
                .field("secret")
                .and_then(|secret| secret.bool(report))
                .unwrap_or(false),
        };
        variables.insert(name.to_owned(), variable);
    }
    variables
}

impl<'t> Template<'t> {
    fn parse(text: &'t str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once("{{") {
            let Some((name, after)) = after.split_once("}}") else {
                return Err(format!(
                    "{} opens \"{{{{\" and never closes it; add \"}}}}\"",
                    quoted(text)
                ));
            };
            let name = name.trim();
            if name.is_empty() {
                return Err(format!(
                    "{} names no variable between braces; name one",
                    quoted(text)
                ));
            }
            if !literal.is_empty() {
                parts.push(Part::Text(literal));
            }
            parts.push(Part::Variable(name));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest));
        }
        Ok(Template { parts })
    }

    fn variables(&self) -> impl Iterator<Item = &'t str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(*name),
            Part::Text(_) => None,
        })
    }
}

fn env_name(prefix: &str, variable: &str) -> String {
    format!("{prefix}_{}", variable.to_ascii_uppercase())
}

fn undeclared(template: &str, name: &str) -> String {
    format!(
        "{} mentions the variable {}, which the application does not declare; declare it",
        quoted(template),
        quoted(name)
    )
}

fn list(items: impl Iterator<Item = String>) -> String {
    let mut items: Vec<String> = items.collect();
    match items.pop() {
        Some(last) if !items.is_empty() => format!("{} and {last}", items.join(", ")),
        Some(only) => only,
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
