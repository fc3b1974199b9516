//! From wasm to native code, all of an application for one kind of engine.
//!
//! The shim and `catena run` call it; whoever compiles for them is theirs to say.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::Context as _;
use wasmparser::{Validator, WasmFeatures};

use crate::engine::cache::Cache;
use crate::engine::{Concurrency, Engine, plain};
use crate::image::Interface;
use crate::{guest, host};

mod candidates;

/// Stands in the place of code in the cache for engines without concurrency:
/// this component needs one that has it.
const NEEDS_CONCURRENCY: &[u8] = b"this component needs an engine with concurrency\n";

/// Compiles a component, and makes sure that it can be linked: what it imports
/// is there, and something can wake it. Gives what [`CompileCache`] keeps.
///
/// # Errors
/// When `wasm` is not a component, or not one that can run here.
pub fn compile(wasm: &[u8], concurrency: Concurrency) -> anyhow::Result<Vec<u8>> {
    if concurrency == Concurrency::Off && needs_concurrency(wasm) {
        return Ok(NEEDS_CONCURRENCY.to_vec());
    }
    let engine = Engine::for_compiling(concurrency)?;
    let code = engine.precompile(&candidates::as_builds(wasm))?;
    let linker = host::linker(&engine).map_err(plain)?;
    guest::exports(&engine, &linker, &engine.load_bytes(&code)?)?;
    Ok(code)
}

/// Whether a component speaks `wasi` 0.3, or is only valid with the component
/// model's concurrency. True as well of what is not valid at all: the engine
/// that has everything finds out what is wrong with it.
fn needs_concurrency(wasm: &[u8]) -> bool {
    let Ok(Interface {
        imports, exports, ..
    }) = Interface::read(wasm)
    else {
        return true;
    };
    let is_third = |name: &String| name.starts_with("wasi:") && name.contains("@0.3");
    if imports.iter().any(is_third) || exports.iter().any(is_third) {
        return true;
    }
    let concurrency = WasmFeatures::CM_ASYNC
        | WasmFeatures::CM_ASYNC_STACKFUL
        | WasmFeatures::CM_MORE_ASYNC_BUILTINS
        | WasmFeatures::CM_THREADING
        | WasmFeatures::CM_ERROR_CONTEXT;
    let features = WasmFeatures::all() - concurrency;
    Validator::new_with_features(features)
        .validate_all(wasm)
        .is_err()
}

/// A node's compiled code, for both kinds of engine.
#[derive(Clone, Debug)]
pub struct CompileCache {
    without: Cache,
    with: Cache,
}

impl CompileCache {
    /// Opens the cache in a folder, and makes it when it is missing.
    ///
    /// # Errors
    /// Those of [`Cache::open`], and when the host lacks a CPU feature.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let open = |concurrency| {
            let engine = Engine::for_compiling(concurrency)?;
            Cache::open(folder, &engine.compatibility())
        };
        Ok(Self {
            without: open(Concurrency::Off)?,
            with: open(Concurrency::On)?,
        })
    }

    /// The code of all components of an application, all for the same kind of
    /// engine: one without concurrency unless one of them needs it.
    ///
    /// `components` are their names and digests (64 hex digits). What the cache
    /// lacks `make` writes for the component with this index and this kind of
    /// engine, as [`compile`] gives it.
    ///
    /// # Errors
    /// Everything that `make` could not compile, together, and when the cache
    /// cannot be read or written.
    pub fn codes(
        &self,
        components: &[(&str, String)],
        mut make: impl FnMut(usize, Concurrency, &mut File) -> anyhow::Result<()>,
    ) -> anyhow::Result<(Concurrency, Vec<File>)> {
        let mut concurrency = Concurrency::Off;
        let mut codes = each(components, |index, digest| {
            self.without
                .get_or_compile(digest, |file| make(index, concurrency, file))
        });
        let mut needed = false;
        for code in codes.iter_mut().flatten() {
            needed |= is_marker(code).context("reading compiled code")?;
        }
        // Also where something is wrong already: only here it shows what is wrong
        // with the components that need concurrency.
        if needed {
            concurrency = Concurrency::On;
            codes = each(components, |index, digest| {
                self.with
                    .get_or_compile(digest, |file| make(index, concurrency, file))
            });
        }
        Ok((concurrency, together(codes)?))
    }
}

/// Does the same for each component.
fn each(
    components: &[(&str, String)],
    mut get: impl FnMut(usize, &str) -> anyhow::Result<File>,
) -> Vec<anyhow::Result<File>> {
    let components = components.iter().enumerate();
    components
        .map(|(index, (name, digest))| {
            get(index, digest).with_context(|| format!("component {name:?}"))
        })
        .collect()
}

/// All of the code, or everything that went wrong.
fn together(codes: Vec<anyhow::Result<File>>) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for code in codes {
        match code {
            Ok(file) => files.push(file),
            Err(error) => problems.push(error),
        }
    }
    match problems.len() {
        0 => Ok(files),
        // Whole, since the caller may want to know what kind it is.
        1 => Err(problems.remove(0)),
        _ => {
            let all: Vec<_> = problems.iter().map(|error| format!("{error:#}")).collect();
            Err(anyhow::Error::msg(all.join("; ")))
        }
    }
}

fn is_marker(code: &mut File) -> std::io::Result<bool> {
    if code.metadata()?.len() != NEEDS_CONCURRENCY.len() as u64 {
        return Ok(false);
    }
    let mut text = Vec::new();
    code.read_to_end(&mut text)?;
    code.seek(SeekFrom::Start(0))?;
    Ok(text == NEEDS_CONCURRENCY)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// The smallest component.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    /// Has code made of two components, of which those named need concurrency.
    fn made(needing: &[usize]) -> (Concurrency, Vec<String>, Vec<(usize, Concurrency)>) {
        let root = tempfile::tempdir().unwrap();
        let cache = CompileCache::open(&root.path().join("cache")).unwrap();
        let components = [("a", "00".to_owned()), ("b", "11".to_owned())];
        let mut calls = Vec::new();
        let mut codes = || {
            cache.codes(&components, |index, kind, file| {
                calls.push((index, kind));
                let marked = kind == Concurrency::Off && needing.contains(&index);
                let code = format!("{index} {kind:?}").into_bytes();
                Ok(file.write_all(if marked { NEEDS_CONCURRENCY } else { &code })?)
            })
        };
        codes().unwrap();
        let (kind, files) = codes().unwrap();
        let texts = files.into_iter().map(|mut file| {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            text
        });
        (kind, texts.collect(), calls)
    }

    #[test]
    fn an_app_has_an_engine_without_concurrency_where_nothing_needs_it() {
        let (kind, texts, calls) = made(&[]);
        assert_eq!(kind, Concurrency::Off);
        assert_eq!(texts, ["0 Off", "1 Off"]);
        assert_eq!(calls.len(), 2, "the second time all is there: {calls:?}");
    }

    #[test]
    fn one_component_that_needs_concurrency_decides_for_all() {
        let (kind, texts, calls) = made(&[1]);
        assert_eq!(kind, Concurrency::On);
        assert_eq!(texts, ["0 On", "1 On"]);
        assert_eq!(calls.len(), 4, "the second time all is there: {calls:?}");
    }

    #[test]
    fn what_is_not_valid_is_left_to_the_engine_that_has_everything() {
        assert!(!needs_concurrency(EMPTY));
        assert!(needs_concurrency(&EMPTY[..6]));
        let marker = compile(b"nonsense", Concurrency::Off).unwrap();
        assert_eq!(marker, NEEDS_CONCURRENCY);
        let error = compile(b"nonsense", Concurrency::On).unwrap_err();
        assert!(format!("{error:#}").contains("magic"), "{error:#}");
    }

    #[test]
    fn all_that_cannot_be_compiled_is_told_together() {
        let root = tempfile::tempdir().unwrap();
        let cache = CompileCache::open(&root.path().join("cache")).unwrap();
        let components = [("a", "00".to_owned()), ("b", "11".to_owned())];
        let error = cache
            .codes(&components, |index, _, _| anyhow::bail!("no {index}"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("no 0") && error.contains("no 1"), "{error}");
    }

    #[test]
    fn what_is_wrong_with_either_kind_of_component_is_told_together() {
        let root = tempfile::tempdir().unwrap();
        let cache = CompileCache::open(&root.path().join("cache")).unwrap();
        let components = [("a", "00".to_owned()), ("b", "11".to_owned())];
        let error = cache
            .codes(&components, |index, kind, file| {
                if index == 1 && kind == Concurrency::Off {
                    return Ok(file.write_all(NEEDS_CONCURRENCY)?);
                }
                anyhow::bail!("no {index}")
            })
            .unwrap_err()
            .to_string();
        assert!(error.contains("no 0") && error.contains("no 1"), "{error}");
    }
}
