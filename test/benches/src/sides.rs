//! The servers that are measured against each other: each a process of its own, started the way its users do.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use catena_test::{Catena, Running, workspace};
use tokio::runtime::Runtime;

use crate::load::{Load, Served};
use crate::process::{Started, Usage, wait_until};
use crate::table::median;

/// What a server of the bench prints before its address.
pub(crate) const LISTENING: &str = "listening on http://";

/// Not measured, at the start of every run: connections are made, caches fill.
const WARM: Duration = Duration::from_millis(200);

/// A server, and what was measured of it.
pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pid: i32,
    rounds: Vec<Round>,
    _server: Server,
}

/// One run against one server.
#[derive(Clone, Copy)]
pub(crate) struct Round {
    pub(crate) served: Served,
    /// CPU time of the server for a request, in microseconds.
    pub(crate) cpu: f64,
    /// Page faults of the server for a request.
    pub(crate) faults: f64,
}

/// Keeps it alive.
enum Server {
    Child(#[expect(dead_code, reason = "killed when dropped")] Started),
    Catena(#[expect(dead_code, reason = "killed when dropped")] Box<Running>),
    Shared,
}

impl Side {
    /// The bare hyper server.
    pub(crate) fn hyper() -> Result<Self> {
        let mut child = Started::role(&["hyper"])?;
        let address = listening(&mut child)?;
        Ok(Self {
            name: "bare hyper",
            address,
            path: "/".to_owned(),
            pid: child.pid()?,
            rounds: Vec::new(),
            _server: Server::Child(child),
        })
    }

    /// `catena run`.
    pub(crate) fn catena(runtime: &Runtime, name: &'static str, run: Catena) -> Result<Self> {
        let running = runtime.block_on(run.start())?;
        Ok(Self {
            name,
            address: running.address(),
            path: "/".to_owned(),
            pid: running.pid()?,
            rounds: Vec::new(),
            _server: Server::Catena(Box::new(running)),
        })
    }

    /// `wasmtime serve` with what its own documentation offers and nothing tuned.
    pub(crate) fn wasmtime(
        binary: &Path,
        name: &'static str,
        guest: &str,
        flags: &[&str],
    ) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(binary);
        command
            .arg("serve")
            .args(flags)
            .args(["--addr", &address.to_string()])
            .arg(workspace::guest(guest)?)
            .stdin(Stdio::null())
            .stdout(File::create("/dev/null")?)
            .stderr(File::create("/dev/null")?);
        let child = Started::start(&mut command)?;
        wait_until("wasmtime serve listens", || {
            TcpStream::connect(address).is_ok()
        })?;
        Ok(Self {
            name,
            address,
            path: "/".to_owned(),
            pid: child.pid()?,
            rounds: Vec::new(),
            _server: Server::Child(child),
        })
    }

    /// A server that somebody else started and keeps.
    pub(crate) fn running(name: &'static str, address: SocketAddr, pid: i32) -> Self {
        Self {
            name,
            address,
            path: "/".to_owned(),
            pid,
            rounds: Vec::new(),
            _server: Server::Shared,
        }
    }

    /// The same server under another path, as a side of its own.
    pub(crate) fn at(&self, name: &'static str, path: String) -> Self {
        Self {
            name,
            address: self.address,
            path,
            pid: self.pid,
            rounds: Vec::new(),
            _server: Server::Shared,
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// One round.
    pub(crate) fn measure(&mut self, connections: usize, duration: Duration) -> Result<()> {
        let round = (|| {
            let mut load = Load::connect(self.address, &self.path, connections)?;
            load.run(WARM)?;
            let before = Usage::of(self.pid)?;
            let served = load.run(duration)?;
            let used = Usage::of(self.pid)?.since(before);
            anyhow::Ok(Round {
                served,
                cpu: used.cpu / served.requests as f64,
                faults: used.faults as f64 / served.requests as f64,
            })
        })()
        .with_context(|| format!("measuring {}", self.name))?;
        self.rounds.push(round);
        Ok(())
    }

    /// Forgets what was measured.
    pub(crate) fn forget(&mut self) {
        self.rounds.clear();
    }

    /// The median over the rounds.
    pub(crate) fn median(&self, value: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(value))
    }

    /// The median over the rounds of what two sides of the same round make together.
    pub(crate) fn compared(&self, other: &Self, value: impl Fn(&Round, &Round) -> f64) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds);
        median(pairs.map(|(this, other)| value(this, other)))
    }
}

/// Measures the sides in turn, `rounds` times, so that the machine's moods meet all of them.
pub(crate) fn alternate(
    sides: &mut [Side],
    rounds: usize,
    connections: usize,
    duration: Duration,
) -> Result<()> {
    sides.iter_mut().for_each(Side::forget);
    for _ in 0..rounds {
        for side in &mut *sides {
            side.measure(connections, duration)?;
        }
    }
    Ok(())
}

/// The address that a child of this program prints.
pub(crate) fn listening(child: &mut Started) -> Result<SocketAddr> {
    let stdout = child.0.stdout.as_mut().context("taking stdout")?;
    let mut line = String::new();
    // One line is all it prints before it serves, so that nothing is lost with the buffer.
    BufReader::new(stdout).read_line(&mut line)?;
    line.trim()
        .strip_prefix(LISTENING)
        .and_then(|address| address.parse().ok())
        .with_context(|| format!("no address in {line:?}"))
}

/// A port that nobody uses.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}
