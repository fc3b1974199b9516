//! The real servers that apps work with: Redis, mosquitto, PostgreSQL, MariaDB, each started from its Debian package,
//! as is the registry that images are pulled from, and moto, which speaks Amazon's APIs, from PyPI; on a port of its
//! own, in a folder that is removed with it.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::output::PATIENCE;
use crate::workspace;

mod secure;

/// Where Debian keeps what is not for everybody's path.
const FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/bin"];

/// How one is started in a folder, on a port.
type Start = Box<dyn Fn(&Path, u16) -> Result<Command> + Send + Sync>;

/// A server of its own kind, at work. It is killed when this is dropped.
pub struct Backing {
    child: Option<Child>,
    start: Start,
    folder: TempDir,
    port: u16,
}

impl Backing {
    /// A Redis server without a password, which keeps nothing on disk.
    pub fn redis() -> Result<Self> {
        Self::redis_with(&[])
    }

    /// A Redis server with more arguments.
    pub fn redis_with(more: &[&str]) -> Result<Self> {
        let more: Vec<String> = more.iter().map(|&word| word.to_owned()).collect();
        Self::launch(move |folder, port| {
            let mut command = Command::new(program("redis-server")?);
            command
                .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
                .args(["--port", &port.to_string()])
                .arg("--dir")
                .arg(folder)
                .args(&more);
            Ok(command)
        })
    }

    /// An MQTT server that takes everybody, and keeps sessions while it runs.
    pub fn mosquitto() -> Result<Self> {
        Self::launch(|folder, port| {
            let config = folder.join("mosquitto.conf");
            let text =
                format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n");
            std::fs::write(&config, text)?;
            let mut command = Command::new(program("mosquitto")?);
            command.arg("-c").arg(config);
            Ok(command)
        })
    }

    /// A server that speaks the API of Amazon SQS, among others, and keeps all in memory.
    pub fn sqs() -> Result<Self> {
        let server = workspace::root().join("target/moto/bin/moto_server");
        ensure!(server.exists(), "moto is not installed: run `make setup`");
        Self::launch(move |folder, port| {
            // Not by its first line, which names the folder where it was installed: a target folder may be shared.
            let mut command = Command::new(server.with_file_name("python3"));
            command
                .arg(&server)
                .args(["--host", "127.0.0.1", "--port", &port.to_string()])
                .current_dir(folder);
            Ok(command)
        })
    }

    /// A registry of images over plain HTTP, which takes everybody's.
    pub fn registry() -> Result<Self> {
        Self::launch(|folder, port| {
            let config = folder.join("registry.json");
            // JSON is YAML.
            let text = json!({
                "version": 0.1,
                "log": {"level": "warn", "accesslog": {"disabled": true}},
                "storage": {"filesystem": {"rootdirectory": folder.join("images")}},
                "http": {"addr": format!("127.0.0.1:{port}")},
            });
            std::fs::write(&config, text.to_string())?;
            let mut command = Command::new(program("docker-registry")?);
            command.arg("serve").arg(config);
            Ok(command)
        })
    }

    /// A PostgreSQL server with the user `postgres`, no password, and the database `postgres`.
    pub fn postgres() -> Result<Self> {
        Self::postgres_as(None)
    }

    fn postgres_as(shown: Option<secure::Shown>) -> Result<Self> {
        let bin = postgres_folder()?;
        let server = Self::launch(move |folder, port| {
            let data = folder.join("data");
            if !data.exists() {
                let mut init = as_user("postgres", &bin.join("initdb"))?;
                init.args([
                    "--auth=trust",
                    "--username=postgres",
                    "--no-sync",
                    "--encoding=UTF8",
                ])
                .arg(&data);
                run(&mut init)?;
            }
            let mut command = as_user("postgres", &bin.join("postgres"))?;
            command
                .arg("-D")
                .arg(data)
                .args(["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"])
                .args(["-p", &port.to_string()])
                .arg("-k")
                .arg(folder);
            if let Some(shown) = &shown {
                command.args(shown.postgres(folder)?);
            }
            Ok(command)
        })?;
        // It listens before it takes clients.
        let psql = postgres_folder()?.join("psql");
        let ready = || {
            let mut ask = Command::new(&psql);
            ask.args([
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
                "-p",
                &server.port.to_string(),
            ]);
            Ok(run(ask.args(["-c", "select 1"])).is_ok())
        };
        wait(ready).context("PostgreSQL takes no client")?;
        Ok(server)
    }

    /// A MariaDB server with the user `catena`, password `secret`, and the database `test`.
    pub fn mariadb() -> Result<Self> {
        Self::mariadb_as(None)
    }

    fn mariadb_as(shown: Option<secure::Shown>) -> Result<Self> {
        let server = Self::launch(move |folder, port| {
            let data = folder.join("data");
            let socket = folder.join("socket");
            if !data.exists() {
                let mut init = Command::new(program("mariadb-install-db")?);
                init.args(["--no-defaults", "--user=mysql", "--skip-test-db"])
                    .arg("--auth-root-authentication-method=normal")
                    .arg(format!("--datadir={}", data.display()));
                run(&mut init)?;
                std::fs::write(
                    folder.join("init.sql"),
                    "create database test;\ncreate user 'catena'@'%' identified by 'secret';\n\
                     grant all on test.* to 'catena'@'%';\n",
                )?;
            }
            let mut command = Command::new(program("mariadbd")?);
            command
                .args(["--no-defaults", "--user=mysql", "--bind-address=127.0.0.1"])
                .arg(format!("--port={port}"))
                .arg(format!("--datadir={}", data.display()))
                .arg(format!("--socket={}", socket.display()))
                .arg(format!("--init-file={}", folder.join("init.sql").display()));
            if let Some(shown) = &shown {
                command.args(shown.mariadb(folder)?);
            }
            Ok(command)
        })?;
        Ok(server)
    }

    fn launch(
        start: impl Fn(&Path, u16) -> Result<Command> + Send + Sync + 'static,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("catena-test-").tempdir()?;
        // The servers that will not run as root have to reach their part of it.
        std::fs::set_permissions(
            folder.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )?;
        let port = free_port()?;
        let mut server = Self {
            child: None,
            start: Box::new(start),
            folder,
            port,
        };
        server.start()?;
        Ok(server)
    }

    /// Starts it, at the same address, after [`Backing::stop`]; again and again while it does not stay: PostgreSQL ends
    /// at once where a process of the one that was killed has not ended yet.
    pub fn start(&mut self) -> Result<()> {
        let address = self.address();
        self.child = Some(self.spawn()?);
        let listens = wait(|| {
            if TcpStream::connect(address).is_ok() {
                return Ok(true);
            }
            let ended = match &mut self.child {
                Some(child) => child.try_wait()?.is_some(),
                None => true,
            };
            if ended {
                self.child = Some(self.spawn()?);
            }
            Ok(false)
        });
        listens.with_context(|| format!("a server does not listen on {address}"))
    }

    fn spawn(&self) -> Result<Child> {
        let mut command = (self.start)(self.folder.path(), self.port)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // Nothing of it outlives a test that is killed.
        command.process_group(0);
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let stderr = child.stderr.take();
        // Whatever it says must not fill its pipe.
        std::thread::spawn(move || {
            let lines = stderr.map(|stderr| BufReader::new(stderr).lines());
            lines.into_iter().flatten().for_each(drop);
        });
        Ok(child)
    }

    /// Ends it, as a crash does.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            if let Ok(pid) = i32::try_from(child.id()) {
                let _ = kill(Pid::from_raw(-pid), Signal::SIGKILL);
            }
            let _ = child.wait();
            // Its own children, which are killed too, may hold its listener for a moment more.
            let address = self.address();
            let _ = wait(|| Ok(TcpStream::connect(address).is_err()));
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The ports below those that the kernel gives to outgoing connections: one of these could take a server's while that is
/// stopped.
const PORTS: Range<u16> = 10_000..32_000;

fn free_port() -> Result<u16> {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    for _ in 0..count {
        // Tests run in several processes, and none of them should try where another one does.
        let number = std::process::id()
            .wrapping_mul(97)
            .wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + u16::try_from(number % count)?;
        // Bound, never listening: a process that another test starts at this moment holds whatever is open until it
        // executes its program, and a listener there would answer in place of the server that is to come.
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if socket.bind(address).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free between {} and {}", PORTS.start, PORTS.end)
}

fn program(name: &str) -> Result<PathBuf> {
    let places = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    places
        .into_iter()
        .find(|place| place.exists())
        .with_context(|| format!("{name} is not installed: run `make setup`"))
}

/// The newest of the PostgreSQL versions that are installed.
fn postgres_folder() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .context("PostgreSQL is not installed: run `make setup`")?;
    let mut folders: Vec<PathBuf> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    folders.sort();
    folders.pop().context("there is no version of PostgreSQL")
}

/// A command that does not run as root, and owns its folder.
fn as_user(name: &str, program: &Path) -> Result<Command> {
    let user = User::from_name(name)?.with_context(|| format!("there is no user {name}"))?;
    let mut command = Command::new(program);
    command
        .uid(user.uid.as_raw())
        .gid(user.gid.as_raw())
        .current_dir("/");
    Ok(command)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    ensure!(
        output.status.success(),
        "{:?}: {}{}",
        command.get_program(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn wait(mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if ready()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("not within {} s", PATIENCE.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Authority;

    #[test]
    fn every_server_of_tls_starts() {
        let authority = Authority::create().unwrap();
        for launch in [Backing::postgres_tls, Backing::mariadb_tls] {
            launch(&authority).unwrap();
        }
        let (redis, plain) = Backing::redis_tls(&authority).unwrap();
        assert!(TcpStream::connect(plain).is_ok() && redis.address() != plain);
        let (mqtt, plain) = Backing::mosquitto_tls(&authority).unwrap();
        assert!(TcpStream::connect(plain).is_ok() && mqtt.address() != plain);
    }

    #[test]
    fn every_server_starts_and_starts_again() {
        for launch in [
            Backing::redis,
            Backing::mosquitto,
            Backing::postgres,
            Backing::mariadb,
            Backing::sqs,
        ] {
            let mut server = launch().unwrap();
            server.stop();
            assert!(TcpStream::connect(server.address()).is_err());
            server.start().unwrap();
        }
    }
}
