//! The Create RPC: from containerd's request to a container that waits for its start. What fails
//! on the way undoes what was done, in the reverse order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use containerd_shim::protos::api::CreateTaskRequest;
use containerd_shim::protos::events::task::{TaskCreate, TaskIO};
use containerd_shim::protos::protobuf::MessageField;

use crate::cgroup::{self, is_version_2};
use crate::channel::{AsyncChannel, Channel};
use crate::container::{Container, Parts, remove_folder, work_folder};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::helper::Create;
use crate::launch::{self, Helper, With};
use crate::memory;
use crate::options::Options;
use crate::rootfs::Rootfs;
use crate::spec::BundleSpec;
use crate::stdio::{Paths, Streams};
use crate::steps::Steps;
use crate::workload::{self, Workload};

/// How long after a container was made most of what that took is free.
const SETTLED: Duration = Duration::from_secs(1);

/// Makes the container that `request` describes, and publishes its creation.
pub(crate) async fn create(
    daemon: &Arc<Daemon>,
    request: &CreateTaskRequest,
) -> Result<Arc<Container>, Error> {
    let mut steps = Steps::begin("create", &request.id);
    refuse_unsupported(request)?;
    let bundle = PathBuf::from(&request.bundle);
    let options = Options::from_any(request.options.as_ref())?;
    let spec = BundleSpec::load(&bundle)?;
    refuse_slice_of_version_1(&spec)?;

    // Both take a while, and go on while the image is read.
    cgroup::expect_moves();
    let helper = Helper::start(daemon, &request.id)?;
    steps.done("helper");
    let (known, rootfs) = tokio::join!(
        workload::ask(daemon, &request.id, &spec),
        mount(&bundle, request)
    );
    // The mount first: if both failed, only its error tells of something to undo.
    let (rootfs, known) = (rootfs?, known?);
    steps.done("image-and-root");
    let work = WorkFolder::make(work_folder(&bundle))?;
    let workload = tokio::task::block_in_place(|| {
        workload::prepare(daemon, known, &spec, &options, rootfs.path(), &work.path)
    })?;
    steps.done("code-and-files");

    let paths = Paths {
        stdin: request.stdin.clone(),
        stdout: request.stdout.clone(),
        stderr: request.stderr.clone(),
    };
    let (streams, ends) = Streams::open(&paths, request.terminal, spec.uid(), &daemon.tasks)?;
    let (worker, their_channel, helper_bundle) = match workload {
        Workload::Linux if spec.needs_mending() => {
            spec.write_mended(rootfs.path(), &work.path)?;
            (None, None, work.path.clone())
        }
        Workload::Linux => (None, None, bundle.clone()),
        Workload::Wasm(load) => {
            if request.rootfs.is_empty() {
                rootfs.cover()?;
            }
            let (ours, theirs) = Channel::pair().context("making a channel to the worker")?;
            load.send(&ours).context("telling the worker what to run")?;
            spec.write_for_worker(rootfs.path(), &work.path)?;
            let ours = AsyncChannel::new(ours).context("making a channel to the worker")?;
            (Some(ours), Some(theirs), work.path.clone())
        }
    };
    let make = Create {
        id: request.id.clone(),
        bundle: helper_bundle,
        root: work.path.clone(),
        // The name alone tells too: containerd 1.6 passes options in a file only.
        systemd_cgroup: options.systemd_cgroup || spec.is_in_slice(),
        worker: worker.is_some(),
        terminal: request.terminal,
    };
    let with = With {
        streams,
        ends,
        worker: their_channel,
    };
    let (launched, cgroup) = launch::create(daemon, helper, make, with)
        .await
        .with_context(|| format!("creating container {}", request.id))?;
    steps.done("container");

    let parts = Parts {
        id: request.id.clone(),
        bundle,
        paths,
        terminal: request.terminal,
        options,
        worker,
        own_pid_namespace: spec.has_own_pid_namespace(),
        late_hooks: spec.has_late_hooks(),
    };
    let (container, exit) = Container::new(parts, launched, cgroup);
    rootfs.keep();
    work.keep();
    daemon.publisher.publish(created(request, container.pid()));
    daemon
        .tasks
        .spawn(Arc::clone(&container).follow(Arc::clone(daemon), exit));
    daemon.tasks.spawn(async {
        tokio::time::sleep(SETTLED).await;
        memory::give_back();
    });
    Ok(container)
}

fn refuse_unsupported(request: &CreateTaskRequest) -> Result<(), Error> {
    if !request.checkpoint.is_empty() {
        return Err(Error::Unimplemented(
            "restoring a checkpoint is not supported by catena".to_owned(),
        ));
    }
    Ok(())
}

/// libcontainer asks systemd with version 2 only; the container would be in none of its pod's cgroups.
fn refuse_slice_of_version_1(spec: &BundleSpec) -> Result<(), Error> {
    if spec.is_in_slice() && !is_version_2() {
        return Err(Error::FailedPrecondition(
            "the container's cgroup is to be systemd's, which takes version 2 of cgroups, and this \
             node has version 1: give the kubelet the cgroup driver cgroupfs"
                .to_owned(),
        ));
    }
    Ok(())
}

async fn mount(bundle: &std::path::Path, request: &CreateTaskRequest) -> anyhow::Result<Rootfs> {
    let (bundle, mounts) = (bundle.to_owned(), request.rootfs.clone());
    tokio::task::spawn_blocking(move || Rootfs::mount(&bundle, &mounts))
        .await
        .context("mounting the root file system")?
}

fn created(request: &CreateTaskRequest, pid: u32) -> TaskCreate {
    TaskCreate {
        container_id: request.id.clone(),
        bundle: request.bundle.clone(),
        rootfs: request.rootfs.clone(),
        io: MessageField::some(TaskIO {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
            ..Default::default()
        }),
        checkpoint: request.checkpoint.clone(),
        pid,
        ..Default::default()
    }
}

/// Our folder in the bundle; it goes again unless it is kept.
struct WorkFolder {
    path: PathBuf,
    undo: bool,
}

impl WorkFolder {
    fn make(path: PathBuf) -> anyhow::Result<WorkFolder> {
        std::fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(WorkFolder { path, undo: true })
    }

    fn keep(mut self) {
        self.undo = false;
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        if self.undo
            && let Err(error) = remove_folder(&self.path)
        {
            tracing::error!("{error:#}");
        }
    }
}
