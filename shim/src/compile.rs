//! Compiled code for a container: from the node's cache, or made by a child of ours with limited
//! rights and resources, since what it compiles is somebody else's file. The daemon itself never
//! compiles.

use std::fs::{File, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use catena_runtime::compile::{CompileCache, compile};
use catena_runtime::compose::compose;
use catena_runtime::engine::Concurrency;
use catena_runtime::image::{Image, Parts};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Gid, Pid, Uid, setgid, setgroups, setuid};

use crate::reaper::Reaper;

/// Where compiled code is kept unless an operator says otherwise.
pub(crate) const CACHE_DIR: &str = "/var/cache/catena";

const MEMORY_LIMIT: u64 = 8 << 30;
const OUTPUT_LIMIT: u64 = 4 << 30;
const CPU_SECONDS: u64 = 1800;
/// How long one component may take: others wait for the same code.
const TIME_LIMIT: Duration = Duration::from_secs(600);
/// How much of the compiler's error is told.
const ERROR_LIMIT: u64 = 16 << 10;
/// The lowest priority but one step: requests of running containers come first.
const NICENESS: i32 = 10;
/// The user that owns nothing.
const NOBODY: u32 = 65534;

/// Tells the child which kind of engine its code is for.
const CONCURRENT: &str = "concurrent";

/// The node's cache, and how to fill it.
#[derive(Debug)]
pub(crate) struct Compiler<'r> {
    cache: CompileCache,
    reaper: &'r Reaper,
}

impl Compiler<'_> {
    /// Opens the cache in `folder`.
    pub(crate) fn open<'r>(folder: &Path, reaper: &'r Reaper) -> anyhow::Result<Compiler<'r>> {
        Ok(Compiler {
            cache: CompileCache::open(folder)?,
            reaper,
        })
    }

    /// The compiled code of an image's components, in their order, for a worker to map, and the
    /// kind of engine it is for. Blocks.
    pub(crate) fn codes(&self, image: &Image) -> anyhow::Result<(Concurrency, Vec<File>)> {
        let components = code_digests(image)?;
        let (concurrency, codes) = self.cache.codes(&components, |index, kind, output| {
            let (id, digest) = &components[index];
            let parts = image.parts(id, digest)?;
            self.run_child(&parts, kind, output)
        })?;
        for code in &codes {
            // A worker that is not root maps it too. The cache's folder keeps others away.
            let mode = code.metadata()?.permissions().mode();
            if mode & 0o777 != 0o644 {
                code.set_permissions(Permissions::from_mode(0o644))?;
            }
        }
        Ok((concurrency, codes))
    }

    fn run_child(&self, parts: &Parts, kind: Concurrency, output: &File) -> anyhow::Result<()> {
        let name = c"wasm";
        let mut input = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
        parts.write(&input)?;
        input.rewind()?;
        let (errors, their_errors) = io::pipe()?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("catena")
            .arg("compile")
            .args((kind == Concurrency::On).then_some(CONCURRENT))
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(input)))
            .stdout(Stdio::from(output.try_clone()?))
            .stderr(Stdio::from(OwnedFd::from(their_errors)));
        let (child, exit) = self
            .reaper
            .spawn(&mut command)
            .context("starting the compiler")?;
        drop(command);
        let limit = TimeLimit::start(child.id().cast_signed())?;
        let mut text = Vec::new();
        // This closes the pipe too: a child that has more to say must not wait for a reader.
        let read = errors.take(ERROR_LIMIT).read_to_end(&mut text);
        let exit = exit.blocking_recv().context("waiting for the compiler")?;
        let exceeded = limit.stop();
        read.context("reading the compiler's error")?;
        match (exit.code, String::from_utf8_lossy(&text).trim()) {
            (0, _) => Ok(()),
            _ if exceeded => bail!(
                "compiling took longer than {} seconds and was stopped",
                TIME_LIMIT.as_secs()
            ),
            (code, "") => bail!("the compiler ended with code {code}"),
            (_, reason) => bail!("{reason}"),
        }
    }
}

/// Ends a child's process group when [`TIME_LIMIT`] is over.
struct TimeLimit {
    done: mpsc::Sender<()>,
    watch: thread::JoinHandle<bool>,
}

impl TimeLimit {
    fn start(group: i32) -> io::Result<TimeLimit> {
        let (done, over) = mpsc::channel();
        let watch = thread::Builder::new().spawn(move || {
            let exceeded = over.recv_timeout(TIME_LIMIT) == Err(RecvTimeoutError::Timeout);
            if exceeded {
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
            exceeded
        })?;
        Ok(TimeLimit { done, watch })
    }

    /// The child has ended; true when it was ended here.
    fn stop(self) -> bool {
        drop(self.done);
        self.watch.join().unwrap_or(false)
    }
}

/// Each component's name and what its code goes by in the cache.
pub(crate) fn code_digests(image: &Image) -> anyhow::Result<Vec<(&str, String)>> {
    let components = image.app.components.iter();
    components
        .map(|component| {
            let digest = image.code_digest(&component.id)?;
            Ok((component.id.as_str(), digest.hex()))
        })
        .collect()
}

/// The cache folder that the options, else the daemon's environment, else the default name.
pub(crate) fn cache_dir(options: Option<&PathBuf>) -> PathBuf {
    let named = options.cloned();
    let named = named.or_else(|| std::env::var_os("CATENA_CACHE_DIR").map(PathBuf::from));
    named.unwrap_or_else(|| PathBuf::from(CACHE_DIR))
}

/// Runs the child: a component's parts on standard input, compiled code on standard output.
pub(crate) fn main(args: &[String]) -> ExitCode {
    let kind = match args {
        [kind] if kind == CONCURRENT => Concurrency::On,
        _ => Concurrency::Off,
    };
    let result = confine()
        .context("confining the compiler")
        .and_then(|()| compile_stdin(kind));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = write!(io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compile_stdin(kind: Concurrency) -> anyhow::Result<()> {
    let parts = Parts::read(io::stdin().lock()).context("reading the wasm")?;
    let code = compile(&compose(&parts)?, kind)?;
    let mut stdout = io::stdout();
    stdout
        .write_all(&code)
        .context("writing the compiled code")?;
    Ok(stdout.flush()?)
}

/// Gives up what compiling does not need.
fn confine() -> anyhow::Result<()> {
    for (resource, limit) in [
        (Resource::RLIMIT_AS, MEMORY_LIMIT),
        (Resource::RLIMIT_CPU, CPU_SECONDS),
        (Resource::RLIMIT_FSIZE, OUTPUT_LIMIT),
        (Resource::RLIMIT_CORE, 0),
    ] {
        setrlimit(resource, limit, limit)?;
    }
    lower_priority();
    if Uid::effective().is_root() {
        setgroups(&[])?;
        setgid(Gid::from_raw(NOBODY))?;
        setuid(Uid::from_raw(NOBODY))?;
    }
    nix::sys::prctl::set_no_new_privs()?;
    Ok(())
}

#[expect(unsafe_code, reason = "nice has no wrapper")]
fn lower_priority() {
    // SAFETY: takes a number; that it fails changes nothing that matters.
    unsafe { libc::nice(NICENESS) };
}
