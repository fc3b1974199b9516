//! Allocations per request. The role `counted` serves one guest with catena's runtime inside this program,
//! whose allocator counts; every line on its stdin is answered with the count so far.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, anyhow};
use catena_runtime::app::parse_lockfile;
use catena_runtime::compile::{CompileCache, compile};
use catena_runtime::config::{Config, RuntimeConfig};
use catena_runtime::server::{ComponentInput, Input, Server};
use serde_json::json;

use crate::load::Load;
use crate::process::Started;
use crate::sides::{LISTENING, listening};

/// The system's allocator, which counts once it is told to.
pub(crate) struct Counting;

static ENABLED: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

fn count(bytes: usize) {
    if ENABLED.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its nature")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Allocations and allocated bytes of a request to this guest.
pub(crate) fn per_request(guest: &Path) -> Result<(f64, f64)> {
    const REQUESTS: u64 = 5000;
    let guest = guest.to_str().context("a path that is no text")?;
    let mut child = Started::role(&["counted", guest])?;
    let address = listening(&mut child)?;
    let mut load = Load::connect(address, "/", 1)?;
    load.requests(500)?;
    let before = ask(&mut child)?;
    load.requests(REQUESTS)?;
    let after = ask(&mut child)?;
    let each = |before: u64, after: u64| (after - before) as f64 / REQUESTS as f64;
    Ok((each(before.0, after.0), each(before.1, after.1)))
}

fn ask(child: &mut Started) -> Result<(u64, u64)> {
    let stdin = child.0.stdin.as_mut().context("taking stdin")?;
    stdin.write_all(b"\n")?;
    let mut line = String::new();
    let stdout = child.0.stdout.as_mut().context("taking stdout")?;
    BufReader::new(stdout).read_line(&mut line)?;
    let (allocations, bytes) = line.trim().split_once(' ').context("no count")?;
    Ok((allocations.parse()?, bytes.parse()?))
}

/// The role `counted`.
pub(crate) fn serve(guest: &Path) -> Result<()> {
    let lockfile = json!({
        "spin_lock_version": 0,
        "metadata": {"name": "counted"},
        "triggers": [{
            "id": "t", "trigger_type": "http", "trigger_config": {"component": "a", "route": "/..."},
        }],
        "components": [{
            "id": "a", "source": {"content_type": "application/wasm", "source": "file:///a.wasm"},
        }],
    });
    let app =
        parse_lockfile(lockfile.to_string().as_bytes()).map_err(|error| anyhow!("{error}"))?;
    let wasm = std::fs::read(guest).with_context(|| format!("reading {}", guest.display()))?;
    let folder = tempfile::tempdir()?;
    let (concurrency, codes) = CompileCache::open(&folder.path().join("cache"))?
        .codes(&[("a", "00".repeat(32))], |_, kind, file| {
            Ok(file.write_all(&compile(&wasm, kind)?)?)
        })?;
    let code = codes.into_iter().next().context("no code")?;
    let config = Config {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let server = Server::load(Input {
            app,
            components: vec![ComponentInput {
                id: "a".to_owned(),
                code,
                files: None,
            }],
            concurrency,
            config,
            env: Vec::new(),
            volumes: Vec::new(),
            ca_roots: None,
            runtime_config: RuntimeConfig::default(),
            state_dir: folder.path().join("state"),
        })
        .await?;
        let bound = server.bind().await?;
        let address = bound.addr().context("no address")?;
        std::thread::spawn(answer);
        println!("{LISTENING}{address}");
        ENABLED.store(true, Ordering::Relaxed);
        bound.serve(std::future::pending()).await;
        Ok(())
    })
}

fn answer() {
    for _ in std::io::stdin().lines() {
        let allocations = ALLOCATIONS.load(Ordering::Relaxed);
        println!("{allocations} {}", BYTES.load(Ordering::Relaxed));
    }
}
