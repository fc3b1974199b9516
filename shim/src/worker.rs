//! The worker: the first process of a container that runs an application, or a further one that
//! runs a command of it. It is the helper's child,
//! already inside the container's namespaces, cgroup and limits, and it never executes another
//! program, since the root file system may hold nothing at all. It holds no descriptor but its
//! standard streams, its channel to the shim, and what came through that.
//!
//! ```text
//!  shim                      worker
//!   | Assignment + files ----> |  loads the application, no guest runs yet
//!   | Go --------------------> |  binds
//!   | <---- Listening, Failed  |  serves until SIGTERM, then drains
//! ```
//!
//! One that runs a command opens no port, and ends with the command.

use std::collections::HashMap;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use nix::sys::signal::{SigHandler, Signal, signal};
use serde::{Deserialize, Serialize};

use crate::channel::Channel;
use crate::memory;

mod assignment;
mod serve;

pub(crate) use assignment::{Assignment, ComponentFiles, Run};
pub(crate) use serve::named_authorities;

/// Where the worker keeps its channel.
const CHANNEL_FD: i32 = 3;

/// What the shim tells a worker after its assignment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Start to serve.
    Go,
}

/// What a worker answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// It serves; an application without HTTP triggers has no address.
    Listening { address: Option<String> },
    /// It cannot, and ends.
    Failed { reason: String },
}

/// Runs a worker where libcontainer would execute a program.
#[derive(Clone, Debug)]
pub(crate) struct WorkerExecutor {
    channel: Arc<Channel>,
}

impl WorkerExecutor {
    /// An executor whose worker hears the shim on `channel`.
    pub(crate) fn new(channel: Arc<Channel>) -> Self {
        WorkerExecutor { channel }
    }
}

impl Executor for WorkerExecutor {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let process = spec.process().as_ref();
        if let Some(profile) = process.and_then(|process| process.apparmor_profile().as_deref()) {
            confine(profile).map_err(|error| {
                ExecutorError::Other(format!("the AppArmor profile {profile:?}: {error}"))
            })?;
        }
        let channel =
            shed(&self.channel).map_err(|error| ExecutorError::Other(error.to_string()))?;
        // What it took to make the container is of no more use, and this thread only waits from now on.
        memory::give_back();
        // A thread of its own, for this one was made by a bare clone and the C library still
        // takes it for the helper's.
        let thread = std::thread::Builder::new().name("catena".to_owned());
        let code = match thread.spawn(move || serve::run(channel)) {
            Ok(thread) => thread.join().unwrap_or(101),
            Err(_) => 101,
        };
        // There is nothing to return to: this process was to become another program.
        std::process::exit(code)
    }

    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // The container's environment comes with the assignment; the process has none.
        Ok(())
    }
}

/// Puts this thread, and those that it will start, under an AppArmor profile (`aa_change_profile(2)`). libcontainer
/// names the profile to the kernel for the program that a process executes, and this one executes none.
fn confine(profile: &str) -> std::io::Result<()> {
    if profile.is_empty() {
        return Ok(());
    }
    // Not the older file, which may be another security module's.
    let own = "/proc/thread-self/attr/apparmor/current";
    std::fs::write(own, format!("changeprofile {profile}"))
}

/// Closes everything that was the helper's, and leaves the channel.
#[expect(unsafe_code, reason = "descriptors are closed by number")]
fn shed(channel: &Channel) -> std::io::Result<Channel> {
    let raw = channel.as_raw_fd();
    if raw != CHANNEL_FD {
        // SAFETY: whatever stands at this number belongs to the helper's code, which never runs
        // again in this process.
        let result = unsafe { libc::dup3(raw, CHANNEL_FD, libc::O_CLOEXEC) };
        if result < 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    let first = CHANNEL_FD.cast_unsigned() + 1;
    // SAFETY: as above; nothing of ours is open beyond the channel.
    let result = unsafe { libc::close_range(first, u32::MAX, 0) };
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: a broken connection is an error of a write, which we handle, not a signal.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }?;
    let _ = nix::sys::prctl::set_name(c"catena");
    // SAFETY: the descriptor was placed there above, and the old owner is never dropped.
    Ok(Channel::from(unsafe { OwnedFd::from_raw_fd(CHANNEL_FD) }))
}
