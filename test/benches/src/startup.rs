//! From `ctr run` to the first 200: catena with a warm compile cache beside a static busybox under runc, whose
//! httpd answers, and catena with images that it has never compiled. All share the host's network, and containerd is
//! one of the bench's own.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use catena_test::containerd::Container;
use catena_test::{Containerd, Form, Packed};

use crate::native;
use crate::sides::free_address;
use crate::table::{Goals, Table, median};

const ROUNDS: usize = 11;

/// Runs it.
pub(crate) fn run(goals: &mut Goals) -> Result<()> {
    let containerd = Containerd::start()?;
    let hello = containerd.import(Packed::app("hello", Form::Rootfs)?.path())?;
    let chain = containerd.import(Packed::app("chain", Form::Rootfs)?.path())?;
    let busybox = native::import(&containerd, "busybox", native::busybox()?)?;

    let mut catena = Vec::new();
    let mut runc = Vec::new();
    let mut unseen = [(&hello, Vec::new()), (&chain, Vec::new())];
    // The first round fills the page cache, and does not count.
    for round in 0..=ROUNDS {
        for (number, (image, times)) in unseen.iter_mut().enumerate() {
            forget_code(&containerd)?;
            let took = start(|address| {
                let container = containerd.container(image, &format!("unseen-{number}-{round}"));
                container.env("SPIN_HTTP_LISTEN_ADDR", address)
            })?;
            if round > 0 {
                times.push(took);
            }
        }
        // Compiles; the next start finds the code.
        let warm = format!("warm-{round}");
        containerd.container(&hello, &warm).start()?.remove()?;
        let catena_took = start(|address| {
            let container = containerd.container(&hello, &format!("catena-{round}"));
            container.env("SPIN_HTTP_LISTEN_ADDR", address)
        })?;
        let runc_took = start(|address| {
            let httpd = ["/bin/busybox", "httpd", "-f", "-p", address, "-h", "/www"];
            let container = containerd.container(&busybox, &format!("busybox-{round}"));
            container
                .flags(&["--runtime", native::RUNC])
                .command(&httpd)
        })?;
        if round > 0 {
            catena.push(catena_took);
            runc.push(runc_took);
        }
    }
    let mut table = Table::new(&["ctr run to the first 200", "ms", "fastest", "slowest"]);
    for (name, took) in [
        ("catena, hello, warm cache", &catena),
        ("runc, static busybox httpd", &runc),
        ("catena, hello, never compiled", &unseen[0].1),
        ("catena, chain of three, never compiled", &unseen[1].1),
    ] {
        let milliseconds = || took.iter().map(|took| took.as_secs_f64() * 1000.0);
        table.row([
            name.to_owned(),
            format!("{:.0}", median(milliseconds())),
            format!("{:.0}", milliseconds().fold(f64::INFINITY, f64::min)),
            format!("{:.0}", milliseconds().fold(0.0, f64::max)),
        ]);
    }
    table.print(&format!("start, medians of {ROUNDS} rounds"));
    where_it_goes(true)?;
    where_it_goes(false)?;
    let pairs = catena.iter().zip(&runc);
    let ratio = median(pairs.map(|(catena, runc)| catena.as_secs_f64() / runc.as_secs_f64()));
    goals.at_most(
        "ctr run to the first 200, of busybox under runc",
        ratio,
        1.0,
        "",
    );
    Ok(())
}

/// Removes what is compiled.
fn forget_code(containerd: &Containerd) -> Result<()> {
    let cache = containerd.path("cache");
    if !cache.exists() {
        return Ok(());
    }
    fs::remove_dir_all(&cache).with_context(|| format!("emptying {}", cache.display()))
}

/// What the shim says that its calls took, beside the whole; with the code of the image in the cache, or without.
fn where_it_goes(warm: bool) -> Result<()> {
    let containerd = Containerd::start_logging("debug")?;
    let hello = containerd.import(Packed::app("hello", Form::Rootfs)?.path())?;
    let mut whole = Vec::new();
    for round in 0..=ROUNDS {
        let id = format!("traced-{round}");
        if !warm {
            forget_code(&containerd)?;
        }
        let took = start(|address| {
            let container = containerd.container(&hello, &id);
            container.env("SPIN_HTTP_LISTEN_ADDR", address)
        })?;
        if round > 0 {
            whole.push((id, took.as_secs_f64() * 1e3));
        }
    }
    let log = containerd.log();
    let mut steps: Vec<(String, Vec<f64>)> = Vec::new();
    let mut rest = Vec::new();
    for (id, whole) in &whole {
        let told = told(&log, id);
        rest.push(whole - told.iter().map(|(_, took)| took).sum::<f64>());
        for (step, took) in told {
            match steps.iter_mut().find(|(known, _)| *known == step) {
                Some((_, all)) => all.push(took),
                None => steps.push((step, vec![took])),
            }
        }
    }
    let mut table = Table::new(&["where the time of a start goes", "ms"]);
    let mut row = |what: String, took: f64| table.row([what, format!("{took:.1}")]);
    row(
        "ctr, containerd, starting the shim, the first request".to_owned(),
        median(rest),
    );
    for (step, took) in steps {
        row(step, median(took));
    }
    row(
        "all of it".to_owned(),
        median(whole.into_iter().map(|(_, took)| took)),
    );
    let cache = if warm {
        "a warm cache"
    } else {
        "an empty cache"
    };
    table.print(&format!("a start with {cache}, medians of {ROUNDS} rounds"));
    Ok(())
}

/// The steps of the calls for one container and what they took in milliseconds, as the shim logs them:
/// `create of ID took STEP=..us STEP=..us`.
fn told(log: &str, id: &str) -> Vec<(String, f64)> {
    let mut told = Vec::new();
    for call in ["create", "start"] {
        let mark = format!("{call} of {id} took ");
        let Some((_, rest)) = log.split_once(&mark) else {
            continue;
        };
        let line = rest.lines().next().unwrap_or_default();
        for step in line.split_whitespace() {
            let Some((name, took)) = step.split_once('=') else {
                continue;
            };
            let digits: String = took.chars().take_while(char::is_ascii_digit).collect();
            if let Ok(microseconds) = digits.parse::<f64>() {
                told.push((format!("{call}: {name}"), microseconds / 1e3));
            }
        }
    }
    told
}

/// Runs the container that listens at the address it is given until it answers, and removes it.
pub(crate) fn start<'a>(container: impl FnOnce(&str) -> Container<'a>) -> Result<Duration> {
    let address = free_address()?;
    let container = container(&address.to_string());
    let started = Instant::now();
    let answered = std::thread::spawn(move || first_answer(address, started));
    let task = container.start()?;
    let took = answered.join().ok().context("asking for the answer")??;
    task.remove()?;
    Ok(took)
}

/// Asks until the answer is 200.
pub(crate) fn first_answer(address: SocketAddr, started: Instant) -> Result<Duration> {
    while started.elapsed() < Duration::from_secs(30) {
        if asked(address).is_ok_and(|answer| answer.contains(" 200 ")) {
            return Ok(started.elapsed());
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    bail!("no answer from {address} within 30 s")
}

fn asked(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = [0; 32];
    let count = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..count]).into_owned())
}
