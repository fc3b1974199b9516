//! What a dependency finds that may not use what its parent may.
//!
//! `compose` has renamed what it imports: `denied-wasi:http/client` stands where
//! `wasi:http/client` was, with the same types. [`linker`] defines these names
//! for one component, whatever they are: an error value where a function returns
//! errors, nothing where it returns a list or an option, and a trap that says so
//! where it returns what cannot be refused. Nothing here reads what it was given.

use std::borrow::Cow;

use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{
    Accessor, Component, Linker, LinkerInstance, ResourceAny, ResourceType, Type, Val,
};
use wasmtime_wasi_http::p3::bindings::http::types::Request;

use super::State;
use crate::compose::DENIED;
use crate::engine::Engine;

/// How interfaces call the error that comes closest, the best first.
const ERRORS: [&str; 17] = [
    "access-denied",
    "HTTP-request-denied",
    "not-permitted",
    "destination-not-allowed",
    "other",
    "other-error",
    "runtime-error",
    "provider",
    "io",
    "upstream",
    "internal-error",
    "unexpected-error",
    "connection-failed",
    "error",
    "io-error",
    "failed",
    "unknown",
];

/// Stands for every resource of a denied interface. There is never one.
struct Never;

/// The linker for a component: `linker` itself for one that nothing is denied to.
///
/// # Errors
/// When wasmtime cannot take a definition: a defect of catena.
pub(crate) fn linker<'l>(
    linker: Cow<'l, Linker<State>>,
    engine: &Engine,
    component: &Component,
) -> wasmtime::Result<Cow<'l, Linker<State>>> {
    let engine = engine.wasmtime();
    let component = component.component_type();
    if !component
        .imports(engine)
        .any(|(name, _)| name.starts_with(DENIED))
    {
        return Ok(linker);
    }
    let mut linker = linker.into_owned();
    let mut known = Vec::new();
    for (name, import) in component.imports(engine) {
        let ComponentItem::ComponentInstance(instance) = import.ty else {
            continue;
        };
        let denied = name.strip_prefix(DENIED);
        let mut defined = match denied {
            Some(_) => Some(linker.instance(name)?),
            None => None,
        };
        for (item, export) in instance.exports(engine) {
            match (&mut defined, export.ty) {
                (Some(defined), ComponentItem::ComponentFunc(function)) => {
                    let what = format!("{}#{item}", denied.unwrap_or(name));
                    deny(defined, item, &function, what)?;
                }
                // A resource of an import that comes before is that one's to define.
                (defined, ComponentItem::Resource(resource)) if !known.contains(&resource) => {
                    known.push(resource);
                    if let Some(defined) = defined {
                        let never = ResourceType::host::<Never>();
                        defined.resource(item, never, |_, _| Ok(()))?;
                    }
                }
                _ => {}
            }
        }
    }
    Ok(Cow::Owned(linker))
}

fn deny(
    instance: &mut LinkerInstance<'_, State>,
    item: &str,
    function: &ComponentFunc,
    what: String,
) -> wasmtime::Result<()> {
    if function.async_() {
        return instance.func_new_concurrent(item, move |accessor, function, args, results| {
            let refused = refuse(&function, results, &what);
            Box::pin(async move {
                refused?;
                release_requests(accessor, args)
            })
        });
    }
    instance.func_new_async(item, move |mut store, function, args, results| {
        let refused = refuse(&function, results, &what);
        Box::new(async move {
            refused?;
            for resource in resources(args) {
                resource.resource_drop_async(&mut store).await?;
            }
            Ok(())
        })
    })
}

/// Fills in the answer, or traps where there is none.
fn refuse(function: &ComponentFunc, results: &mut [Val], what: &str) -> wasmtime::Result<()> {
    let sentence =
        format!("{what} is denied: this dependency does not inherit what its component may use");
    for (result, ty) in results.iter_mut().zip(function.results()) {
        match answer(&ty, &sentence) {
            Some(value) => *result = value,
            None => return Err(wasmtime::Error::msg(sentence)),
        }
    }
    match results.is_empty() {
        true => Err(wasmtime::Error::msg(sentence)),
        false => Ok(()),
    }
}

fn answer(ty: &Type, sentence: &str) -> Option<Val> {
    match ty {
        Type::List(_) => Some(Val::List(Vec::new())),
        Type::Option(_) => Some(Val::Option(None)),
        Type::Result(result) => match result.err() {
            None => Some(Val::Result(Err(None))),
            Some(ty) => Some(Val::Result(Err(Some(Box::new(error(&ty, sentence)?))))),
        },
        _ => None,
    }
}

fn error(ty: &Type, sentence: &str) -> Option<Val> {
    match ty {
        Type::String => Some(Val::String(sentence.to_owned())),
        Type::Enum(names) => {
            let is_there = |name: &&str| names.names().any(|one| one == *name);
            let name = ERRORS.into_iter().find(is_there)?;
            Some(Val::Enum(name.to_owned()))
        }
        Type::Variant(variant) => ERRORS.into_iter().find_map(|name| {
            let case = variant.cases().find(|case| case.name == name)?;
            let payload = match &case.ty {
                None => None,
                Some(Type::String) => Some(Val::String(sentence.to_owned())),
                Some(Type::Option(option)) => Some(Val::Option(match option.ty() {
                    Type::String => Some(Box::new(Val::String(sentence.to_owned()))),
                    _ => None,
                })),
                Some(_) => return None,
            };
            Some(Val::Variant(name.to_owned(), payload.map(Box::new)))
        }),
        _ => None,
    }
}

/// The resources that a call handed over, which are the host's now.
fn resources(values: &[Val]) -> Vec<ResourceAny> {
    let mut found = Vec::new();
    let mut todo: Vec<&Val> = values.iter().collect();
    while let Some(value) = todo.pop() {
        match value {
            Val::Resource(resource) => found.push(*resource),
            Val::List(values) | Val::Tuple(values) | Val::FixedLengthList(values) => {
                todo.extend(values);
            }
            Val::Record(fields) => todo.extend(fields.iter().map(|(_, value)| value)),
            Val::Map(pairs) => todo.extend(pairs.iter().flat_map(|(key, value)| [key, value])),
            Val::Variant(_, value) | Val::Option(value) | Val::Result(Ok(value) | Err(value)) => {
                todo.extend(value.as_deref())
            }
            _ => {}
        }
    }
    found
}

/// A concurrent function cannot run destructors. A request is let go, so that
/// nobody waits to write its body; anything else goes with the instance.
fn release_requests(accessor: &Accessor<State>, args: &[Val]) -> wasmtime::Result<()> {
    for resource in resources(args) {
        if resource.ty() != ResourceType::host::<Request>() {
            continue;
        }
        accessor.with(|mut access| {
            let request = resource.try_into_resource::<Request>(&mut access)?;
            access.get().table.delete(request)?;
            Ok::<_, wasmtime::Error>(())
        })?;
    }
    Ok(())
}
