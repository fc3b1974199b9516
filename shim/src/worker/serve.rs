//! A worker at work: it loads while it waits for its word, then serves until it is told to stop.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::Context as _;
use catena_runtime::app::parse_lockfile;
use catena_runtime::config::Config;
use catena_runtime::server::{self, Bound, CommandLine, ComponentInput, Input, Server};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Assignment, Command, Report, Run};
use crate::channel::{AsyncChannel, Channel};
use crate::inside::{self, Files, RUNTIME_CONFIG};
use crate::workload::CA_FILES;
use crate::{log, memory};

/// Where stores and databases keep their files, as in Spin's containers.
const STATE_DIR: &str = "/.spin";

/// The exit code when an application cannot run.
const UNFIT: i32 = 1;

/// Runs a worker to its end; gives the exit code.
pub(super) fn run(channel: Channel) -> i32 {
    let prepared = Assignment::receive(&channel).and_then(|assignment| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.min(assignment.processors.unwrap_or(threads));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .event_interval(server::EVENT_INTERVAL)
            .enable_all()
            .build()
            .context("starting the runtime")?;
        Ok((assignment, runtime))
    });
    match prepared {
        Ok((assignment, runtime)) => runtime.block_on(serve(assignment, channel)),
        Err(error) => {
            report_failure(&channel, &error);
            UNFIT
        }
    }
}

async fn serve(mut assignment: Assignment, channel: Channel) -> i32 {
    let filter = assignment
        .env
        .iter()
        .rev()
        .find(|(name, _)| name == "RUST_LOG");
    log::to_stderr(filter.map(|(_, value)| value.as_str()), false);
    // First of all: the first process of a PID namespace ignores what it does not handle.
    let (mut stop, channel) =
        match Stop::listen().and_then(|stop| Ok((stop, AsyncChannel::new(channel)?))) {
            Ok(ready) => ready,
            Err(error) => {
                tracing::error!("{error:#}");
                return UNFIT;
            }
        };
    let run = assignment.run.take();
    let loaded = tokio::select! {
        loaded = load(assignment) => loaded,
        () = stop.told() => return 0,
    };
    memory::give_back();
    let go = tokio::select! {
        go = channel.receive::<Command>() => go,
        () = stop.told() => return 0,
    };
    let Ok(Some(Command::Go)) = go else {
        return UNFIT;
    };
    let bound = match (loaded, run) {
        (Ok(server), None) => server.bind().await,
        (Ok(server), Some(run)) => return run_command(server, run, &channel, stop).await,
        (Err(error), _) => Err(error),
    };
    match bound {
        Ok(bound) => serve_bound(bound, &channel, stop).await,
        Err(error) => {
            let failed = Report::Failed {
                reason: format!("{error:#}"),
            };
            if channel.send(&failed, &[]).is_err() {
                tracing::error!("{error:#}");
            }
            UNFIT
        }
    }
}

async fn serve_bound(bound: Bound, channel: &AsyncChannel, mut stop: Stop) -> i32 {
    let address = bound.addr().map(|address| address.to_string());
    // A shim that is gone hears nothing; the application serves all the same.
    let _ = channel.send(&Report::Listening { address }, &[]);
    bound.serve(async move { stop.told().await }).await
}

async fn run_command(server: Server, run: Run, channel: &AsyncChannel, mut stop: Stop) -> i32 {
    let ready = Report::Listening { address: None };
    let _ = channel.send(&ready, &[]);
    let line = CommandLine {
        args: run.args,
        env: run.env,
    };
    let stopped = async move { stop.told().await };
    server.run(&run.component, line, stopped).await
}

async fn load(assignment: Assignment) -> anyhow::Result<Server> {
    let Assignment {
        lockfile,
        env,
        components,
        volumes,
        concurrency,
        ca_roots,
        processors: _,
        run: _,
    } = assignment;
    let config =
        Config::from_env(&env).map_err(|problems| anyhow::Error::msg(problems.join("; ")))?;
    let runtime_config = inside::runtime_config(Files::Here, Path::new(RUNTIME_CONFIG));
    let runtime_config =
        runtime_config.map_err(|problems| anyhow::Error::msg(problems.join("; ")))?;
    let ca_roots = certificate_authorities(&env, ca_roots)?;
    let mut app = parse_lockfile(&lockfile)?;
    // What the shim dropped it sent no code for.
    app.keep(|id| components.iter().any(|component| component.id == id));
    let components = components.into_iter().map(|component| ComponentInput {
        id: component.id,
        code: component.code,
        files: component.files.map(File::from),
    });
    let input = Input {
        app,
        components: components.collect(),
        concurrency,
        config,
        env,
        volumes,
        ca_roots,
        runtime_config,
        state_dir: PathBuf::from(STATE_DIR),
    };
    Ok(Server::load(input).await?)
}

/// What the container says, then what it holds, then what the host has.
fn certificate_authorities(
    env: &[(String, String)],
    host: Option<File>,
) -> anyhow::Result<Option<File>> {
    if let Some(named) = named_authorities(env)? {
        return Ok(Some(named));
    }
    let own = CA_FILES.iter().filter_map(|path| File::open(path).ok());
    let mut own = own.filter(|file| file.metadata().is_ok_and(|found| found.is_file()));
    Ok(own.next().or(host))
}

/// The file of certificate authorities that `SSL_CERT_FILE` names.
pub(crate) fn named_authorities(env: &[(String, String)]) -> anyhow::Result<Option<File>> {
    let named = env.iter().rev().find(|(name, _)| name == "SSL_CERT_FILE");
    let Some((_, path)) = named else {
        return Ok(None);
    };
    let context =
        || format!("reading the certificate authorities from {path}, as SSL_CERT_FILE says");
    let file = File::open(path).with_context(context)?;
    if !file.metadata().with_context(context)?.is_file() {
        return Err(anyhow::anyhow!("it is no file")).with_context(context);
    }
    Ok(Some(file))
}

fn report_failure(channel: &Channel, error: &anyhow::Error) {
    let _ = channel.send(
        &Report::Failed {
            reason: format!("{error:#}"),
        },
        &[],
    );
}

/// The signals that ask for an orderly end.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Stop> {
        Ok(Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
