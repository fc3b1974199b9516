//! Processes as /proc shows them, and the ones that a bench starts beside what it measures.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::{SysconfVar, getppid, sysconf};

/// What a process has used since it started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time, in microseconds.
    pub(crate) cpu: f64,
    /// Page faults, those that read the disk included.
    pub(crate) faults: u64,
}

impl Usage {
    /// What `pid` has used.
    pub(crate) fn of(pid: i32) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("the measured process {pid} is gone"))?;
        // The second field is the program's name, which may hold anything.
        let (_, rest) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
        let fields: Vec<u64> = rest
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
        let ticks = sysconf(SysconfVar::CLK_TCK)?.context("no clock tick")?;
        // Numbered as in proc(5): 10 minflt, 12 majflt, 14 utime, 15 stime.
        Ok(Self {
            cpu: (field(14) + field(15)) as f64 * 1e6 / ticks as f64,
            faults: field(10) + field(12),
        })
    }

    /// What was used since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu - before.cpu,
            faults: self.faults - before.faults,
        }
    }
}

/// The memory of a process in KiB: the field `name` of its smaps_rollup.
pub(crate) fn memory(pid: i32, name: &str) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    rollup
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok())
        .with_context(|| format!("no {name} in smaps_rollup of {pid}"))
}

/// Whether a program of this name is on the path.
pub(crate) fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A child that is killed when this is dropped.
pub(crate) struct Started(pub(crate) Child);

impl Started {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let program = Path::new(command.get_program()).display().to_string();
        let child = command
            .env_remove("RUST_BACKTRACE")
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        Ok(Self(child))
    }

    /// Starts this program again, in another role.
    pub(crate) fn role(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Self::start(&mut command)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Result<i32> {
        i32::try_from(self.0.id()).context("a process id that is no number")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Keeps every core awake with a process of idle priority, so that no side pays for waking one up. All sides have to be
/// in this program's control group.
pub(crate) fn spinners() -> Result<Vec<Started>> {
    let cores = std::thread::available_parallelism()?.get();
    let this = std::env::current_exe()?;
    (0..cores)
        .map(|_| {
            let mut chrt = Command::new("chrt");
            chrt.args(["--idle", "0"]).arg(&this).arg("spin");
            Started::start(&mut chrt)
        })
        .collect()
}

/// The role `spin`: turns until its parent is gone.
pub(crate) fn spin() {
    let parent = getppid();
    while getppid() == parent {
        for _ in 0..10_000_000 {
            std::hint::spin_loop();
        }
    }
}

/// How many tasks wanted to run in the last minute: what stands in the heading, so that a busy machine shows.
pub(crate) fn load_average() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let first = text.split_whitespace().next().unwrap_or_default();
    first.parse().context("/proc/loadavg")
}

/// Waits until `what` is true.
pub(crate) fn wait_until(what: &str, mut is: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while !is() {
        if started.elapsed() > Duration::from_secs(30) {
            bail!("{what}: not within 30 s");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
