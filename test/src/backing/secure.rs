//! The same servers with TLS, by a certificate for `localhost` of the test's own authority, and with users.

use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use nix::unistd::User;

use super::{Backing, free_port, program, run};
use crate::upstream::Authority;

/// What a server shows of itself.
pub(super) struct Shown {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Shown {
    fn new(authority: &Authority) -> Result<Self> {
        let (chain, key) = authority.leaf();
        Ok(Self {
            chain: std::fs::read(chain)?,
            key: std::fs::read(key)?,
        })
    }

    /// Its files, in a folder, for a user who is not root.
    fn files(&self, folder: &Path, user: &str) -> Result<[PathBuf; 2]> {
        let user = User::from_name(user)?.with_context(|| format!("there is no user {user}"))?;
        let files = [folder.join("leaf.pem"), folder.join("leaf.key")];
        for (file, text) in files.iter().zip([&self.chain, &self.key]) {
            std::fs::write(file, text)?;
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600))?;
            chown(file, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        Ok(files)
    }

    pub(super) fn postgres(&self, folder: &Path) -> Result<Vec<String>> {
        let [chain, key] = self.files(folder, "postgres")?;
        let settings = [
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", chain.display()),
            format!("ssl_key_file={}", key.display()),
        ];
        let pairs = settings.map(|setting| ["-c".to_owned(), setting]);
        Ok(pairs.into_iter().flatten().collect())
    }

    pub(super) fn mariadb(&self, folder: &Path) -> Result<Vec<String>> {
        let [chain, key] = self.files(folder, "mysql")?;
        Ok(vec![
            format!("--ssl-cert={}", chain.display()),
            format!("--ssl-key={}", key.display()),
        ])
    }
}

impl Backing {
    /// A Redis server that speaks TLS at its address, and plain text at the other one.
    pub fn redis_tls(authority: &Authority) -> Result<(Self, SocketAddr)> {
        let shown = Shown::new(authority)?;
        let plain = free_port()?;
        let server = Self::launch(move |folder, port| {
            let [chain, key] = shown.files(folder, "root")?;
            let mut command = Command::new(program("redis-server")?);
            command
                .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
                .args(["--port", &plain.to_string()])
                .args(["--tls-port", &port.to_string(), "--tls-auth-clients", "no"])
                .arg("--tls-cert-file")
                .arg(&chain)
                .arg("--tls-key-file")
                .arg(key)
                .arg("--tls-ca-cert-file")
                .arg(chain)
                .arg("--dir")
                .arg(folder);
            Ok(command)
        })?;
        Ok((server, SocketAddr::from(([127, 0, 0, 1], plain))))
    }

    /// An MQTT server that takes everybody, by TLS at its address, and by plain text at the other one.
    pub fn mosquitto_tls(authority: &Authority) -> Result<(Self, SocketAddr)> {
        let shown = Shown::new(authority)?;
        let plain = free_port()?;
        let server = Self::launch(move |folder, port| {
            let [chain, key] = shown.files(folder, "mosquitto")?;
            let config = folder.join("mosquitto.conf");
            let (chain, key) = (chain.display(), key.display());
            std::fs::write(
                &config,
                format!(
                    "listener {plain} 127.0.0.1\nlistener {port} 127.0.0.1\ncertfile {chain}\n\
                     keyfile {key}\nallow_anonymous true\npersistence false\n"
                ),
            )?;
            let mut command = Command::new(program("mosquitto")?);
            command.arg("-c").arg(config);
            Ok(command)
        })?;
        Ok((server, SocketAddr::from(([127, 0, 0, 1], plain))))
    }

    /// An MQTT server that takes the user `catena` with the password `secret` only.
    pub fn mosquitto_with_user() -> Result<Self> {
        Self::launch(|folder, port| {
            let (config, users) = (folder.join("mosquitto.conf"), folder.join("users"));
            let mut add = Command::new(program("mosquitto_passwd")?);
            add.args(["-b", "-c"]).arg(&users);
            run(add.args(["catena", "secret"]))?;
            std::fs::set_permissions(&users, std::fs::Permissions::from_mode(0o644))?;
            let users = users.display();
            std::fs::write(
                &config,
                format!(
                    "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {users}\n\
                     persistence false\n"
                ),
            )?;
            let mut command = Command::new(program("mosquitto")?);
            command.arg("-c").arg(config);
            Ok(command)
        })
    }

    /// As [`Backing::postgres`], by plain text or TLS.
    pub fn postgres_tls(authority: &Authority) -> Result<Self> {
        Self::postgres_as(Some(Shown::new(authority)?))
    }

    /// As [`Backing::mariadb`], by plain text or TLS.
    pub fn mariadb_tls(authority: &Authority) -> Result<Self> {
        Self::mariadb_as(Some(Shown::new(authority)?))
    }
}
