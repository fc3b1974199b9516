//! A component's wasm and that of its dependencies: what one compiled unit is
//! made of, on its way to the compiler.
//!
//! [`Image::parts`](super::Image::parts) reads them. The shim sends them to its
//! compile child in the form of [`Parts::write`], since only the child may look
//! into them.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::app::{Dependency, DependencyName, Inherit, Power};

use super::digest::Digest;

/// The largest description of parts that is read.
const MAX_HEADER: u64 = 16 << 20;

/// Goes into the names of composed code, so that what another catena composed,
/// by other rules, is not taken for this one's. Between two versions the number
/// changes whenever the same parts come to be composed otherwise.
const COMPOSITION: &str = concat!("catena ", env!("CARGO_PKG_VERSION"), " composition 2");

/// A component's wasm, and the dependencies to be composed into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// The component itself, as it is in the image.
    pub wasm: Vec<u8>,
    /// What satisfies its imports.
    pub dependencies: Vec<Part>,
}

/// A dependency with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which imports it satisfies.
    pub name: DependencyName,
    /// The export that satisfies them, where it is not of the import's name.
    pub export: Option<String>,
    /// What it may use of what its parent may.
    pub inherit: Inherit,
    /// Its wasm, as it is in the image.
    pub wasm: Vec<u8>,
}

/// What stands before the bytes: how to take them apart.
#[derive(Serialize, Deserialize)]
struct Header {
    wasm: u64,
    dependencies: Vec<Described>,
}

#[derive(Serialize, Deserialize)]
struct Described {
    name: String,
    export: Option<String>,
    /// `None` for everything.
    inherit: Option<Vec<String>>,
    wasm: u64,
}

impl Parts {
    /// A component with no dependencies.
    pub fn alone(wasm: Vec<u8>) -> Self {
        Self {
            wasm,
            dependencies: Vec::new(),
        }
    }

    /// Writes them all for [`Parts::read`].
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, mut to: impl Write) -> anyhow::Result<()> {
        let described = self.dependencies.iter().map(|part| Described {
            name: part.name.to_string(),
            export: part.export.clone(),
            inherit: powers(&part.inherit),
            wasm: part.wasm.len() as u64,
        });
        let header = serde_json::to_vec(&Header {
            wasm: self.wasm.len() as u64,
            dependencies: described.collect(),
        })?;
        to.write_all(&(header.len() as u64).to_le_bytes())?;
        to.write_all(&header)?;
        to.write_all(&self.wasm)?;
        for part in &self.dependencies {
            to.write_all(&part.wasm)?;
        }
        Ok(())
    }

    /// Reads what [`Parts::write`] has written.
    ///
    /// # Errors
    /// When it is something else.
    pub fn read(mut from: impl Read) -> anyhow::Result<Self> {
        let mut length = [0; 8];
        from.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER {
            bail!("the description of the parts has {length} bytes");
        }
        let header: Header = serde_json::from_slice(&take(&mut from, length)?)?;
        let wasm = take(&mut from, header.wasm)?;
        let mut dependencies = Vec::new();
        for described in header.dependencies {
            dependencies.push(Part {
                name: described.name.parse().map_err(anyhow::Error::msg)?,
                export: described.export,
                inherit: inherit(described.inherit)?,
                wasm: take(&mut from, described.wasm)?,
            });
        }
        Ok(Self { wasm, dependencies })
    }
}

/// The name of what these parts are composed into: no other composition has it.
/// That of a component alone is its own digest.
pub(super) fn digest(wasm: Digest, dependencies: &[(&Dependency, Digest)]) -> Digest {
    if dependencies.is_empty() {
        return wasm;
    }
    let parts = dependencies.iter().map(|(dependency, digest)| {
        (
            dependency.name.to_string(),
            &dependency.export,
            powers(&dependency.inherit),
            digest.to_string(),
        )
    });
    let parts: BTreeSet<_> = parts.collect();
    let whole = serde_json::json!([COMPOSITION, wasm.to_string(), parts]);
    Digest::of(whole.to_string().as_bytes())
}

fn powers(inherit: &Inherit) -> Option<Vec<String>> {
    match inherit {
        Inherit::All => None,
        Inherit::Some(powers) => Some(powers.iter().map(|one| one.name().to_owned()).collect()),
    }
}

fn inherit(powers: Option<Vec<String>>) -> anyhow::Result<Inherit> {
    let Some(names) = powers else {
        return Ok(Inherit::All);
    };
    let powers = names.iter().map(|name| Power::named(name));
    let powers: Result<_, String> = powers.collect();
    Ok(Inherit::Some(powers.map_err(anyhow::Error::msg)?))
}

fn take(from: &mut impl Read, length: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = from.take(length).read_to_end(&mut bytes)?;
    (read as u64 == length)
        .then_some(bytes)
        .context("the parts end too early")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependency(name: &str, export: Option<&str>, inherit: Inherit) -> Dependency {
        Dependency {
            name: name.parse().unwrap(),
            source: crate::app::Content::default(),
            export: export.map(ToOwned::to_owned),
            inherit,
        }
    }

    #[test]
    fn parts_come_back_as_they_were_written() {
        let part = |name: &str, inherit, wasm: &[u8]| Part {
            name: name.parse().unwrap(),
            export: Some(name.to_uppercase()),
            inherit,
            wasm: wasm.to_vec(),
        };
        let parts = Parts {
            wasm: b"first".to_vec(),
            dependencies: vec![
                part("a:b/c@1.0.0", Inherit::All, b"second"),
                part("plain", Inherit::nothing(), b""),
                part(
                    "a:b",
                    Inherit::Some(BTreeSet::from([Power::Files, Power::Variables])),
                    b"fourth",
                ),
            ],
        };
        let mut bytes = Vec::new();
        parts.write(&mut bytes).unwrap();
        assert_eq!(Parts::read(&*bytes).unwrap(), parts);
        bytes.pop();
        assert!(Parts::read(&*bytes).is_err());
        assert!(Parts::read(&[0xff; 64][..]).is_err());
    }

    #[test]
    fn every_difference_makes_another_name() {
        let (wasm, part) = (Digest::of(b"parent"), Digest::of(b"part"));
        let files = || Inherit::Some(BTreeSet::from([Power::Files]));
        let mut names = BTreeSet::from([digest(wasm, &[]).to_string()]);
        assert_eq!(digest(wasm, &[]), wasm);
        for (name, export, inherit) in [
            ("a:b", None, Inherit::All),
            ("a:b", None, Inherit::nothing()),
            ("a:b", None, files()),
            ("a:b", Some("x"), Inherit::All),
            ("a:c", None, Inherit::All),
        ] {
            let one = dependency(name, export, inherit);
            names.insert(digest(wasm, &[(&one, part)]).to_string());
            names.insert(digest(wasm, &[(&one, wasm)]).to_string());
            names.insert(digest(part, &[(&one, part)]).to_string());
        }
        assert_eq!(names.len(), 16);
        let (a, b) = (
            dependency("a:b", None, Inherit::All),
            dependency("b:b", None, Inherit::All),
        );
        assert_eq!(
            digest(wasm, &[(&a, part), (&b, wasm)]),
            digest(wasm, &[(&b, wasm), (&a, part)]),
            "their order means nothing"
        );
    }
}
