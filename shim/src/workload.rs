//! Decides what a container runs.

use std::path::Path;

use crate::channel::Channel;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::options::Options;
use crate::spec::BundleSpec;

pub(crate) enum Workload {
    Linux,
    #[expect(dead_code, reason = "until the runtime is there")]
    Wasm(Load),
}

pub(crate) struct Load;

impl Load {
    pub(crate) fn send(&self, _channel: &Channel) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) async fn prepare(
    daemon: &Daemon,
    _id: &str,
    spec: &BundleSpec,
    options: &Options,
    _rootfs: &Path,
    _work: &Path,
) -> Result<Workload, Error> {
    let _ = (&daemon.containerd, &daemon.namespace, &options.cache_dir, spec.args(), spec.env(), spec.is_sandbox());
    Ok(Workload::Linux)
}
