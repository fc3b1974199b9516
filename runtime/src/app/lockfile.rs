//! The lockfile ("locked app"), version 0 and 1.
//!
//! One walk over the document collects every reason against the application,
//! so that its author corrects them all at once. Fields that nobody knows are
//! passed over at the top level: in this format it is the version and
//! `must_understand` that keep an old host from running a new application.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::json::{self, Node, Report, quoted};
use super::routes::Router;
use super::trigger::Settings;
use super::variables::Variables;
use super::{
    App, Component, HttpRoute, ProblemKind, Refusal, Trigger, allowed_hosts, component,
    requirements, trigger, variables,
};

/// The newest version that catena reads.
const NEWEST: u64 = 1;

/// What an application without a name is called.
const UNNAMED: &str = "unnamed";

/// Paths that catena answers itself.
const RESERVED: &str = "/.well-known/spin/";

/// Reads a lockfile; the refusal holds every reason against it.
pub fn parse_lockfile(json: &[u8]) -> Result<App, Refusal> {
    let document = json::parse(json).map_err(|text| Refusal::new(ProblemKind::Malformed, text))?;
    let mut report = Report::default();
    let app = Node::root(&document)
        .object(&mut report)
        .map(|root| read_app(&root, &mut report));
    match app {
        Some(mut app) if report.refusal.is_empty() => {
            app.warnings = report.warnings;
            Ok(app)
        }
        _ => Err(report.refusal),
    }
}

fn read_app(root: &Node<'_>, report: &mut Report) -> App {
    let mut required = BTreeSet::new();
    let lock_version = read_version(root, report);
    requirements::read_must_understand(root, report);
    requirements::read_host_requirements(root, "the application", &mut required, report);
    let metadata = root
        .field("metadata")
        .and_then(|metadata| metadata.object(report));
    let mut text = |name: &str| {
        let metadata = metadata.as_ref()?;
        metadata.optional_str(name, report).map(ToOwned::to_owned)
    };
    let name = text("name").unwrap_or_else(|| UNNAMED.to_owned());
    let (version, description) = (text("version"), text("description"));

    let variables = variables::read(root, report);
    let settings = metadata
        .as_ref()
        .map(|metadata| trigger::read_settings(metadata, &variables, report))
        .unwrap_or_default();
    let nodes = root
        .required("components", report)
        .map(|list| list.items(report));
    let nodes = nodes.unwrap_or_default();
    let ids = component_ids(&nodes, report);
    let read = |node| component::read(node, &variables, &mut required, report);
    let components: Vec<Component> = nodes.iter().filter_map(read).collect();
    let triggers = read_triggers(root, &ids, &variables, &settings, report);
    warn_of_unreachable(&components, &ids, &triggers, report);
    App {
        name,
        version,
        description,
        lock_version,
        requirements: required.into_iter().collect(),
        components,
        triggers,
        variables,
        warnings: Vec::new(),
    }
}

fn read_version(root: &Node<'_>, report: &mut Report) -> u64 {
    let version = root
        .required("spin_lock_version", report)
        .and_then(|node| node.uint(report));
    let version = version.unwrap_or_default();
    if version > NEWEST {
        report.unmet(format!(
            "spin_lock_version is {version}, but catena reads versions 0 and {NEWEST}; rebuild the \
             application for one of them or use a newer host"
        ));
    }
    version
}

/// The ids of all components, sound or not, so that a trigger that names an
/// unsound one is not reported on top. A chained request's host name has no
/// case, so two ids that differ in nothing else are the same one.
fn component_ids<'j>(nodes: &[Node<'j>], report: &mut Report) -> BTreeSet<&'j str> {
    let mut places: HashMap<String, &Node<'j>> = HashMap::new();
    let mut ids = BTreeSet::new();
    for node in nodes {
        let id = node.field("id");
        let Some(id) = id.as_ref().and_then(Node::as_str) else {
            continue;
        };
        ids.insert(id);
        let first = *places.entry(id.to_ascii_lowercase()).or_insert(node);
        if !std::ptr::eq(first, node) {
            report.malformed(format!(
                "{} has the id {}, which {} has already (case aside); rename one of them",
                node.at(),
                quoted(id),
                first.at()
            ));
        }
    }
    ids
}

fn read_triggers(
    root: &Node<'_>,
    components: &BTreeSet<&str>,
    variables: &Variables,
    settings: &Settings,
    report: &mut Report,
) -> Vec<Trigger> {
    let Some(list) = root.required("triggers", report) else {
        return Vec::new();
    };
    let nodes = list.items(report);
    if nodes.is_empty() && list.is_list() {
        report.malformed("triggers is empty, so nothing would ever run; add a trigger");
    }
    let mut places: HashMap<&str, &Node<'_>> = HashMap::new();
    for node in &nodes {
        let id = node.field("id");
        let Some(id) = id.as_ref().and_then(Node::as_str) else {
            continue;
        };
        let first = *places.entry(id).or_insert(node);
        if !std::ptr::eq(first, node) {
            report.malformed(format!(
                "{} has the id {}, which {} has already; rename one of them",
                node.at(),
                quoted(id),
                first.at()
            ));
        }
    }
    nodes
        .iter()
        .filter_map(|node| trigger::read(node, components, variables, settings, report))
        .collect()
}

/// Routes and grants that can do nothing are most likely mistakes.
fn warn_of_unreachable(
    components: &[Component],
    ids: &BTreeSet<&str>,
    triggers: &[Trigger],
    report: &mut Report,
) {
    let mut router = Router::new();
    for trigger in triggers {
        let Trigger::Http(http) = trigger else {
            continue;
        };
        let HttpRoute::Path(route) = &http.route else {
            continue;
        };
        if let Ok(Some(replaced)) = router.insert(route, trigger.id()) {
            report.warn(format!(
                "the triggers {} and {} serve the same route {}; the last one is used",
                quoted(replaced),
                quoted(trigger.id()),
                quoted(route)
            ));
        }
        if route.starts_with(RESERVED) {
            report.warn(format!(
                "trigger {}: the route {} lies under {RESERVED}, where catena answers some paths \
                 itself",
                quoted(trigger.id()),
                quoted(route)
            ));
        }
    }
    let ids: HashSet<String> = ids.iter().map(|id| id.to_ascii_lowercase()).collect();
    for component in components {
        for target in allowed_hosts::chaining_targets(&component.allowed_hosts) {
            if !ids.contains(&target) {
                report.warn(format!(
                    "component {} may call the component {}, which does not exist",
                    quoted(&component.id),
                    quoted(&target)
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests;
