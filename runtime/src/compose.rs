//! Makes one component of a component and its dependencies.
//!
//! Whoever compiles calls it, in the compile child where there is one: it reads
//! bytes that somebody else wrote. Each dependency satisfies the imports of the
//! component that its name matches; what nobody satisfies is the host's to give,
//! and the exports are those of the component alone. A dependency that may not
//! use what its parent may has its imports renamed (`isolate`), so that the host
//! can tell its calls from its parent's.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{self, AssertUnwindSafe};

use anyhow::{Context as _, bail};
use wac_graph::types::{Package, SubtypeChecker, World, WorldId};
use wac_graph::{CompositionGraph, EncodeOptions, NodeId};
use wasmparser::{Validator, WasmFeatures};

use crate::app::Inherit;
use crate::image::{Part, Parts, componentize};

mod isolate;

pub(crate) use isolate::DENIED;

/// How many imports a component and its dependencies have together at most: as
/// many as wasmparser lets one component have.
const MAX_IMPORTS: usize = 1000;

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
    let composed = unless_it_panics(|| compose_of(component.into_owned(), &parts.dependencies));
    let composed = composed.unwrap_or_else(|| bail!("{UNFIT}"))?;
    Validator::new_with_features(WasmFeatures::all())
        .validate_all(&composed)
        .map_err(|error| invalid(&error, &parts.dependencies))?;
    Ok(Cow::Owned(composed))
}

const UNFIT: &str = "the dependencies cannot be composed into the component: what they and it \
                     import does not fit together; build them with the same versions of their \
                     interfaces";

/// The composer panics where a component is of a kind that it does not expect.
/// Where that is in its code helps nobody who reads what is wrong with an image.
fn unless_it_panics<T>(act: impl FnOnce() -> T) -> Option<T> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let outcome = panic::catch_unwind(AssertUnwindSafe(act));
    panic::set_hook(hook);
    outcome.ok()
}

fn compose_of(component: Vec<u8>, dependencies: &[Part]) -> anyhow::Result<Vec<u8>> {
    let mut problems = Vec::new();
    let mut composer = Composer::default();
    let parent = composer.add("component", component)?;
    let mut plugs = Vec::new();
    for (index, part) in dependencies.iter().enumerate() {
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
    let instances = plugs.iter().map(|(_, instance)| *instance);
    let imports = composer.imports(instances.chain([parent]));
    if imports > MAX_IMPORTS {
        bail!(
            "it and its dependencies import {imports} things together, and a component has at \
             most {MAX_IMPORTS}; compose fewer"
        );
    }
    composer.finish(parent)
}

/// What to say of a composition that no engine takes.
fn invalid(error: &wasmparser::BinaryReaderError, dependencies: &[Part]) -> anyhow::Error {
    let isolated = dependencies
        .iter()
        .filter(|part| part.inherit != Inherit::All);
    let isolated: Vec<_> = isolated.map(|part| format!("\"{}\"", part.name)).collect();
    let hint = match isolated.is_empty() {
        true => String::new(),
        false => format!(
            ", or let {} inherit what it is handed or hands out, such as stores and connections",
            isolated.join(", ")
        ),
    };
    anyhow::anyhow!(
        "the dependencies do not fit the component: {}; build them for the same interfaces{hint}",
        error.message()
    )
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
        let options = EncodeOptions {
            validate: false,
            ..EncodeOptions::default()
        };
        self.graph.encode(options).context(UNFIT)
    }

    /// How many different things these import.
    fn imports(&self, of: impl Iterator<Item = Instance>) -> usize {
        let types = self.graph.types();
        let imports = of.flat_map(|instance| types[instance.world].imports.keys());
        imports.collect::<BTreeSet<_>>().len()
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

#[cfg(test)]
mod tests;
