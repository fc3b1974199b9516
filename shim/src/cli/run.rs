//! `catena run`: serves an image on this machine, in this process.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use catena_runtime::compile::{CompileCache, compile};
use catena_runtime::compose::compose;
use catena_runtime::config::{Config, mount_point};
use catena_runtime::engine::Concurrency;
use catena_runtime::image::Image;
use catena_runtime::server::{self, ComponentInput, Input, Server};
use tokio::signal::unix::{SignalKind, signal};

use crate::compile::code_digests;
use crate::inside::{self, Files};
use crate::volumes::{self, Grant, Mount, Source};
use crate::workload::Around;
use crate::{log, worker, workload};

/// Names a place for compiled code other than the user's cache folder.
const CACHE_DIR: &str = "CATENA_CACHE_DIR";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An OCI layout folder, a tar of an image, an unpacked root file system or a .wasm file
    image: PathBuf,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// A variable of the container's environment; SPIN_* and CATENA_* of this process are taken too
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// A file in the form of Spin's runtime-config.toml
    #[arg(long, value_name = "FILE")]
    runtime_config: Option<PathBuf>,
    /// Where key-value stores and SQLite databases keep their files; else where the runtime configuration says, else .spin
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
    /// A folder for every component to see at GUEST; read-only without `:rw`
    #[arg(long = "mount", value_name = "HOST:GUEST[:rw]", value_parser = mount)]
    mounts: Vec<Mount>,
}

/// Serves until Ctrl-C.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let filter = std::env::var("RUST_LOG").ok();
    log::to_stderr(filter.as_deref(), std::io::stderr().is_terminal());
    let env = environment(args);
    let mut image = Image::from_path(&args.image)?;
    for warning in &image.app.warnings {
        tracing::warn!("{warning}");
    }
    let named = workload::ids(&image);
    let refusal = workload::retain(&mut image, &env);
    let around = Around {
        env: &env,
        mounts: &args.mounts,
        named: &named,
        files: Files::Here,
        runtime_config: args.runtime_config.as_deref(),
    };
    let volumes = workload::check(&image, refusal, &around)?;
    let volumes = volumes.iter().map(Grant::open);
    let volumes = volumes.collect::<anyhow::Result<_>>()?;

    let folder = tempfile::tempdir().context("making a folder for the components' files")?;
    let (concurrency, components) = prepare(&image, folder.path())?;
    let config =
        Config::from_env(&env).map_err(|problems| anyhow::Error::msg(problems.join("; ")))?;
    let app = image.app.clone();
    let name = app.name.clone();
    let ca_roots = worker::named_authorities(&env)?;
    let mut runtime_config = inside::runtime_config_here(args.runtime_config.as_deref())?;
    if args.state_dir.is_some() {
        runtime_config.state_dir = None;
    }
    let state_dir = args.state_dir.clone();
    let input = Input {
        app,
        components,
        concurrency,
        config,
        env,
        volumes,
        ca_roots,
        runtime_config,
        state_dir: state_dir.unwrap_or_else(|| PathBuf::from(".spin")),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .event_interval(server::EVENT_INTERVAL)
        .enable_all()
        .build()?;
    let code = runtime.block_on(serve(&name, input))?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

async fn serve(name: &str, input: Input) -> anyhow::Result<i32> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let bound = Server::load(input).await?.bind().await?;
    if let Some(address) = bound.addr() {
        writeln!(std::io::stdout(), "serving {name} on http://{address}")?;
    }
    let stop = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("finishing what is in flight");
    };
    Ok(bound.serve(stop).await)
}

/// Compiles the components, or takes them from the user's cache, and writes their files.
fn prepare(image: &Image, folder: &Path) -> anyhow::Result<(Concurrency, Vec<ComponentInput>)> {
    let cache = CompileCache::open(&cache_dir()?)?;
    let digests = code_digests(image)?;
    let (concurrency, codes) = cache.codes(&digests, |index, kind, output| {
        let (id, digest) = &digests[index];
        if kind == Concurrency::Off {
            tracing::info!("compiling {id}");
        }
        let parts = image.parts(id, digest)?;
        Ok(output.write_all(&compile(&compose(&parts)?, kind)?)?)
    })?;
    let mut components = Vec::new();
    for (component, code) in image.app.components.iter().zip(codes) {
        let id = &component.id;
        let files = match component.files.as_slice() {
            [] => None,
            _ => {
                let place = folder.join(id);
                std::fs::create_dir(&place)?;
                image.materialize_files(id, &place)?;
                Some(File::open(&place)?)
            }
        };
        components.push(ComponentInput {
            id: id.clone(),
            code,
            files,
        });
    }
    Ok((concurrency, components))
}

/// What the container's environment would be. The last word counts. What is mounted is meant to be
/// seen, unless the environment says by whom.
fn environment(args: &Args) -> Vec<(String, String)> {
    let own = std::env::vars().filter(|(name, _)| {
        (name.starts_with("SPIN_") || name.starts_with("CATENA_")) && name != CACHE_DIR
    });
    let listen = ("SPIN_HTTP_LISTEN_ADDR".to_owned(), args.listen.to_string());
    let env = own.chain([listen]).chain(args.env.iter().cloned());
    let mut env: Vec<_> = env.collect();
    if !args.mounts.is_empty() && !env.iter().any(|(name, _)| name == volumes::NAME) {
        let seen = args.mounts.iter().map(|mount| {
            let mode = if mount.writable { "rw" } else { "ro" };
            format!("{}:{mode}", mount.place)
        });
        let seen: Vec<_> = seen.collect();
        env.push((volumes::NAME.to_owned(), seen.join(",")));
    }
    env
}

/// `HOST:GUEST[:rw]`.
fn mount(text: &str) -> Result<Mount, String> {
    let (rest, writable) = match text.strip_suffix(":rw") {
        Some(rest) => (rest, true),
        None => (text.strip_suffix(":ro").unwrap_or(text), false),
    };
    let (host, guest) = rest
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty())
        .ok_or("write it as HOST:GUEST or HOST:GUEST:rw")?;
    let place = mount_point(guest).map_err(|reason| format!("{guest:?} {reason}"))?;
    if place.contains(',') {
        return Err(format!("{guest:?} holds a comma; choose another place"));
    }
    if !Path::new(host).is_dir() {
        return Err(format!("{host} is no folder; name one"));
    }
    Ok(Mount {
        place,
        source: Source::Path(host.into()),
        writable,
        deep: true,
    })
}

fn cache_dir() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os(CACHE_DIR) {
        return Ok(folder.into());
    }
    let user = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let user = user.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    match user {
        Some(folder) => Ok(folder.join("catena")),
        None => bail!("neither XDG_CACHE_HOME nor HOME is set: name a folder with {CACHE_DIR}"),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_a_name_and_a_value() {
        assert_eq!(pair("A=b=c").unwrap(), ("A".to_owned(), "b=c".to_owned()));
        assert!(pair("A").is_err() && pair("=b").is_err());
    }

    #[test]
    fn a_mount_is_a_folder_and_a_place() {
        let read = |text: &str| mount(text).map(|mount| (mount.place, mount.writable));
        assert_eq!(read("/tmp:/data"), Ok(("/data".to_owned(), false)));
        assert_eq!(read("/tmp:/data/:rw"), Ok(("/data".to_owned(), true)));
        for bad in [
            "/tmp",
            ":/data",
            "/tmp:data",
            "/tmp:/",
            "/tmp/none:/data",
            "/tmp:rw",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
