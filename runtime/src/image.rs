//! From an image to an [`App`] and the bytes it refers to.
//!
//! The shim loads from containerd's content store ([`Image::from_blobs`]) or
//! from the container's root file system ([`Image::from_rootfs`]); the command
//! line from a path ([`Image::from_path`]). All forms of image end in the same
//! [`Image`]:
//!
//! ```text
//! content store, layout, tar ─ index ─ manifest ┬ lockfile + wasm layers (Spin)
//!                                               ├ one wasm layer (CNCF artifact, runwasi's)
//!                                               └ tar layers ─ root file system ┬ /spin.json
//!                                                                               └ entrypoint.wasm
//! ```
//!
//! Nothing is used before its digest and size are verified, and no path in an
//! image leads outside of it. Nothing here runs or compiles wasm, or writes
//! anywhere but where [`Image::materialize_files`] is told to.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::app::{self, App, Component, Content, Dependency, ProblemKind, Refusal};

pub use oci_spec::image::Descriptor;

mod archive;
mod artefact;
mod blob;
mod componentize;
mod digest;
mod docker;
mod error;
mod file_url;
mod files;
mod first_sdks;
mod layers;
mod layout;
mod lock;
mod manifest;
pub(crate) mod media;
mod parts;
mod platform;
mod root;
pub(crate) mod rootfs;
mod spool;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tree;
mod unpack;
mod wasm;

pub use archive::TarArchive;
pub use blob::{Blobs, Limits};
pub use componentize::componentize;
pub use digest::{Digest, DigestError};
pub use error::LoadError;
pub use layout::Layout;
pub use manifest::Manifest;
pub use parts::{Part, Parts};
pub use wasm::{Interface, Purpose};

use layers::Layers;
use manifest::Form;
use root::Root;
use store::Store;

/// An application and where its bytes are.
pub struct Image {
    /// What the image declares.
    pub app: App,
    lockfile: Vec<u8>,
    store: Store,
    limits: Limits,
    digest: Option<Digest>,
}

/// What an image turned out to be.
#[derive(Debug)]
pub enum Loaded {
    /// An application, ready.
    App(Box<Image>),
    /// Ordinary layers of a root file system, which may hold an application:
    /// [`Image::from_rootfs`] tells once they are unpacked.
    Rootfs(Box<Manifest>),
}

impl Image {
    /// Loads from blobs, for example containerd's content store. `root` is the
    /// image's target, a manifest or an index.
    pub fn from_blobs(blobs: Arc<dyn Blobs>, root: &Descriptor) -> Result<Loaded, LoadError> {
        Image::from_blobs_within(blobs, root, &Limits::default())
    }

    /// As [`Image::from_blobs`], with limits of one's own.
    pub fn from_blobs_within(
        blobs: Arc<dyn Blobs>,
        root: &Descriptor,
        limits: &Limits,
    ) -> Result<Loaded, LoadError> {
        let manifest = Manifest::find(&*blobs, root, limits)?;
        let (app, lockfile, store) = match manifest.form()? {
            Form::Layers => return Ok(Loaded::Rootfs(Box::new(manifest))),
            Form::Spin(lockfile) => load_spin(blobs, &manifest, &lockfile, limits)?,
            Form::Wasm(layer) => {
                let bytes = blob::read(&*blobs, &layer, limits.wasm)?;
                let name = artefact::name_from(layer.title.as_deref().unwrap_or_default());
                let source = json!({ "digest": layer.digest.to_string() });
                let (app, lockfile) = artefact::app(&bytes, &layer.to_string(), &name, source)?;
                (app, lockfile, Store::Layers(Layers::new(blobs, [&layer])))
            }
        };
        let digest = Some(manifest.digest());
        Ok(Loaded::App(Box::new(Image {
            app,
            lockfile,
            store,
            limits: *limits,
            digest,
        })))
    }

    /// Loads from an unpacked root file system. `args` is the process that the
    /// container would run. `None` when this is an ordinary Linux container:
    /// it has no `/spin.json`, and its process is no wasm file.
    pub fn from_rootfs(dir: &Path, args: &[String]) -> Result<Option<Image>, LoadError> {
        let limits = Limits::default();
        let found = rootfs::load(Root::dir(dir)?, args, &limits)?;
        Ok(found.map(|(app, lockfile, store)| Image {
            app,
            lockfile,
            store,
            limits,
            digest: None,
        }))
    }

    /// Loads one wasm file of an unpacked root file system, whatever else that
    /// holds. `None` when it is no wasm file.
    pub fn from_rootfs_file(dir: &Path, file: &str) -> Result<Option<Image>, LoadError> {
        let limits = Limits::default();
        let found = rootfs::wasm_file(Root::dir(dir)?, file, "the file", &limits)?;
        Ok(found.map(|(app, lockfile, store)| Image {
            app,
            lockfile,
            store,
            limits,
            digest: None,
        }))
    }

    /// Loads from a path of the developer's: an OCI layout folder, an unpacked
    /// root file system with a `spin.json`, a tar of an image, or a wasm file.
    pub fn from_path(path: &Path) -> Result<Image, LoadError> {
        let place = path.display().to_string();
        let opening = |source| LoadError::Io {
            act: format!("opening {place}"),
            source,
        };
        if std::fs::metadata(path).map_err(opening)?.is_dir() {
            if !path.join("index.json").exists() && path.join("spin.json").exists() {
                let image = Image::from_rootfs(path, &[])?;
                return image.ok_or_else(|| LoadError::corrupt(place, "holds no application"));
            }
            let layout = Layout::open(path)?;
            let root = layout.root().clone();
            return Image::whole(Arc::new(layout), &root, &place);
        }
        let mut start = [0u8; 262];
        let read = read_start(File::open(path).map_err(opening)?, &mut start).map_err(opening)?;
        let start = &start[..read];
        if start.starts_with(&[0x1f, 0x8b]) || start.ends_with(b"ustar") {
            let archive = TarArchive::open(path)?;
            let root = archive.root().clone();
            return Image::whole(Arc::new(archive), &root, &place);
        }
        Image::from_wasm(path, &place)
    }

    /// Loads an image whole, also one whose layers are a root file system.
    fn whole(blobs: Arc<dyn Blobs>, root: &Descriptor, place: &str) -> Result<Image, LoadError> {
        let limits = Limits::default();
        let manifest = match Image::from_blobs(blobs.clone(), root)? {
            Loaded::App(image) => return Ok(*image),
            Loaded::Rootfs(manifest) => manifest,
        };
        let config = manifest.configuration(&*blobs, &limits)?;
        let diff_ids = config.rootfs().diff_ids();
        if diff_ids.len() != manifest.layers.len() {
            return Err(LoadError::corrupt(
                manifest.config.to_string(),
                format!(
                    "lists {} layers and the manifest {}",
                    diff_ids.len(),
                    manifest.layers.len()
                ),
            ));
        }
        let mut layers = tree::TreeBuilder::new(limits)?;
        for (layer, diff_id) in manifest.layers.iter().zip(diff_ids) {
            let diff_id = diff_id.parse().map_err(|error: DigestError| {
                LoadError::corrupt(manifest.config.to_string(), error.to_string())
            })?;
            layers.add(&*blobs, layer, Some(diff_id))?;
        }
        let process = config.config().as_ref();
        let entrypoint = process
            .and_then(|process| process.entrypoint().clone())
            .unwrap_or_default();
        let cmd = process
            .and_then(|process| process.cmd().clone())
            .unwrap_or_default();
        let args: Vec<_> = entrypoint.into_iter().chain(cmd).collect();
        let Some((app, lockfile, store)) =
            rootfs::load(Root::Layers(layers.finish()?), &args, &limits)?
        else {
            return Err(LoadError::unmet(format!(
                "{place} is a Linux image, not a wasm application: it has no /spin.json, and its process [{}] is no wasm file",
                args.join(" ")
            )));
        };
        let digest = Some(manifest.digest());
        Ok(Image {
            app,
            lockfile,
            store,
            limits,
            digest,
        })
    }

    /// Loads a wasm file.
    fn from_wasm(path: &Path, place: &str) -> Result<Image, LoadError> {
        let limits = Limits::default();
        let file = File::open(path).map_err(|source| LoadError::Io {
            act: format!("opening {place}"),
            source,
        })?;
        let size = file
            .metadata()
            .map_err(|source| LoadError::Io {
                act: format!("opening {place}"),
                source,
            })?
            .len();
        let expected = blob::Expected {
            digest: None,
            size: Some(size),
            limit: limits.wasm,
        };
        let bytes = blob::read_to_end(blob::Verifying::new(file, expected), place)?;
        let digest = Digest::of(&bytes);
        let name = artefact::name_from(place);
        let (app, lockfile) = artefact::app(
            &bytes,
            place,
            &name,
            json!({ "digest": digest.to_string() }),
        )?;
        let part = manifest::Part {
            role: "file",
            media_type: media::WASM.to_owned(),
            digest,
            size,
            title: None,
        };
        let blobs = Arc::new(OneFile {
            digest,
            path: path.to_owned(),
        });
        let store = Store::Layers(Layers::new(blobs, [&part]));
        Ok(Image {
            app,
            lockfile,
            store,
            limits,
            digest: None,
        })
    }

    /// The lockfile that [`Image::app`] was read from; made up for an image that
    /// is only a wasm file.
    pub fn lockfile(&self) -> &[u8] {
        &self.lockfile
    }

    /// The digest of the image's manifest, where there is one.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The digest of a component's wasm, as it is in the image. What has no
    /// digest for its name (a file, inlined bytes) is read and hashed.
    pub fn wasm_digest(&self, component: &str) -> Result<Digest, LoadError> {
        let component = self.component(component)?;
        self.content_digest(&component.source)
            .map_err(|error| error.within(&format!("component \"{}\"", component.id)))
    }

    /// What the compiled code of a component goes by: the digest of its wasm, or
    /// where it has dependencies, of what it and they are composed into. Reads no
    /// more than [`Image::wasm_digest`] does, for each of them.
    pub fn code_digest(&self, component: &str) -> Result<Digest, LoadError> {
        let wasm = self.wasm_digest(component)?;
        Ok(parts::digest(wasm, &self.dependency_digests(component)?))
    }

    /// A component's dependencies and the digests of their wasm.
    pub fn dependency_digests(
        &self,
        component: &str,
    ) -> Result<Vec<(&Dependency, Digest)>, LoadError> {
        let component = self.component(component)?;
        let dependencies = component.dependencies.iter();
        dependencies
            .map(|dependency| {
                let digest = self.content_digest(&dependency.source);
                let digest = digest.map_err(|error| error.within(&place(component, dependency)))?;
                Ok((dependency, digest))
            })
            .collect()
    }

    fn content_digest(&self, content: &Content) -> Result<Digest, LoadError> {
        if let (Store::Layers(_), None) = (&self.store, &content.inline)
            && let Some(digest) = store::digest_of(content)?
        {
            return Ok(digest);
        }
        self.store
            .open(content, self.limits.wasm)
            .and_then(store::Opened::digest)
    }

    /// A component's wasm, verified: a component, or a core module that
    /// [`componentize`] has to turn into one.
    pub fn wasm(&self, component: &str) -> Result<Vec<u8>, LoadError> {
        let component = self.component(component)?;
        let opened = self.store.open(&component.source, self.limits.wasm);
        opened
            .and_then(store::Opened::read)
            .map_err(|error| error.within(&format!("component \"{}\"", component.id)))
    }

    /// A component's wasm and that of its dependencies, verified. Together they
    /// are no larger than a component may be, and they are those that
    /// [`Image::code_digest`] gave `digest` for, in hex: files of a root file
    /// system could have changed meanwhile.
    pub fn parts(&self, component: &str, digest: &str) -> Result<Parts, LoadError> {
        let mut parts = Parts::alone(self.wasm(component)?);
        let component = self.component(component)?;
        let limit = self.limits.wasm;
        let mut left = limit - parts.wasm.len() as u64;
        let mut digests = Vec::new();
        for dependency in &component.dependencies {
            let within = |error: LoadError| error.within(&place(component, dependency));
            let opened = self.store.open(&dependency.source, left);
            if opened.is_err() && self.store.open(&dependency.source, limit).is_ok() {
                return Err(LoadError::corrupt(
                    place(component, dependency),
                    format!(
                        "makes the component and its dependencies larger together than {limit} \
                         bytes; compose fewer or smaller ones"
                    ),
                ));
            }
            let wasm = opened.and_then(store::Opened::read).map_err(within)?;
            left -= wasm.len() as u64;
            digests.push((dependency, Digest::of(&wasm)));
            parts.dependencies.push(Part {
                name: dependency.name.clone(),
                export: dependency.export.clone(),
                inherit: dependency.inherit.clone(),
                wasm,
            });
        }
        if parts::digest(Digest::of(&parts.wasm), &digests).hex() != digest {
            return Err(LoadError::corrupt(
                format!("component \"{}\"", component.id),
                "changed while it was read; load it again",
            ));
        }
        Ok(parts)
    }

    /// Writes the files of a component below `dir`, verified. The folder has to
    /// be empty and the caller's own; after an error it holds a part of them.
    pub fn materialize_files(&self, component: &str, dir: &Path) -> Result<(), LoadError> {
        files::materialize(&self.store, self.component(component)?, dir, &self.limits)
    }

    /// Reads everything that the image refers to, and tells all that is wrong
    /// with it at once.
    pub fn verify(&self) -> Result<(), LoadError> {
        let mut refusal = Refusal::default();
        for component in &self.app.components {
            if let Err(error) = self.wasm(&component.id) {
                error.add_to(&mut refusal)?;
            }
            for dependency in &component.dependencies {
                let opened = self.store.open(&dependency.source, self.limits.wasm);
                if let Err(error) = opened.and_then(store::Opened::digest) {
                    error
                        .within(&place(component, dependency))
                        .add_to(&mut refusal)?;
                }
            }
            for file in &component.files {
                if let Err(error) = self.read_file(file) {
                    error
                        .within(&format!(
                            "component \"{}\": file \"{}\"",
                            component.id, file.path
                        ))
                        .add_to(&mut refusal)?;
                }
            }
        }
        Ok(refusal.or(())?)
    }

    fn read_file(&self, file: &app::FileMount) -> Result<(), LoadError> {
        match self.store.folder(&file.content)? {
            None => self
                .store
                .open(&file.content, self.limits.data)?
                .digest()
                .map(|_| ()),
            Some(below) => below.iter().try_for_each(|path| {
                self.store
                    .open_below(&file.content, path, self.limits.data)?
                    .digest()
                    .map(|_| ())
            }),
        }
    }

    fn component(&self, id: &str) -> Result<&Component, LoadError> {
        self.app
            .components
            .iter()
            .find(|component| component.id == id)
            .ok_or_else(|| {
                LoadError::Refused(Refusal::new(
                    ProblemKind::Malformed,
                    format!("the image has no component \"{id}\""),
                ))
            })
    }
}

/// A dependency's place, for a sentence.
fn place(component: &Component, dependency: &Dependency) -> String {
    format!(
        "component \"{}\": dependency \"{}\"",
        component.id, dependency.name
    )
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image")
            .field("app", &self.app)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// Reads a Spin image: a lockfile, and a layer for each content that it names.
fn load_spin(
    blobs: Arc<dyn Blobs>,
    manifest: &Manifest,
    lockfile: &manifest::Part,
    limits: &Limits,
) -> Result<(App, Vec<u8>, Store), LoadError> {
    let bytes = blob::read(&*blobs, lockfile, limits.config)?;
    let mut refusal = Refusal::default();
    for layer in manifest
        .layers
        .iter()
        .filter(|layer| layer.digest != lockfile.digest)
    {
        let present = blobs
            .contains(&layer.digest)
            .map_err(|error| LoadError::reading(layer.to_string(), error))?;
        if !present {
            refusal.push(
                ProblemKind::Malformed,
                format!("{layer}: is missing from the image; build or fetch the image again"),
            );
        }
    }
    let mut layers = Layers::new(blobs, &manifest.layers);
    if let Ok(app) = app::parse_lockfile(&bytes)
        && let Err(error) = layers.take_from_archives(&lock::digests(&app), limits)
    {
        error.add_to(&mut refusal)?;
    }
    let store = Store::Layers(layers);
    match lock::load(&bytes, &store, limits) {
        Ok(app) => Ok((refusal.or(app)?, bytes, store)),
        Err(error) => {
            error.add_to(&mut refusal)?;
            Err(refusal.into())
        }
    }
}

/// A wasm file as the only blob there is.
struct OneFile {
    digest: Digest,
    path: PathBuf,
}

impl Blobs for OneFile {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn io::Read + Send + '_>> {
        match *digest == self.digest {
            true => Ok(Box::new(File::open(&self.path)?)),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn read_start(file: File, start: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    let mut file = file.take(start.len() as u64);
    loop {
        match file.read(&mut start[read..])? {
            0 => return Ok(read),
            more => read += more,
        }
    }
}
