//! A whole Kubernetes with catena as a RuntimeClass: `make test-k8s`, as root. All tests share one cluster, each in a
//! namespace of its own, one after another. Arguments choose tests by parts of their names.

#![expect(clippy::print_stdout, reason = "it is its own harness")]

mod apps;
mod ends;
mod manifests;
mod node;
mod roll;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use catena_test::kubernetes::{Apart, Cluster, apart};
use catena_test::workspace;

/// A test of the cluster that it is given.
type Test = fn(&mut Cluster) -> Result<()>;

macro_rules! tests {
    ($($module:ident::$name:ident),* $(,)?) => {
        [$((stringify!($name), $module::$name as Test)),*]
    };
}

const TESTS: [(&str, Test); 15] = tests![
    apps::the_example_is_deployed_and_answers,
    apps::what_is_printed_is_the_pods_log,
    apps::a_command_is_executed_and_a_shell_is_refused,
    apps::a_port_is_forwarded,
    apps::a_sidecar_calls_the_app_of_its_pod,
    apps::a_deleted_pod_leaves_nothing,
    apps::the_kubelet_counts_processor_and_memory,
    apps::another_shims_class_is_served,
    ends::a_refused_image_is_an_event,
    ends::memory_that_runs_out_is_told_and_the_app_comes_back,
    ends::an_app_that_is_not_alive_is_restarted,
    ends::exit_codes_reach_the_pods_status,
    node::a_restart_of_kubelet_and_containerd_is_survived,
    roll::no_request_fails_while_pods_come_and_go,
    node::the_daemon_set_installs_what_its_class_runs,
];

fn main() -> Result<ExitCode> {
    apart(|machine| match all(machine) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error:?}");
            ExitCode::FAILURE
        }
    })
}

/// Runs the tests that are asked for; whether all succeeded.
fn all(machine: &Apart) -> Result<bool> {
    let parts: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| parts.is_empty() || parts.iter().any(|part| name.contains(part));
    let started = Instant::now();
    let mut cluster = Cluster::start(machine).inspect_err(|_| keep(machine))?;
    cluster.kubectl().ok(&[
        "apply",
        "--filename",
        &manifests::file("kubernetes/runtimeclass.yaml"),
    ])?;
    println!(
        "the cluster is ready after {:.1} s",
        started.elapsed().as_secs_f64()
    );
    let (mut ran, mut failed) = (0, Vec::new());
    for (name, test) in TESTS.into_iter().filter(|(name, _)| wanted(name)) {
        let started = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| test(&mut cluster)));
        let ended = ended.unwrap_or_else(|_| Err(anyhow!("it panicked, see above")));
        let word = if ended.is_ok() { "ok" } else { "FAILED" };
        println!(
            "test {name} ... {word} ({:.1} s)",
            started.elapsed().as_secs_f64()
        );
        ran += 1;
        if let Err(error) = ended {
            println!("{error:?}");
            failed.push(name);
        }
    }
    println!(
        "{ran} tests, {} failed, {:.0} s",
        failed.len(),
        started.elapsed().as_secs_f64()
    );
    if !failed.is_empty() {
        let kubectl = cluster.kubectl();
        println!("{}", kubectl.ok(&["get", "pods", "--all-namespaces"])?);
        let warnings = ["get", "events", "--all-namespaces", "--field-selector"];
        println!(
            "{}",
            kubectl.ok(&[&warnings[..], &["type=Warning"]].concat())?
        );
        keep(machine);
    }
    // No test of that name is no success.
    Ok(ran > 0 && failed.is_empty())
}

/// Keeps the logs of all parts of the cluster.
fn keep(machine: &Apart) {
    let into = workspace::root().join("target/kubernetes/logs");
    let kept =
        copy_logs(machine, &into).with_context(|| format!("keeping logs in {}", into.display()));
    match kept {
        Ok(()) => println!("logs: {}", into.display()),
        Err(error) => println!("{error:?}"),
    }
}

fn copy_logs(machine: &Apart, into: &std::path::Path) -> Result<()> {
    fs::create_dir_all(into)?;
    let mut folders = vec![machine.folder.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)?.flatten() {
            let path = entry.path();
            let name = path.file_name().unwrap_or_default();
            if path.extension().is_some_and(|extension| extension == "log") && path.is_file() {
                fs::copy(&path, into.join(name))?;
            } else if name.to_string_lossy().starts_with("catena-") && path.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(())
}
