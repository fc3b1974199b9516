//! From `ctr run` to the first 200: catena with a warm compile cache beside a static busybox under runc, whose
//! httpd answers. Both share the host's network, and containerd is one of the bench's own.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use catena_test::layout::Layout;
use catena_test::{Containerd, Form, Packed};
use serde_json::json;

use crate::sides::free_address;
use crate::table::{Goals, Table, median};

const ROUNDS: usize = 11;
const RUNC: &str = "io.containerd.runc.v2";

/// Runs it.
pub(crate) fn run(goals: &mut Goals) -> Result<()> {
    let containerd = Containerd::start()?;
    let hello = containerd.import(Packed::app("hello", Form::Rootfs)?.path())?;
    let layout = busybox()?;
    let archive = containerd.path("busybox.tar");
    fs::write(&archive, layout.archive()?)?;
    let busybox = containerd.import(&archive)?;

    let mut catena = Vec::new();
    let mut runc = Vec::new();
    // The first round fills the compile cache and the page cache, and does not count.
    for round in 0..=ROUNDS {
        let catena_took = start(&containerd, &hello, "catena", round)?;
        let runc_took = start(&containerd, &busybox, "busybox", round)?;
        if round > 0 {
            catena.push(catena_took);
            runc.push(runc_took);
        }
    }
    let mut table = Table::new(&["ctr run to the first 200", "ms", "fastest", "slowest"]);
    for (name, took) in [
        ("catena, hello, warm cache", &catena),
        ("runc, static busybox httpd", &runc),
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

/// Runs a container until it answers, and removes it.
fn start(containerd: &Containerd, image: &str, name: &str, round: usize) -> Result<Duration> {
    let address = free_address()?;
    let listen = address.to_string();
    let id = format!("{name}-{round}");
    let container = containerd.container(image, &id).flags(&["--detach"]);
    let container = if name == "catena" {
        container.env("SPIN_HTTP_LISTEN_ADDR", &listen)
    } else {
        let httpd = ["/bin/busybox", "httpd", "-f", "-p", &listen, "-h", "/www"];
        container.flags(&["--runtime", RUNC]).command(&httpd)
    };
    let started = Instant::now();
    let answered = std::thread::spawn(move || first_answer(address, started));
    let output = container.run()?;
    if !output.success {
        bail!(
            "ctr run of {image}:\n{}\ncontainerd's log:\n{}",
            output.stderr,
            containerd.log()
        );
    }
    let took = answered.join().ok().context("asking for the answer")??;
    containerd.ctr_ok(&["tasks", "delete", "--force", &id])?;
    containerd.ctr_ok(&["containers", "delete", &id])?;
    Ok(took)
}

/// Asks until the answer is 200.
fn first_answer(address: SocketAddr, started: Instant) -> Result<Duration> {
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

/// An ordinary image that holds a static busybox and one page for its httpd.
fn busybox() -> Result<Layout> {
    let binary = Path::new("/bin/busybox");
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_path_with_name(binary, "bin/busybox")
        .context("reading /bin/busybox: install busybox-static")?;
    let page = b"Hello from busybox\n";
    let mut header = tar::Header::new_gnu();
    header.set_size(page.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "www/index.html", page.as_slice())?;
    let layer = tar.into_inner()?;

    let layout = Layout::new()?;
    let layer_digest = layout.blob(&layer)?;
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": {"Cmd": ["/bin/busybox"]},
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
    })
    .to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": layout.blob(config.as_bytes())?, "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": layer_digest, "size": layer.len(),
        }],
    })
    .to_string();
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": layout.blob(manifest.as_bytes())?, "size": manifest.len(),
            "annotations": {"io.containerd.image.name": "localhost/busybox:bench"},
        }],
    });
    fs::write(layout.path().join("index.json"), index.to_string())?;
    Ok(layout)
}
