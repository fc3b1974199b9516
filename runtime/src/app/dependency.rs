//! Reads what a component depends on: other components that satisfy its imports.
//!
//! The component's reader calls it, and the packer for the names. Whether a
//! dependency fits is known only when both are at hand: see `compose`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::json::{Node, Report, quoted};
use super::{Content, content};

/// So many dependencies may one component have.
const MOST: usize = 100;

/// A component that satisfies imports of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Which imports it satisfies.
    pub name: DependencyName,
    /// Where its wasm is.
    pub source: Content,
    /// The export that satisfies them, where it is not of the import's name.
    pub export: Option<String>,
    /// What it may use of what its parent may.
    pub inherit: Inherit,
}

/// The imports that a dependency satisfies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DependencyName {
    /// The import of this very name.
    Plain(String),
    /// Interfaces of a package, all where none is named.
    Package {
        /// `namespace:package`.
        package: String,
        /// The interface.
        interface: Option<String>,
        /// The version, exactly; any where there is none.
        version: Option<String>,
    },
}

/// What a dependency may use of what its parent may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inherit {
    /// All of it.
    All,
    /// Only this; nothing where it is empty.
    Some(BTreeSet<Power>),
}

/// Something that a component may use, as manifests call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Power {
    /// `ai_models`.
    AiModels,
    /// `allowed_outbound_hosts`.
    AllowedOutboundHosts,
    /// `environment`.
    Environment,
    /// `files`.
    Files,
    /// `key_value_stores`.
    KeyValueStores,
    /// `sqlite_databases`.
    SqliteDatabases,
    /// `variables`.
    Variables,
}

impl Power {
    /// All of them.
    pub const ALL: [Power; 7] = [
        Power::AiModels,
        Power::AllowedOutboundHosts,
        Power::Environment,
        Power::Files,
        Power::KeyValueStores,
        Power::SqliteDatabases,
        Power::Variables,
    ];

    /// Its name in manifests and lockfiles.
    pub fn name(self) -> &'static str {
        match self {
            Power::AiModels => "ai_models",
            Power::AllowedOutboundHosts => "allowed_outbound_hosts",
            Power::Environment => "environment",
            Power::Files => "files",
            Power::KeyValueStores => "key_value_stores",
            Power::SqliteDatabases => "sqlite_databases",
            Power::Variables => "variables",
        }
    }

    /// The power of this name; the error says which there are, to be put after
    /// the place and the name.
    pub fn named(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|power| power.name() == name);
        found.ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|power| power.name()).collect();
            format!(
                "is nothing that a dependency can inherit; it can inherit {}",
                all.join(", ")
            )
        })
    }
}

impl Inherit {
    /// Nothing.
    pub fn nothing() -> Self {
        Self::Some(BTreeSet::new())
    }

    /// Whether the dependency may use this of its parent's.
    pub fn has(&self, power: Power) -> bool {
        match self {
            Self::All => true,
            Self::Some(powers) => powers.contains(&power),
        }
    }
}

impl fmt::Display for Inherit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::Some(powers) if powers.is_empty() => f.write_str("nothing"),
            Self::Some(powers) => {
                let names: Vec<_> = powers.iter().map(|power| power.name()).collect();
                f.write_str(&names.join(", "))
            }
        }
    }
}

impl DependencyName {
    /// Whether this is the name of an import that it satisfies.
    pub fn matches(&self, import: &str) -> bool {
        match self {
            Self::Plain(name) => name == import,
            Self::Package {
                package,
                interface,
                version,
            } => {
                let (path, its_version) = match import.split_once('@') {
                    Some((path, version)) => (path, Some(version)),
                    None => (import, None),
                };
                let Some((its_package, its_interface)) = path.split_once('/') else {
                    return false;
                };
                its_package == package
                    && interface.as_deref().is_none_or(|one| one == its_interface)
                    && (version.is_none() || version.as_deref() == its_version)
            }
        }
    }
}

impl fmt::Display for DependencyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(name) => f.write_str(name),
            Self::Package {
                package,
                interface,
                version,
            } => {
                f.write_str(package)?;
                if let Some(interface) = interface {
                    write!(f, "/{interface}")?;
                }
                match version {
                    Some(version) => write!(f, "@{version}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl FromStr for DependencyName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "names no import; write it as \"name\", \"namespace:package\", \
                              \"namespace:package/interface\" or one of the latter with \"@1.2.3\"";
        if !text.contains([':', '/', '@']) {
            return match is_kebab(text) {
                true => Ok(Self::Plain(text.to_owned())),
                false => Err(WANTED),
            };
        }
        let (path, version) = match text.split_once('@') {
            Some((path, version)) => (path, Some(version)),
            None => (text, None),
        };
        let (package, interface) = match path.split_once('/') {
            Some((package, interface)) => (package, Some(interface)),
            None => (path, None),
        };
        let package_is_sound = package
            .split_once(':')
            .is_some_and(|(namespace, name)| is_kebab(namespace) && is_kebab(name));
        if !package_is_sound || !interface.is_none_or(is_kebab) || !version.is_none_or(is_version) {
            return Err(WANTED);
        }
        Ok(Self::Package {
            package: package.to_owned(),
            interface: interface.map(ToOwned::to_owned),
            version: version.map(ToOwned::to_owned),
        })
    }
}

/// Words of letters and digits with hyphens between, the first word beginning
/// with a letter.
fn is_kebab(text: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric());
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.split('-').all(is_word)
}

/// Three numbers, and what may come after them.
fn is_version(text: &str) -> bool {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<_> = core.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let usable = |c: char| c.is_ascii_alphanumeric() || ".-+".contains(c);
    numbers.len() == 3 && numbers.iter().all(is_number) && text.chars().all(usable)
}

/// Reads a component's `dependencies`.
pub(super) fn read(component: &Node<'_>, report: &mut Report) -> Vec<Dependency> {
    let Some(section) = component.field("dependencies") else {
        return Vec::new();
    };
    let entries = section.entries(report);
    if entries.len() > MOST {
        report.malformed(format!(
            "{} has {} entries, and catena composes at most {MOST}; compose some of them beforehand",
            section.at(),
            entries.len()
        ));
        return Vec::new();
    }
    let read = |(name, node): (&str, Node<'_>)| read_one(name, &node, report);
    entries.into_iter().filter_map(read).collect()
}

fn read_one(name: &str, node: &Node<'_>, report: &mut Report) -> Option<Dependency> {
    let parsed = name.parse().map_err(|reason| {
        report.malformed(format!(
            "{} has the name {}, which {reason}",
            node.at(),
            quoted(name)
        ));
    });
    let node = node.clone().object(report)?;
    let source = node
        .required("source", report)
        .and_then(|source| source.object(report))
        .and_then(|source| content::read_content(&source, report));
    let export = node.optional_str("export", report).map(ToOwned::to_owned);
    let inherit = match node.field("inherit") {
        Some(inherit) => read_inherit(&inherit, report)?,
        None => Inherit::nothing(),
    };
    Some(Dependency {
        name: parsed.ok()?,
        source: source?,
        export,
        inherit,
    })
}

fn read_inherit(node: &Node<'_>, report: &mut Report) -> Option<Inherit> {
    if node.as_str() == Some("All") {
        return Some(Inherit::All);
    }
    if !node.is_object() || node.field("Some").is_none() {
        report.malformed(format!(
            "{} must be \"All\" or {{\"Some\": [..]}}; correct it",
            node.at()
        ));
        return None;
    }
    let mut powers = BTreeSet::new();
    for name in node.strings("Some", report) {
        match Power::named(name) {
            Ok(power) => {
                powers.insert(power);
            }
            Err(reason) => report.unmet(format!(
                "{}.Some lists {}, which {reason}",
                node.at(),
                quoted(name)
            )),
        }
    }
    Some(Inherit::Some(powers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_matches_the_imports_that_it_says() {
        for (name, import) in [
            ("a:b/c@0.1.0", "a:b/c@0.1.0"),
            ("a:b/c", "a:b/c@0.1.0"),
            ("a:b/c", "a:b/c"),
            ("a:b", "a:b/c@0.1.0"),
            ("a:b@0.1.0", "a:b/c@0.1.0"),
            ("a-b", "a-b"),
            ("acme:sha-2/hash-256@1.0.0", "acme:sha-2/hash-256@1.0.0"),
        ] {
            let parsed: DependencyName = name.parse().unwrap();
            assert!(parsed.matches(import), "{name} {import}");
            assert_eq!(parsed.to_string(), name);
        }
        for (name, import) in [
            ("a:b/c@0.1.0", "a:b/c"),
            ("a:b/c@0.1.0", "a:b/c@0.1.1"),
            ("a:b/c", "a:b/d"),
            ("a:b", "a:bb/c"),
            ("a:b@0.1.0", "a:b/c"),
            ("a-b", "a:b/c"),
            ("a:b/c", "a-b"),
        ] {
            let parsed: DependencyName = name.parse().unwrap();
            assert!(!parsed.matches(import), "{name} {import}");
        }
    }

    #[test]
    fn what_names_no_import_is_no_name() {
        for bad in [
            "",
            "a b",
            "a:",
            ":b",
            "a:b/",
            "a:b@",
            "a:b@1",
            "a:b/c@1.2.x",
            "a/b",
            "a:b:c",
            "a--b",
            "a@1.0.0",
        ] {
            assert!(bad.parse::<DependencyName>().is_err(), "{bad}");
        }
    }
}
