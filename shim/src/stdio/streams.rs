//! The streams of a process that is about to be made. The FIFOs are opened before there is a
//! process, so that a failure leaves none behind; a terminal exists only with the process.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context as _;
use tokio::net::unix::pipe;
use tokio_util::task::TaskTracker;

use super::{Ends, Paths, Stdio, Target, null};

/// What waits for the process.
#[derive(Debug)]
pub(crate) enum Streams {
    /// The copies run already.
    Pipes(Stdio),
    /// The FIFOs are open and wait for the terminal. What goes to standard error is output too.
    Terminal {
        input: Option<pipe::Receiver>,
        output: Option<Target>,
    },
}

impl Streams {
    /// Opens what `paths` names, for a process of the user `uid`; its ends are for the process.
    pub(crate) fn open(
        paths: &Paths,
        terminal: bool,
        uid: u32,
        tasks: &TaskTracker,
    ) -> anyhow::Result<(Streams, Ends)> {
        if !terminal {
            let (stdio, ends) = Stdio::open(paths, uid, tasks)?;
            return Ok((Streams::Pipes(stdio), ends));
        }
        let input = match paths.stdin.as_str() {
            "" => None,
            path => {
                let fifo = pipe::OpenOptions::new().open_receiver(Path::new(path));
                Some(fifo.with_context(|| format!("opening the standard input {path}"))?)
            }
        };
        let output = match paths.stdout.as_str() {
            "" => None,
            path => {
                let target = Target::open(path);
                Some(target.with_context(|| format!("opening the standard output {path}"))?)
            }
        };
        let ends = Ends {
            stdin: null()?,
            stdout: null()?,
            stderr: null()?,
        };
        Ok((Streams::Terminal { input, output }, ends))
    }

    /// The process exists, and here is the master end of its terminal, if it has one.
    pub(crate) fn connect(
        self,
        master: Option<OwnedFd>,
        tasks: &TaskTracker,
    ) -> anyhow::Result<Stdio> {
        match self {
            Streams::Pipes(stdio) => Ok(stdio),
            Streams::Terminal { input, output } => {
                let master = master.context("the helper made no terminal")?;
                let stdio = Stdio::over_terminal(input, output, master, tasks);
                stdio.context("taking over the terminal")
            }
        }
    }
}
