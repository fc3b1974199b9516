//! The spare: a copy of the daemon, made before that has threads, which waits to be the helper of the
//! pod's first application. A helper that is executed has a megabyte of its own, which the loader
//! writes, and its worker keeps that; a copy shares it with the daemon, and is there at once.
//!
//! The price is that daemon and worker have their code at the same random place. The environment that
//! containerd gave to the daemon is wiped in the copy, with the arguments.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use nix::unistd::{ForkResult, Pid, chdir, fork};

use crate::channel::Channel;
use crate::reaper::{ExitReceiver, Reaper};

/// Which of the two a process is.
pub(crate) enum Forked {
    Daemon(Twin),
    /// A helper: what it is asked comes on standard input.
    Helper,
}

/// The copy, as the daemon knows it.
pub(crate) struct Twin {
    pid: Pid,
    channel: Channel,
}

/// The copy, until it is needed. Executed helpers do where there is none any more.
pub(crate) struct Spare(Mutex<Option<(Twin, ExitReceiver)>>);

/// Makes the copy. The process must have one thread.
pub(crate) fn split() -> anyhow::Result<Forked> {
    let (ours, theirs) = Channel::pair().context("making a channel to the spare helper")?;
    #[expect(
        unsafe_code,
        reason = "a copy of a process with threads may hold their locks"
    )]
    // SAFETY: `daemon::run` comes here before there is a second thread.
    let forked = unsafe { fork() }.context("making a spare helper")?;
    match forked {
        ForkResult::Parent { child } => Ok(Forked::Daemon(Twin {
            pid: child,
            channel: ours,
        })),
        ForkResult::Child => {
            drop(ours);
            settle(theirs).context("becoming a spare helper")?;
            Ok(Forked::Helper)
        }
    }
}

impl Spare {
    /// The copy, collected by `reaper` when it ends.
    pub(crate) fn new(twin: Twin, reaper: &Reaper) -> Spare {
        let exit = reaper.adopt(twin.pid.as_raw());
        Spare(Mutex::new(Some((twin, exit))))
    }

    /// Takes it, if it is there and alive.
    pub(crate) fn take(&self) -> Option<(Channel, ExitReceiver)> {
        let (twin, mut exit) = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        if exit.try_recv().is_ok() {
            return None;
        }
        // `start` may have set the daemon's only after the copy was made.
        let told = fs::read_to_string("/proc/self/oom_score_adj")
            .and_then(|score| fs::write(format!("/proc/{}/oom_score_adj", twin.pid), score));
        if let Err(error) = told {
            tracing::warn!("giving a helper the shim's OOM score: {error}");
        }
        Some((twin.channel, exit))
    }
}

/// Gives up what is the daemon's: descriptors, folder, arguments and environment.
fn settle(channel: Channel) -> anyhow::Result<()> {
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    place(channel.as_raw_fd(), 0)?;
    place(null.as_raw_fd(), 1)?;
    place(null.as_raw_fd(), 2)?;
    chdir("/")?;
    rename("")
}

#[expect(unsafe_code, reason = "descriptors are placed by number")]
fn place(from: i32, to: i32) -> io::Result<()> {
    // SAFETY: the numbers are those of the standard streams, which nobody owns.
    match unsafe { libc::dup2(from, to) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Makes this copy's command line that of a helper for `word`, in place of the daemon's arguments
/// and environment. The process must have one thread.
pub(crate) fn rename(word: &str) -> anyhow::Result<()> {
    let (start, middle, end) = strings()?;
    let words = format!("catena\0helper\0{word}");
    // The last byte stays 0: for the kernel, what follows another one is part of the command line.
    let length = words.len().min(middle - start - 1);
    #[expect(unsafe_code, reason = "the arguments lie where the kernel put them")]
    // SAFETY: the kernel says that the process's arguments and environment lie there, on the stack
    // of its only thread and above all that this uses of it. Whoever reads them later finds strings
    // that end, most of them empty.
    unsafe {
        let first = std::ptr::with_exposed_provenance_mut::<u8>(start);
        first.write_bytes(0, end - start);
        first.copy_from_nonoverlapping(words.as_ptr(), length);
    }
    Ok(())
}

/// Where the arguments begin, where they end, and where the environment after them ends.
fn strings() -> anyhow::Result<(usize, usize, usize)> {
    let stat = fs::read_to_string("/proc/self/stat").context("reading /proc/self/stat")?;
    let (_, fields) = stat
        .rsplit_once(')')
        .context("no name in /proc/self/stat")?;
    // Numbered as in proc(5), where the first one here is 3.
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<usize>().ok();
    let (start, middle) = (field(48), field(49));
    let (environment, end) = (field(50), field(51));
    match (start, middle, environment, end) {
        (Some(start), Some(middle), Some(environment), Some(end))
            if 0 < start && start < middle && middle == environment && environment <= end =>
        {
            Ok((start, middle, end))
        }
        found => anyhow::bail!("arguments and environment lie at {found:?}"),
    }
}
