//! What a language costs: `hello` in Rust, in JavaScript by componentize-js and in Python by componentize-py, side by
//! side. From `ctr run` to the first 200 with a warm compile cache; requests/s of 16 connections; memory after that.
//!
//! Rust and JavaScript are of `wasi:http` 0.2, with a fresh instance a request; Python is of 0.3 and keeps its own.

use std::time::Duration;

use anyhow::Result;
use catena_test::{Catena, Containerd, Form, Packed};
use tokio::runtime::Runtime;

use crate::process::memory;
use crate::sides::{Side, alternate};
use crate::startup::start;
use crate::table::{Table, median};

const CONNECTIONS: usize = 16;
const ROUNDS: usize = 7;
const DURATION: Duration = Duration::from_millis(1000);

/// Names of rows and of images, and guests from the folder of those in Rust.
const LANGUAGES: [(&str, &str, &str); 3] = [
    ("Rust, 0.2", "rust", "hello"),
    ("JavaScript, 0.2", "javascript", "../../js/hello"),
    ("Python, 0.3", "python", "../../python/hello"),
];

const APP: &str = r#"
spin_manifest_version = 2

[application]
name = "LANGUAGE"
version = "0.1.0"

[[trigger.http]]
route = "/..."
component = "hello"

[component.hello]
source = "GUESTS/GUEST.wasm"
"#;

/// Runs it.
pub(crate) fn run(runtime: &Runtime) -> Result<()> {
    let packed = LANGUAGES.iter().map(|(_, language, guest)| {
        let app = APP.replace("LANGUAGE", language);
        let app = app.replace("GUEST.wasm", &format!("{guest}.wasm"));
        Packed::text(&app, Form::Rootfs)
    });
    let packed: Vec<Packed> = packed.collect::<Result<_>>()?;
    let starts = starts(&packed)?;
    let sides = LANGUAGES.iter().zip(&packed).map(|((name, ..), packed)| {
        let run = Catena::image(packed.path());
        Side::catena(runtime, name, run)
    });
    let mut sides: Vec<Side> = sides.collect::<Result<_>>()?;
    alternate(&mut sides, ROUNDS, CONNECTIONS, DURATION)?;
    let mut table = Table::new(&[
        "hello",
        "ctr run to the first 200, ms",
        "requests/s",
        "p50 µs",
        "CPU µs/request",
        "PSS after it, MiB",
    ]);
    for (side, starts) in sides.iter().zip(starts) {
        table.row([
            side.name.to_owned(),
            format!("{:.0}", median(starts)),
            format!("{:.0}", side.median(|round| round.served.per_second)),
            format!("{:.0}", side.median(|round| round.served.p50)),
            format!("{:.1}", side.median(|round| round.cpu)),
            format!("{:.1}", memory(side.pid(), "Pss")? as f64 / 1024.0),
        ]);
    }
    table.print(&format!(
        "languages: starts with a warm cache, {CONNECTIONS} connections, medians of {ROUNDS} rounds"
    ));
    Ok(())
}

/// What the starts of each took, in milliseconds. They take turns; the first of each fills the compile cache and does
/// not count.
fn starts(packed: &[Packed]) -> Result<Vec<Vec<f64>>> {
    let containerd = Containerd::start()?;
    let images = packed.iter().map(|packed| containerd.import(packed.path()));
    let images: Vec<String> = images.collect::<Result<_>>()?;
    let mut all = vec![Vec::new(); images.len()];
    for (number, image) in images.iter().enumerate() {
        // Without the patience of a start: compiling takes as long as it takes.
        let id = format!("first-{number}");
        containerd.container(image, &id).start()?.remove()?;
    }
    for round in 0..ROUNDS {
        for (number, image) in images.iter().enumerate() {
            let took = start(|address| {
                let container = containerd.container(image, &format!("start-{number}-{round}"));
                container.env("SPIN_HTTP_LISTEN_ADDR", address)
            })?;
            all[number].push(took.as_secs_f64() * 1e3);
        }
    }
    Ok(all)
}
