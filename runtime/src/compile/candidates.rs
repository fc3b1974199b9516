//! Names of release candidates, as the linker can find them.
//!
//! A linker takes any compatible version of an interface, but no pre-release
//! is compatible with anything. Those of WASI that applications were built with
//! are therefore read as builds of the release that they led to:
//! `wasi:io/poll@0.2.0-rc-2023-11-10` becomes `wasi:io/poll@0.2.0+rc-2023-11-10`,
//! which is one byte of the component. Where a candidate differs from the
//! release, [`crate::host::dated`] links what it had.

use std::borrow::Cow;

use wasmparser::{Parser, Payload};

/// The candidates that are known.
const CANDIDATES: [&str; 3] = [
    "@0.2.0-rc-2023-10-18",
    "@0.2.0-rc-2023-11-10",
    "@0.3.0-rc-2026-03-15",
];

/// `wasm` with the outermost names of known candidates changed. What is no
/// component comes back as it is.
pub(super) fn as_builds(wasm: &[u8]) -> Cow<'_, [u8]> {
    let places = places(wasm).unwrap_or_default();
    if places.is_empty() {
        return Cow::Borrowed(wasm);
    }
    let mut changed = wasm.to_vec();
    for place in places {
        if let Some(byte) = changed.get_mut(place) {
            *byte = b'+';
        }
    }
    Cow::Owned(changed)
}

/// Where the hyphens before `rc` are.
fn places(wasm: &[u8]) -> Result<Vec<usize>, wasmparser::BinaryReaderError> {
    let mut places = Vec::new();
    let mut note = |name: &str| {
        if name.starts_with("wasi:")
            && let Some(candidate) = CANDIDATES.into_iter().find(|one| name.ends_with(one))
        {
            let hyphen = name.len() - candidate.len() + "@0.2.0".len();
            // The name is a part of these very bytes.
            places.push(name.as_ptr().addr() - wasm.as_ptr().addr() + hyphen);
        }
    };
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    note(import?.name.name);
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    note(export?.name.name);
                }
            }
            _ => {}
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component that imports an empty instance under a name.
    fn importing(name: &str) -> Vec<u8> {
        let mut wasm = b"\0asm\x0d\0\x01\0".to_vec();
        // One type, an instance with nothing in it; one import of that type.
        wasm.extend([7, 3, 1, 0x42, 0]);
        let length = u8::try_from(name.len()).unwrap();
        wasm.extend([10, length + 5, 1, 0, length]);
        wasm.extend(name.as_bytes());
        wasm.extend([5, 0]);
        wasm
    }

    #[test]
    fn candidates_of_wasi_become_builds() {
        let wasm = importing("wasi:io/poll@0.2.0-rc-2023-11-10");
        let changed = as_builds(&wasm);
        assert_eq!(*changed, importing("wasi:io/poll@0.2.0+rc-2023-11-10"));
        wasmparser::Validator::new()
            .validate_all(&changed)
            .expect("still a component");
    }

    #[test]
    fn everything_else_stays() {
        for name in [
            "wasi:io/poll@0.2.0",
            "wasi:io/poll@0.2.0-rc-2022-01-01",
            "example:io/poll@0.2.0-rc-2023-11-10",
        ] {
            assert!(
                matches!(as_builds(&importing(name)), Cow::Borrowed(_)),
                "{name}"
            );
        }
        assert!(matches!(as_builds(b"nonsense"), Cow::Borrowed(_)));
    }
}
