//! One process that containerd knows by name: the first of a container, or one of an exec. What it
//! is (a process id that stays its own) and where it stands. Used by `container` and `exec`.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::SystemTime;

use anyhow::Context as _;
use tokio::sync::watch;

use crate::error::Error;
use crate::reaper::Exit;

/// Where a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Created,
    Running,
    Paused,
    Stopped(Exit),
}

/// The state of one process, for those who ask and those who wait for its end.
#[derive(Debug)]
pub(crate) struct Standing {
    state: watch::Sender<State>,
}

impl Standing {
    pub(crate) fn new() -> Standing {
        let state = watch::Sender::new(State::Created);
        Standing { state }
    }

    pub(crate) fn get(&self) -> State {
        *self.state.borrow()
    }

    pub(crate) fn set(&self, state: State) {
        self.state.send_replace(state);
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.get() {
            State::Stopped(exit) => Some(exit),
            State::Created | State::Running | State::Paused => None,
        }
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> Exit {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| matches!(state, State::Stopped(_)));
        match ended.await.as_deref() {
            Ok(State::Stopped(exit)) => *exit,
            // The sender lives in `self`, so there always is an end.
            _ => Exit::lost(),
        }
    }
}

/// A process id, and what keeps it from meaning a later process of the same number.
#[derive(Debug)]
pub(crate) struct Handle {
    pid: i32,
    pidfd: OwnedFd,
}

impl Handle {
    /// Takes hold of a process that has not been collected yet.
    pub(crate) fn open(pid: i32) -> io::Result<Handle> {
        let pidfd = pidfd_open(pid)?;
        Ok(Handle { pid, pidfd })
    }

    /// The process id, as containerd's messages have it.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// Sends a signal; `name` is what an error calls the process.
    pub(crate) fn signal(&self, signal: u32, name: &str) -> Result<(), Error> {
        match pidfd_send_signal(&self.pidfd, signal.cast_signed()) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(finished(name)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Err(
                Error::InvalidArgument(format!("there is no signal {signal}")),
            ),
            other => Ok(other.with_context(|| format!("sending signal {signal} to {name}"))?),
        }
    }
}

/// The answer to a signal for what has ended: CRI's StopContainer relies on its code.
pub(crate) fn finished(name: &str) -> Error {
    Error::NotFound(format!("{name}: process already finished"))
}

impl Exit {
    /// The end of a process that nobody could collect.
    pub(crate) fn lost() -> Exit {
        Exit {
            code: 255,
            at: SystemTime::now(),
        }
    }
}

#[expect(unsafe_code, reason = "pidfd_open has no safe wrapper")]
fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers; the result is checked before it is owned.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(result) {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[expect(unsafe_code, reason = "pidfd_send_signal has no safe wrapper")]
fn pidfd_send_signal(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the descriptor is open, and a null pointer stands for the default information.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            no_info,
            0,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
