//! Makes one component of a component and its dependencies.
//!
//! Whoever compiles calls it, in the compile child where there is one: it reads
//! bytes that somebody else wrote. Each dependency satisfies the imports of the
//! component that its name matches; what nobody satisfies is the host's to give,
//! and the exports are those of the component alone. A dependency that may not
//! use what its parent may has its imports renamed (`isolate`), so that the host
//! can tell its calls from its parent's.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use wac_graph::types::{Package, SubtypeChecker, World, WorldId};
use wac_graph::{CompositionGraph, EncodeOptions, NodeId};

use crate::image::{Part, Parts, componentize};

mod isolate;

pub(crate) use isolate::DENIED;

/// The component of these parts: itself where it has no dependencies.
///
/// # Errors
/// When a part is no component or does not fit: everything that is wrong,
/// together.
pub fn compose(parts: &Parts) -> anyhow::Result<Cow<'_, [u8]>> {
    let component = componentize(&parts.wasm)?;
    if parts.dependencies.is_empty() {
        return Ok(component);
    }
    let mut problems = Vec::new();
    let mut composer = Composer::default();
    let parent = composer.add("component", component.into_owned())?;
    let mut plugs = Vec::new();
    for (index, part) in parts.dependencies.iter().enumerate() {
        let added =
            isolated(part).and_then(|wasm| composer.add(&format!("dependency-{index}"), wasm));
        match added {
            Ok(instance) => plugs.push((part, instance)),
            Err(error) => problems.push(format!("dependency \"{}\": {error:#}", part.name)),
        }
    }
    problems.extend(composer.connect(parent, &plugs)?);
    if !problems.is_empty() {
        bail!("{}", problems.join("; "));
    }
    Ok(Cow::Owned(composer.finish(parent)?))
}

/// A dependency with no more than what it may use.
fn isolated(part: &Part) -> anyhow::Result<Vec<u8>> {
    let wasm = componentize(&part.wasm)?;
    isolate::isolate(&wasm, &part.inherit)
}

/// A component in the graph.
#[derive(Clone, Copy)]
struct Instance {
    node: NodeId,
    world: WorldId,
}

#[derive(Default)]
struct Composer {
    graph: CompositionGraph,
}

impl Composer {
    fn add(&mut self, name: &str, wasm: Vec<u8>) -> anyhow::Result<Instance> {
        let package = Package::from_bytes(name, None, wasm, self.graph.types_mut())?;
        let world = package.ty();
        let package = self.graph.register_package(package)?;
        Ok(Instance {
            node: self.graph.instantiate(package),
            world,
        })
    }

    /// Satisfies the parent's imports; gives what is wrong.
    fn connect(
        &mut self,
        parent: Instance,
        plugs: &[(&Part, Instance)],
    ) -> anyhow::Result<Vec<String>> {
        let mut problems = Vec::new();
        let imports: Vec<String> = self.names(parent, |world| world.imports.keys().collect());
        let mut wanted: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, (part, _)) in plugs.iter().enumerate() {
            let before = wanted.values().map(Vec::len).sum::<usize>();
            for import in imports.iter().filter(|import| part.name.matches(import)) {
                wanted.entry(import).or_default().push(index);
            }
            if wanted.values().map(Vec::len).sum::<usize>() == before {
                problems.push(format!(
                    "dependency \"{}\" satisfies no import of the component, which imports {}; \
                     correct its name or remove it",
                    part.name,
                    shown(&imports)
                ));
            }
        }
        for (import, takers) in wanted {
            let [taker] = takers.as_slice() else {
                let names = takers
                    .iter()
                    .map(|taker| format!("\"{}\"", plugs[*taker].0.name));
                problems.push(format!(
                    "the import `{import}` is satisfied by {} dependencies, {}; keep one of them, \
                     or name the interfaces of each",
                    takers.len(),
                    names.collect::<Vec<_>>().join(", ")
                ));
                continue;
            };
            let (part, instance) = plugs[*taker];
            problems.extend(self.plug(parent, import, part, instance)?);
        }
        Ok(problems)
    }

    /// Satisfies one import by one dependency; gives what is wrong.
    fn plug(
        &mut self,
        parent: Instance,
        import: &str,
        part: &Part,
        instance: Instance,
    ) -> anyhow::Result<Option<String>> {
        let export = part.export.as_deref().unwrap_or(import);
        let types = self.graph.types();
        let wanted = types[parent.world].imports.get(import).copied();
        let wanted = wanted.context("an import that is none")?;
        let Some(given) = types[instance.world].exports.get(export).copied() else {
            let exports = self.names(instance, |world| world.exports.keys().collect());
            return Ok(Some(format!(
                "dependency \"{}\" exports no `{export}` to satisfy the import `{import}`; it \
                 exports {}; name one of these as its \"export\", or build it for that interface",
                part.name,
                shown(&exports)
            )));
        };
        let mut cache = Default::default();
        let mut checker = SubtypeChecker::new(&mut cache);
        if let Err(error) = checker.is_subtype(given, types, wanted, types) {
            return Ok(Some(unfit(part, export, import, &error)));
        }
        let alias = self.graph.alias_instance_export(instance.node, export)?;
        let set = self
            .graph
            .set_instantiation_argument(parent.node, import, alias);
        Ok(set
            .err()
            .map(|error| unfit(part, export, import, &error.into())))
    }

    /// The outcome, which exports what the parent does.
    fn finish(mut self, parent: Instance) -> anyhow::Result<Vec<u8>> {
        for export in self.names(parent, |world| world.exports.keys().collect()) {
            let alias = self.graph.alias_instance_export(parent.node, &export)?;
            self.graph.export(alias, &export)?;
        }
        // The engine validates it.
        let options = EncodeOptions {
            validate: false,
            ..EncodeOptions::default()
        };
        let encoded = self.graph.encode(options);
        encoded.context(
            "the dependencies cannot be composed into the component: what they and it import does \
             not fit together; build them with the same versions of their interfaces",
        )
    }

    fn names(&self, of: Instance, which: impl Fn(&World) -> Vec<&String>) -> Vec<String> {
        let names = which(&self.graph.types()[of.world]);
        names.into_iter().cloned().collect()
    }
}

fn unfit(part: &Part, export: &str, import: &str, error: &anyhow::Error) -> String {
    format!(
        "dependency \"{}\": its export `{export}` is of another type than the import `{import}` \
         ({error:#}); build both for the same interface",
        part.name
    )
}

/// Some of these names, for a sentence.
fn shown(names: &[String]) -> String {
    let shown: Vec<_> = names
        .iter()
        .take(8)
        .map(|name| format!("`{name}`"))
        .collect();
    match names.len() {
        0 => "nothing".to_owned(),
        9.. => format!("{} and more", shown.join(", ")),
        _ => shown.join(", "),
    }
}
