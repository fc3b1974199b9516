//! The shim as a long-running process: it serves the Task service of one pod on the socket that
//! `start` bound and gave it as standard input, until containerd asks it to shut down.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use containerd_shim::Flags;
use containerd_shim::protos::shim_async::create_task;
use containerd_shim::protos::ttrpc::r#async::Server;
use containerd_shim::protos::ttrpc::r#async::transport::Listener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::events::Publisher;
use crate::log::{self, Fifo};
use crate::reaper::Reaper;
use crate::start::socket_path;
use crate::task::TaskService;

/// How long a shim without containers waits for one: containerd may have died after it started us.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the last events may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What everything in the daemon shares.
pub(crate) struct Daemon {
    /// containerd's namespace that the pod is in.
    pub(crate) namespace: String,
    /// containerd's gRPC socket.
    pub(crate) containerd: PathBuf,
    pub(crate) publisher: Publisher,
    pub(crate) reaper: Arc<Reaper>,
    pub(crate) tasks: TaskTracker,
    /// Cancelled when the daemon is to end.
    pub(crate) exit: CancellationToken,
}

/// Serves until shut down. `events` is the address of containerd's ttrpc socket.
pub(crate) fn run(flags: &Flags, events: String) -> anyhow::Result<()> {
    // A session of our own: no terminal of containerd's can end us.
    let _ = nix::unistd::setsid();
    if let Ok(fifo) = Fifo::open(Path::new("log")) {
        log::to_containerd(fifo, flags.debug);
    }
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    tokio::runtime::Builder::new_multi_thread()
        // Each thread keeps memory of its own, and what takes long has further threads.
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(serve(flags, events, listener))
}

async fn serve(flags: &Flags, events: String, listener: UnixListener) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let reaper = Reaper::start(&tasks).context("becoming the one who collects processes")?;
    let daemon = Arc::new(Daemon {
        namespace: flags.namespace.clone(),
        containerd: flags.address.clone().into(),
        publisher: Publisher::start(events, flags.namespace.clone(), &tasks),
        reaper,
        tasks,
        exit: CancellationToken::new(),
    });
    let service = Arc::new(TaskService::new(Arc::clone(&daemon)));
    let mut server = Server::new()
        .add_listener(Listener::try_from(listener).context("taking the socket")?)
        .register_service(create_task(Arc::clone(&service) as _));
    server.start().await.context("serving")?;
    tracing::info!(namespace = flags.namespace, id = flags.id, "shim serves");

    until_exit(&daemon, &service).await;
    // First the socket's name: nobody may find a shim that is about to end.
    let _ = std::fs::remove_file(socket_path(&flags.socket));
    daemon.publisher.drain(DRAIN_TIMEOUT).await;
    // The answer to the Shutdown call is on its way; give it the time to leave.
    let _ = tokio::time::timeout(Duration::from_millis(100), server.shutdown()).await;
    tracing::info!("shim ends");
    Ok(())
}

async fn until_exit(daemon: &Daemon, service: &TaskService) {
    let mut terminate =
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(signal) => signal,
            Err(_) => return daemon.exit.cancelled().await,
        };
    let mut idle = false;
    loop {
        tokio::select! {
            () = daemon.exit.cancelled() => return,
            // containerd's own shims ignore it too: the pod's containers depend on us.
            _ = terminate.recv() => tracing::info!("SIGTERM is ignored while there may be containers"),
            () = tokio::time::sleep(IDLE_TIMEOUT) => {
                let was_idle = std::mem::replace(&mut idle, service.is_idle());
                if was_idle && idle {
                    tracing::warn!("no container for a while, and nobody shuts the shim down");
                    return;
                }
            }
        }
    }
}
