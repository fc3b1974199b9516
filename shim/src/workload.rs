//! Decides what a container runs: an application of wasm components, or an ordinary Linux program.
//! An application is checked here, before any process of the container exists, and made ready:
//! compiled, its files written, everything a worker needs opened.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use catena_runtime::app::allowed_hosts::AllowedHosts;
use catena_runtime::app::{ProblemKind, Refusal, variables};
use catena_runtime::config::{Config, RuntimeConfig, Sources};
use catena_runtime::image::{Image, LoadError, Loaded};
use catena_runtime::server::check_triggers;
use catena_runtime::service;

use crate::compile::{self, Compiler};
use crate::content::{ContentStore, Origin};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::inside::{self, Files, RUNTIME_CONFIG};
use crate::options::Options;
use crate::readonly;
use crate::spec::BundleSpec;
use crate::volumes::{self, Grant, Mount};
use crate::worker::{Assignment, ComponentFiles};

mod command;

pub(crate) use command::command;

/// The host's certificate authorities, where distributions keep them.
pub(crate) const CA_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What containerd knows of the container's image.
pub(crate) enum Known {
    /// An application, read from the content store.
    App(Box<Image>),
    /// Ordinary layers, or no image at all: the root file system tells.
    Rootfs,
    /// There was an image, but containerd has it no more.
    Removed(String),
    /// The sandbox of a pod.
    Sandbox,
}

/// What a container runs.
pub(crate) enum Workload {
    /// A program of the root file system.
    Linux,
    /// An application, with everything its worker needs.
    Wasm(Box<Assignment>),
}

/// Asks containerd what the image of the container is.
pub(crate) async fn ask(daemon: &Daemon, id: &str, spec: &BundleSpec) -> Result<Known, Error> {
    if spec.is_sandbox() {
        return Ok(Known::Sandbox);
    }
    let store = ContentStore::connect(&daemon.containerd, &daemon.namespace).await?;
    let target = match store.origin(id).await? {
        Origin::Image(target) => target,
        Origin::Removed(name) => return Ok(Known::Removed(name)),
        Origin::None => return Ok(Known::Rootfs),
    };
    let loaded =
        tokio::task::spawn_blocking(move || Image::from_blobs(Arc::new(store), &target)).await;
    match loaded.context("reading the image")?? {
        Loaded::App(image) => Ok(Known::App(image)),
        Loaded::Rootfs(_) => Ok(Known::Rootfs),
    }
}

/// Decides, checks and prepares. Blocks. `rootfs` is mounted; `work` is our folder in the bundle.
pub(crate) fn prepare(
    daemon: &Daemon,
    known: Known,
    spec: &BundleSpec,
    options: &Options,
    rootfs: &Path,
    work: &Path,
) -> Result<Workload, Error> {
    let Some(mut image) = find(known, spec, rootfs)? else {
        return Ok(Workload::Linux);
    };
    let (env, mounts, named) = (spec.env(), spec.mounts(), ids(&image));
    let refusal = retain(&mut image, &env);
    let around = Around {
        env: &env,
        mounts: &mounts,
        named: &named,
        files: Files::Container {
            mounts: &mounts,
            rootfs,
        },
        runtime_config: Some(Path::new(RUNTIME_CONFIG)),
    };
    let volumes = check(&image, refusal, &around)?;
    let assignment = assign(daemon, &image, spec, options, work, &volumes)?;
    Ok(Workload::Wasm(Box::new(assignment)))
}

/// The application, if there is one. Blocks.
fn find(known: Known, spec: &BundleSpec, rootfs: &Path) -> Result<Option<Image>, Error> {
    match known {
        Known::Sandbox => Ok(None),
        Known::App(image) => Ok(Some(*image)),
        Known::Rootfs => Ok(Image::from_rootfs(rootfs, spec.args())?),
        Known::Removed(name) => {
            let image = Image::from_rootfs(rootfs, spec.args())?;
            if image.is_none() && is_empty(rootfs)? {
                return Err(Error::FailedPrecondition(format!(
                    "the image {name} of this container is no longer in containerd: pull it again"
                )));
            }
            Ok(image)
        }
    }
}

/// What is around an application: what it is checked against.
pub(crate) struct Around<'a> {
    pub(crate) env: &'a [(String, String)],
    pub(crate) mounts: &'a [Mount],
    /// The components whose names the environment may hold.
    pub(crate) named: &'a [String],
    /// Where the files are that the runtime configuration names.
    pub(crate) files: Files<'a>,
    /// Where it is itself, if it may be somewhere.
    pub(crate) runtime_config: Option<&'a Path>,
}

/// Drops the components that the environment does not ask for, and says why that cannot be.
pub(crate) fn retain(image: &mut Image, env: &[(String, String)]) -> Refusal {
    match image.app.retained(env) {
        Ok(app) => {
            image.app = app;
            Refusal::default()
        }
        Err(refusal) => refusal,
    }
}

/// All reasons why this application cannot run in these surroundings, together with those in
/// `refusal`; or which of the mounts its components see.
pub(crate) fn check(
    image: &Image,
    mut refusal: Refusal,
    around: &Around<'_>,
) -> Result<Vec<Grant>, LoadError> {
    let app = &image.app;
    let volumes = volumes::grants(&volumes::asked(around.env), around.mounts, around.named);
    let reused = Config::of(around.env, "CATENA_REUSE_INSTANCES").reuse_instances;
    let runtime_config = match around.runtime_config {
        Some(path) => inside::runtime_config(around.files, path),
        None => Ok(RuntimeConfig::default()),
    };
    let sources = runtime_config.as_ref().ok().map(|config| {
        Sources::new(&app.variables, config, around.env, |path| {
            around.files.read(path)
        })
    });
    let problems = [
        Config::from_env(around.env).err(),
        Some(reused.unknown(around.named)),
        volumes.as_ref().err().cloned(),
        runtime_config.as_ref().err().cloned(),
        sources
            .as_ref()
            .and_then(|sources| sources.as_ref().err().cloned()),
        // `inspect` knows no configuration, and so misses none.
        around
            .runtime_config
            .and_then(|_| runtime_config.as_ref().ok())
            .map(|config| service::check(app, config)),
    ];
    for problem in problems.into_iter().flatten().flatten() {
        refusal.push(ProblemKind::Unmet, problem);
    }
    // What has to be asked for is known when the application starts.
    let known = sources
        .and_then(Result::ok)
        .and_then(|sources| sources.known());
    match known.map(|known| variables::resolve(&app.variables, &known)) {
        Some(Err(problems)) => refusal.merge(problems),
        Some(Ok(values)) => {
            for problem in check_triggers(app, &values, around.env) {
                refusal.push(ProblemKind::Unmet, problem);
            }
            for component in &app.components {
                let Err(problems) = AllowedHosts::parse(&component.allowed_hosts, &values) else {
                    continue;
                };
                for problem in problems {
                    let text = format!("component {:?}: {problem}", component.id);
                    refusal.push(ProblemKind::Unmet, text);
                }
            }
        }
        None => {}
    }
    Ok(refusal.or(volumes.unwrap_or_default())?)
}

/// The names of the application's components.
pub(crate) fn ids(image: &Image) -> Vec<String> {
    let components = image.app.components.iter();
    components.map(|component| component.id.clone()).collect()
}

fn assign(
    daemon: &Daemon,
    image: &Image,
    spec: &BundleSpec,
    options: &Options,
    work: &Path,
    volumes: &[Grant],
) -> Result<Assignment, Error> {
    let folder = compile::cache_dir(options.cache_dir.as_ref());
    let compiler = Compiler::open(&folder, &daemon.reaper)?;
    let compiled = compiler.codes(image);
    let (concurrency, codes) = compiled.map_err(|error| match error.downcast::<LoadError>() {
        Ok(error) => Error::from(error),
        Err(error) => Error::FailedPrecondition(format!("{error:#}")),
    })?;
    let mut components = Vec::new();
    for (component, code) in image.app.components.iter().zip(codes) {
        let files = match component.files.as_slice() {
            [] => None,
            _ => {
                let place = work.join("files").join(&component.id);
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o755)
                    .create(&place)
                    .with_context(|| format!("making {}", place.display()))?;
                image.materialize_files(&component.id, &place)?;
                let place = File::open(&place).context("opening the component's files")?;
                Some(readonly::folder(&place).context("closing off the component's files")?)
            }
        };
        let code = readonly::file(&code).context("closing off the compiled code")?;
        components.push(ComponentFiles {
            id: component.id.clone(),
            code,
            files,
        });
    }
    for warning in &image.app.warnings {
        tracing::warn!(app = image.app.name, "{warning}");
    }
    let volumes = volumes.iter().map(Grant::seal);
    let volumes = volumes.collect::<anyhow::Result<_>>()?;
    let ca_roots = CA_FILES.iter().find_map(|path| File::open(path).ok());
    let ca_roots = ca_roots.map(|roots| readonly::file(&roots)).transpose();
    let ca_roots = ca_roots.context("closing off the certificate authorities")?;
    let lockfile = image.lockfile().to_vec();
    Ok(Assignment {
        lockfile,
        env: spec.env(),
        components,
        volumes,
        concurrency,
        ca_roots,
        processors: spec.processors(),
        run: None,
    })
}

fn is_empty(folder: &Path) -> anyhow::Result<bool> {
    let entries = std::fs::read_dir(folder).and_then(|mut entries| entries.next().transpose());
    match entries {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        other => Ok(other
            .with_context(|| format!("listing {}", folder.display()))?
            .is_none()),
    }
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        match &error {
            _ if error.is_malformed() => Error::InvalidArgument(error.to_string()),
            LoadError::Refused(_) => Error::FailedPrecondition(error.to_string()),
            _ => Error::Internal(error.into()),
        }
    }
}
