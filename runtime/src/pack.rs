//! From a manifest in spin.toml's format to an image in one tar file.
//!
//! The command `catena pack` calls [`pack`]. Nothing is built or fetched here:
//! the wasm files that the manifest names have to be there.
//!
//! ```text
//! spin.toml ─ manifest ─ contents (wasm made components, files) ─ lockfile ─ form ─ OCI archive
//! ```
//!
//! The format is Spin's manifest, version 2. Keys that catena would not carry
//! out are refused, not dropped. One table is catena's own:
//!
//! ```toml
//! [application.tool.catena]
//! # Put into the lockfile's `must_understand`: hosts that do not know these
//! # words refuse the application.
//! must_understand = ["teleportation"]
//! ```

use std::path::PathBuf;

use crate::app::{self, ProblemKind};
use crate::image::Digest;

mod archive;
mod component;
mod contents;
mod dependency;
mod files;
mod form;
mod glob;
mod lockfile;
mod manifest;
mod mistakes;
mod table;
#[cfg(test)]
mod tests;
mod trigger;

pub use form::Form;
pub use mistakes::{Mistake, PackError};

use contents::Contents;
use manifest::Manifest;
use mistakes::Mistakes;

/// What to pack, and into what.
#[derive(Debug, Clone)]
pub struct Options {
    /// The manifest, usually `spin.toml`. Its paths are relative to its folder.
    pub manifest: PathBuf,
    /// The form of the image.
    pub form: Form,
    /// The image's name, for example `localhost/hello:latest`.
    pub reference: Option<String>,
    /// The tar file that is written, whole or not at all.
    pub output: PathBuf,
}

/// What was packed.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The image's name.
    pub reference: String,
    /// The digest of the image's index or manifest.
    pub digest: Digest,
    /// The application's name.
    pub app: String,
    /// The components, as they are in the image.
    pub components: Vec<PackedComponent>,
    /// The lockfile's version; a wasm artifact has none.
    pub lock_version: Option<u64>,
    /// What its host must understand.
    pub must_understand: Vec<String>,
    /// What is odd but no mistake.
    pub warnings: Vec<String>,
}

/// One packed component.
#[derive(Debug, Clone)]
pub struct PackedComponent {
    /// Its id.
    pub id: String,
    /// The digest of its wasm.
    pub digest: Digest,
    /// The size of its wasm in bytes.
    pub size: usize,
    /// How many files its instances see.
    pub files: usize,
}

/// Packs an application.
pub fn pack(options: &Options) -> Result<Packed, PackError> {
    if let Some(reference) = &options.reference {
        check_reference(reference)?;
    }
    let text = std::fs::read_to_string(&options.manifest).map_err(|source| PackError::Io {
        act: format!("reading the manifest {}", options.manifest.display()),
        source,
    })?;
    let mut mistakes = Mistakes::new(&options.manifest, &text);
    let Some(manifest) = Manifest::read(&text, &mut mistakes) else {
        return Err(mistakes.into());
    };
    let folder = options
        .manifest
        .parent()
        .unwrap_or_else(|| std::path::Path::new(""));
    let contents = Contents::gather(&manifest, folder, &mut mistakes);
    form::check(options.form, &manifest, &contents, &mut mistakes);
    mistakes.check()?;

    let lockfile = lockfile::write(&manifest, &contents, options.form);
    let mut warnings = verify(&manifest, &lockfile, &mut mistakes);
    mistakes.check()?;
    warnings.extend(contents.warnings.iter().cloned());

    let mut archive = archive::Archive::default();
    let target = form::write(options.form, &lockfile, &manifest, &contents, &mut archive).map_err(
        |source| PackError::Io {
            act: "making the image's layers".to_owned(),
            source,
        },
    )?;
    let reference = options
        .reference
        .clone()
        .unwrap_or_else(|| default_reference(&manifest));
    archive.save(&target, &reference, &options.output)?;
    Ok(Packed {
        reference,
        digest: target.digest,
        app: manifest.name.clone(),
        components: contents
            .components
            .iter()
            .map(|component| PackedComponent {
                id: component.id.clone(),
                digest: component.wasm.digest,
                size: component.wasm.bytes.len(),
                files: component.files.len(),
            })
            .collect(),
        lock_version: (options.form != Form::Wasm).then_some(lockfile.version),
        must_understand: lockfile.must_understand,
        warnings,
    })
}

/// Reads the lockfile as a host would. What the manifest itself says must be
/// understood may be unknown to catena; every other problem is a mistake.
fn verify(
    manifest: &Manifest,
    lockfile: &lockfile::Lockfile,
    mistakes: &mut Mistakes,
) -> Vec<String> {
    let refusal = match app::parse_lockfile(&lockfile.json) {
        Ok(app) => return app.warnings,
        Err(refusal) => refusal,
    };
    let mut warnings = Vec::new();
    for problem in refusal.problems {
        let declared = |word: &String| problem.text.contains(&format!("\"{word}\""));
        if problem.kind == ProblemKind::Unmet && manifest.must_understand.iter().any(declared) {
            warnings.push(format!("catena itself will not run this image: {problem}"));
        } else {
            mistakes.push_at(manifest.line_of(&problem.text), problem.text);
        }
    }
    warnings
}

/// `localhost/<name>:<version>`, in the letters that a reference may have.
fn default_reference(manifest: &Manifest) -> String {
    let sound = |text: &str| -> String {
        text.chars()
            .map(|c| match c.to_ascii_lowercase() {
                c if c.is_ascii_alphanumeric() || "._-".contains(c) => c,
                _ => '-',
            })
            .collect()
    };
    let version = manifest.version.as_deref().unwrap_or("latest");
    format!("localhost/{}:{}", sound(&manifest.name), sound(version))
}

fn check_reference(reference: &str) -> Result<(), PackError> {
    let sound = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    match !reference.is_empty() && reference.chars().all(sound) {
        true => Ok(()),
        false => Err(PackError::Reference(reference.to_owned())),
    }
}
