//! A lockfile against the contents that came with it: whatever either lacks is
//! told together.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::app::{self, App, Content, Refusal};

use super::blob::Limits;
use super::digest::Digest;
use super::error::LoadError;
use super::store::Store;

/// Reads a lockfile, and checks that all it refers to is in the store.
pub(super) fn load(bytes: &[u8], store: &Store, limits: &Limits) -> Result<App, LoadError> {
    let mut refusal = Refusal::default();
    match app::parse_lockfile(bytes) {
        Ok(app) => {
            for component in &app.components {
                let place = format!("component \"{}\"", component.id);
                note(
                    &mut refusal,
                    &place,
                    store.check(&component.source, limits.wasm, false),
                )?;
                for dependency in &component.dependencies {
                    note(
                        &mut refusal,
                        &format!("{place}: dependency \"{}\"", dependency.name),
                        store.check(&dependency.source, limits.wasm, false),
                    )?;
                }
                for file in &component.files {
                    let place = format!("{place}: file \"{}\"", file.path);
                    note(
                        &mut refusal,
                        &place,
                        store.check(&file.content, limits.data, true),
                    )?;
                }
            }
            Ok(refusal.or(app)?)
        }
        Err(mut refusal) => {
            for (id, content) in sources(bytes) {
                note(
                    &mut refusal,
                    &format!("component \"{id}\""),
                    store.check(&content, limits.wasm, false),
                )?;
            }
            Err(refusal.into())
        }
    }
}

/// Everything that an application refers to by digest.
pub(super) fn digests(app: &App) -> BTreeSet<Digest> {
    let files = app
        .components
        .iter()
        .flat_map(|component| component.files.iter().map(|file| &file.content));
    let sources = app.components.iter().flat_map(|component| {
        let dependencies = component.dependencies.iter();
        dependencies
            .map(|dependency| &dependency.source)
            .chain([&component.source])
    });
    let contents = sources
        .chain(files)
        .filter(|content| content.inline.is_none());
    contents
        .filter_map(|content| content.digest.as_deref()?.parse().ok())
        .collect()
}

fn note(
    refusal: &mut Refusal,
    place: &str,
    checked: Result<(), LoadError>,
) -> Result<(), LoadError> {
    match checked {
        Ok(()) => Ok(()),
        Err(error) => error.within(place).add_to(refusal),
    }
}

/// The wasm sources in a lockfile that is refused, as far as they can be read.
fn sources(bytes: &[u8]) -> Vec<(String, Content)> {
    #[derive(Deserialize)]
    struct Lock {
        #[serde(default)]
        components: Vec<Component>,
    }
    #[derive(Deserialize)]
    struct Component {
        id: String,
        source: Source,
    }
    #[derive(Deserialize)]
    struct Source {
        source: Option<String>,
        digest: Option<String>,
        inline: Option<String>,
    }
    let lock: Lock = match serde_json::from_slice(bytes) {
        Ok(lock) => lock,
        // The refusal says what is wrong with it.
        Err(_) => return Vec::new(),
    };
    let parsable = |source: &Source| {
        source.inline.is_none()
            && (source.source.is_some()
                || source
                    .digest
                    .as_deref()
                    .is_some_and(|text| text.parse::<Digest>().is_ok()))
    };
    lock.components
        .into_iter()
        .filter(|component| parsable(&component.source))
        .map(|component| {
            let Source { source, digest, .. } = component.source;
            (
                component.id,
                Content {
                    source,
                    digest,
                    ..Content::default()
                },
            )
        })
        .collect()
}
