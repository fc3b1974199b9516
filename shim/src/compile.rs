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
use catena_runtime::engine::Engine;
use catena_runtime::engine::cache::Cache;
use catena_runtime::image::{Image, componentize};
use catena_runtime::server;
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

/// The node's cache, and how to fill it.
#[derive(Debug)]
pub(crate) struct Compiler<'r> {
    cache: Cache,
    reaper: &'r Reaper,
}

impl Compiler<'_> {
    /// Opens the cache in `folder`.
    pub(crate) fn open<'r>(folder: &Path, reaper: &'r Reaper) -> anyhow::Result<Compiler<'r>> {
        let compatibility = Engine::for_compiling()?.compatibility();
        Ok(Compiler {
            cache: Cache::open(folder, &compatibility)?,
            reaper,
        })
    }

    /// The compiled code of one component, for a worker to map. Blocks.
    pub(crate) fn code(&self, image: &Image, component: &str) -> anyhow::Result<File> {
        let digest = image.wasm_digest(component)?;
        let file = self.cache.get_or_compile(&digest.hex(), |output| {
            let wasm = image.wasm(component)?;
            self.run_child(&wasm, output)
        });
        let file = file.with_context(|| format!("component {component:?}"))?;
        // A worker that is not root maps it too. The cache's folder keeps others away.
        let mode = file.metadata()?.permissions().mode();
        if mode & 0o777 != 0o644 {
            file.set_permissions(Permissions::from_mode(0o644))?;
        }
        Ok(file)
    }

    fn run_child(&self, wasm: &[u8], output: &File) -> anyhow::Result<()> {
        let name = c"wasm";
        let mut input = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
        input.write_all(wasm)?;
        input.rewind()?;
        let (errors, their_errors) = io::pipe()?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("catena")
            .arg("compile")
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

/// The cache folder that the options, else the daemon's environment, else the default name.
pub(crate) fn cache_dir(options: Option<&PathBuf>) -> PathBuf {
    let named = options.cloned();
    let named = named.or_else(|| std::env::var_os("CATENA_CACHE_DIR").map(PathBuf::from));
    named.unwrap_or_else(|| PathBuf::from(CACHE_DIR))
}

/// Runs the child: wasm on standard input, compiled code on standard output.
pub(crate) fn main() -> ExitCode {
    let result = confine()
        .context("confining the compiler")
        .and_then(|()| compile());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = write!(io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compile() -> anyhow::Result<()> {
    let mut wasm = Vec::new();
    io::stdin()
        .read_to_end(&mut wasm)
        .context("reading the wasm")?;
    let component = componentize(&wasm)?;
    let code = server::compile(&component)?;
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
