//! From the root of an image to the one manifest that runs here, and what kind
//! of image that manifest describes.
//!
//! ```text
//! root -> index -> index (a few deep) -> manifest -> Form: Spin | Wasm | Layers
//! ```

use std::fmt;

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};
use serde::de::DeserializeOwned;

use super::blob::{self, Blobs, Limits};
use super::digest::Digest;
use super::error::LoadError;
use super::media;
use super::platform;

/// How deep an index may hold indexes.
const MAX_NESTING: usize = 4;
/// How many layers a manifest may have.
const MAX_LAYERS: usize = 4096;

/// A blob that an image refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// `manifest`, `index`, `config` or `layer`.
    pub(crate) role: &'static str,
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// The file name that its maker gave it.
    pub(crate) title: Option<String>,
}

impl Part {
    /// Reads a descriptor; its digest has to be one that can be checked.
    pub(crate) fn new(role: &'static str, descriptor: &Descriptor) -> Result<Self, LoadError> {
        let digest = Digest::try_from(descriptor.digest()).map_err(|error| {
            LoadError::corrupt(format!("{role} {}", descriptor.digest()), error.to_string())
        })?;
        let title = descriptor
            .annotations()
            .as_ref()
            .and_then(|all| all.get(media::TITLE))
            .cloned();
        Ok(Part {
            role,
            media_type: descriptor.media_type().to_string(),
            digest,
            size: descriptor.size(),
            title,
        })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role, self.digest)
    }
}

/// One image: a configuration and layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The manifest itself.
    pub(crate) itself: Part,
    pub(crate) config: Part,
    pub(crate) layers: Vec<Part>,
}

/// What kind of image a manifest describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// A Spin image, with this blob as its lockfile.
    Spin(Part),
    /// One wasm file and no lockfile.
    Wasm(Part),
    /// Ordinary layers of a root file system.
    Layers,
}

impl Manifest {
    /// The digest that names this image.
    pub fn digest(&self) -> Digest {
        self.itself.digest
    }

    /// Finds the manifest below `root` that runs on this machine, and reads it.
    pub(crate) fn find(
        blobs: &dyn Blobs,
        root: &Descriptor,
        limits: &Limits,
    ) -> Result<Self, LoadError> {
        let mut next = root.clone();
        for _ in 0..MAX_NESTING {
            let media_type = next.media_type().to_string();
            if media::is_manifest(&media_type) {
                return Manifest::read(blobs, Part::new("manifest", &next)?, limits);
            }
            if !media::is_index(&media_type) {
                return Err(LoadError::unmet(format!(
                    "{} has the media type `{media_type}`, which is neither an image manifest nor an image index",
                    next.digest()
                )));
            }
            let part = Part::new("index", &next)?;
            let index: ImageIndex = parse(&blob::read(blobs, &part, limits.manifest)?, &part)?;
            next = platform::choose(index.manifests(), &part.to_string())?.clone();
        }
        Err(LoadError::corrupt(
            format!("index {}", root.digest()),
            format!(
                "holds indexes more than {MAX_NESTING} deep; point at the image's manifest or at its own index"
            ),
        ))
    }

    fn read(blobs: &dyn Blobs, itself: Part, limits: &Limits) -> Result<Self, LoadError> {
        let manifest: ImageManifest =
            parse(&blob::read(blobs, &itself, limits.manifest)?, &itself)?;
        if manifest.layers().len() > MAX_LAYERS {
            return Err(LoadError::corrupt(
                itself.to_string(),
                format!(
                    "has {} layers; catena takes at most {MAX_LAYERS}",
                    manifest.layers().len()
                ),
            ));
        }
        Ok(Manifest {
            config: Part::new("config", manifest.config())?,
            layers: manifest
                .layers()
                .iter()
                .map(|layer| Part::new("layer", layer))
                .collect::<Result<_, _>>()?,
            itself,
        })
    }

    /// What kind of image this is, by the media types of its parts.
    pub(crate) fn form(&self) -> Result<Form, LoadError> {
        let of = |wanted: fn(&str) -> bool| {
            self.layers
                .iter()
                .filter(move |layer| wanted(&layer.media_type))
        };
        let mut lockfiles = of(media::is_lockfile);
        if let Some(lockfile) = lockfiles.next() {
            return match lockfiles.next() {
                None => Ok(Form::Spin(lockfile.clone())),
                Some(other) => Err(LoadError::corrupt(
                    self.itself.to_string(),
                    format!(
                        "has two lockfiles, {} and {}; an image describes one application",
                        lockfile.digest, other.digest
                    ),
                )),
            };
        }
        if media::is_lockfile(&self.config.media_type) {
            return Ok(Form::Spin(self.config.clone()));
        }
        let wasm: Vec<_> = of(media::is_wasm).collect();
        match wasm.as_slice() {
            [] if media::is_wasm_config(&self.config.media_type) => Err(LoadError::corrupt(
                self.itself.to_string(),
                "is a wasm artifact without a layer of the type `application/wasm`".to_owned(),
            )),
            [] => match self
                .layers
                .iter()
                .find(|layer| !media::is_tar(&layer.media_type))
            {
                None => Ok(Form::Layers),
                Some(layer) => Err(LoadError::unmet(format!(
                    "{layer} has the media type `{}`, which catena does not know; \
                     it takes Spin images, wasm artifacts and layers that are tar files",
                    layer.media_type
                ))),
            },
            [only] => Ok(Form::Wasm((*only).clone())),
            several => Err(LoadError::unmet(format!(
                "{} has {} wasm layers and no lockfile that says what each is for; \
                 compose them into one component, or pack them with a lockfile (`catena pack`)",
                self.itself,
                several.len()
            ))),
        }
    }

    /// Reads the configuration of an image with ordinary layers.
    pub(crate) fn configuration(
        &self,
        blobs: &dyn Blobs,
        limits: &Limits,
    ) -> Result<ImageConfiguration, LoadError> {
        parse(
            &blob::read(blobs, &self.config, limits.config)?,
            &self.config,
        )
    }
}

/// Parses a JSON part of an image.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], part: &Part) -> Result<T, LoadError> {
    serde_json::from_slice(bytes).map_err(|error| {
        LoadError::corrupt(
            part.to_string(),
            format!("is not a sound image {}: {error}", part.role),
        )
    })
}
