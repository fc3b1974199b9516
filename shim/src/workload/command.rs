//! What an exec runs in an application's container: one of its components, by its id, or a wasm
//! file of the root file system, by its path. Either has to be a command; nothing else can run
//! there, since a worker never executes a program.

use std::path::Path;

use anyhow::Context as _;
use catena_runtime::image::{Image, Interface, Purpose};
use oci_spec::runtime::Process;

use super::{Around, ask, assign, check, find, ids, retain};
use crate::container::Container;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::inside::{Files, RUNTIME_CONFIG};
use crate::spec::{BundleSpec, pairs};
use crate::worker::{Assignment, Run};

/// Finds what `process` names and makes it ready. `work` is a folder of the exec's own.
pub(crate) async fn command(
    daemon: &Daemon,
    container: &Container,
    spec: &BundleSpec,
    process: &Process,
    work: &Path,
) -> Result<Assignment, Error> {
    let known = ask(daemon, container.id(), spec).await?;
    let rootfs = container.bundle().join("rootfs");
    tokio::task::block_in_place(|| {
        let image = find(known, spec, &rootfs)?;
        let mut image = image.context("the container's application is no longer there")?;
        let args = process.args().clone().unwrap_or_default();
        // The settings may name the application's components also where a file is executed.
        let mut named = ids(&image);
        let (env, mounts) = (spec.env(), spec.mounts());
        let refusal = retain(&mut image, &env);
        let (image, component) = choose(image, &rootfs, process.cwd(), &args)?;
        named.push(component.clone());
        let around = Around {
            env: &env,
            mounts: &mounts,
            named: &named,
            files: Files::Container {
                mounts: &mounts,
                rootfs: &rootfs,
            },
            runtime_config: Some(Path::new(RUNTIME_CONFIG)),
        };
        let volumes = check(&image, refusal, &around)?;
        let mut assignment = assign(daemon, &image, spec, container.options(), work, &volumes)?;
        assignment.run = Some(Run {
            component,
            args,
            env: pairs(process.env().as_deref().unwrap_or_default()),
        });
        Ok(assignment)
    })
}

/// The image and the component in it that the first argument names.
fn choose(
    image: Image,
    rootfs: &Path,
    folder: &Path,
    args: &[String],
) -> Result<(Image, String), Error> {
    let name = args.first().map(String::as_str).unwrap_or_default();
    if image.app.component(name).is_some() {
        return must_be_command(image, name, name);
    }
    if Path::new(name).extension().is_some_and(|end| end == "wasm") {
        let path = folder.join(name);
        let file = Image::from_rootfs_file(rootfs, &path.display().to_string());
        let file = file.map_err(|error| {
            Error::FailedPrecondition(format!("{name:?} cannot be executed: {error}"))
        })?;
        if let Some(file) = file
            && let Some(component) = file.app.components.first()
        {
            let id = component.id.clone();
            return must_be_command(file, &id, name);
        }
    }
    let components: Vec<_> = image
        .app
        .components
        .iter()
        .map(|one| one.id.as_str())
        .collect();
    Err(Error::FailedPrecondition(format!(
        "{name:?} cannot be executed: this container runs a wasm application and no programs; what \
         can be executed is a component that is a command, by its id ({}), or a .wasm file of the \
         root file system, by its path",
        components.join(", ")
    )))
}

fn must_be_command(image: Image, component: &str, name: &str) -> Result<(Image, String), Error> {
    let wasm = image.wasm(component)?;
    let purpose = Interface::read(&wasm).and_then(|interface| interface.purpose());
    match purpose {
        Ok(Purpose::Command) => Ok((image, component.to_owned())),
        Ok(Purpose::Http) => Err(Error::FailedPrecondition(format!(
            "{name:?} cannot be executed: it answers HTTP requests, and only a command \
             (wasi:cli/run) runs by itself"
        ))),
        Err(reason) => Err(Error::FailedPrecondition(format!(
            "{name:?} cannot be executed: it {reason}"
        ))),
    }
}
