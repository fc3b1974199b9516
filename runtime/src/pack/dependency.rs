//! The `dependencies` of one component in a manifest: which of its imports
//! other components satisfy, where those are, and what they may use.

use toml::Spanned;
use toml::de::DeValue;

use crate::app::{DependencyName, Inherit, Power};

use super::mistakes::Mistakes;
use super::table::{Table, Text, kind};

/// A dependency as the manifest describes it.
#[derive(Debug)]
pub(super) struct Dependency {
    pub(super) name: DependencyName,
    pub(super) source: Source,
    pub(super) export: Option<String>,
    pub(super) inherit: Inherit,
}

/// Where a dependency's wasm is.
#[derive(Debug)]
pub(super) enum Source {
    /// In this file.
    Path(Text),
    /// It is that of the component with this id.
    Component(Text),
}

type Spot<'t> = &'t Spanned<DeValue<'t>>;

/// Reads what a component depends on; `place` names the component.
pub(super) fn read(
    component: &mut Table<'_>,
    place: &str,
    mistakes: &mut Mistakes,
) -> Vec<Dependency> {
    let whole = component.bool("dependencies_inherit_configuration", mistakes);
    let Some(table) = component.table("dependencies", mistakes) else {
        return Vec::new();
    };
    let entries = table.entries().into_iter();
    entries
        .filter_map(|(name, spot)| read_one(&name, spot, place, whole, mistakes))
        .collect()
}

fn read_one(
    name: &Text,
    spot: Spot<'_>,
    place: &str,
    whole: Option<bool>,
    mistakes: &mut Mistakes,
) -> Option<Dependency> {
    let place = format!("{place}: dependency \"{}\"", name.value);
    let parsed = name.value.parse();
    if let Err(reason) = &parsed {
        mistakes.push(name.span.clone(), format!("{place}: the name {reason}"));
    }
    if let DeValue::String(_) = spot.get_ref() {
        mistakes.push(
            spot.span(),
            format!(
                "{place} is to come from a registry, and catena fetches nothing; download the file and write \
                 {{ path = \"..\" }}"
            ),
        );
        return None;
    }
    let mut table = Table::of(place.as_str(), spot, mistakes)?;
    let export = table.text("export", mistakes).map(|export| export.value);
    let inherit = match table.take("inherit_configuration") {
        None if whole == Some(true) => Inherit::All,
        None => Inherit::nothing(),
        Some(spot) if whole.is_some() => {
            mistakes.push(
                spot.span(),
                format!(
                    "{place} has `inherit_configuration`, and its component \
                     `dependencies_inherit_configuration`; keep one of them"
                ),
            );
            Inherit::nothing()
        }
        Some(spot) => read_inherit(spot, &place, mistakes),
    };
    let source = read_source(&mut table, &place, mistakes);
    table.finish(mistakes);
    Some(Dependency {
        name: parsed.ok()?,
        source: source?,
        export,
        inherit,
    })
}

fn read_source(table: &mut Table<'_>, place: &str, mistakes: &mut Mistakes) -> Option<Source> {
    let path = table.text("path", mistakes);
    let component = table.text("component", mistakes);
    let mut fetched = false;
    for key in ["version", "registry", "package", "url", "digest"] {
        fetched |= table.take(key).is_some();
    }
    match (path, component, fetched) {
        (Some(path), None, false) => Some(Source::Path(path)),
        (None, Some(id), false) => Some(Source::Component(id)),
        (None, None, true) => {
            mistakes.push(
                table.span.clone(),
                format!(
                    "{place} is on the network, and catena fetches nothing; download the file and write \
                     `path` instead"
                ),
            );
            None
        }
        (None, None, false) => {
            mistakes.push(
                table.span.clone(),
                format!("{place} needs the `path` of its wasm, or the id of a `component`"),
            );
            None
        }
        _ => {
            mistakes.push(
                table.span.clone(),
                format!("{place} says more than once where its wasm is; keep one of `path` and `component`"),
            );
            None
        }
    }
}

fn read_inherit(spot: Spot<'_>, place: &str, mistakes: &mut Mistakes) -> Inherit {
    let names = match spot.get_ref() {
        DeValue::Boolean(true) => return Inherit::All,
        DeValue::Boolean(false) => return Inherit::nothing(),
        DeValue::Array(names) => names,
        other => {
            mistakes.push(
                spot.span(),
                format!(
                    "{place}: `inherit_configuration` has to be true, false or an array of what to inherit, and \
                     is {}",
                    kind(other)
                ),
            );
            return Inherit::nothing();
        }
    };
    let mut powers = std::collections::BTreeSet::new();
    for name in names {
        let power = match name.get_ref() {
            DeValue::String(text) => {
                Power::named(text).map_err(|reason| format!("`{text}`, which {reason}"))
            }
            other => Err(format!("{}; write names only", kind(other))),
        };
        match power {
            Ok(power) => drop(powers.insert(power)),
            Err(reason) => mistakes.push(
                name.span(),
                format!("{place}: `inherit_configuration` lists {reason}"),
            ),
        }
    }
    Inherit::Some(powers)
}
