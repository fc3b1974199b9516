//! The cluster's certificate authority, made by openssl: keys, certificates, and the files by which clients find and
//! trust the API server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::pack;

/// Nothing of the machine's own configuration.
const OPENSSL: &str = "[req]\ndistinguished_name = name\n[name]\n";
const KEY: [&str; 5] = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
];

/// A folder of keys and certificates.
pub(super) struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// Makes one.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        let authority = Self {
            folder: folder.join("pki"),
        };
        fs::create_dir(&authority.folder)?;
        fs::write(authority.path("openssl.cnf"), OPENSSL)?;
        let extensions = [
            "basicConstraints=critical,CA:true",
            "keyUsage=critical,keyCertSign,cRLSign",
        ];
        authority.request("ca", "/CN=catena-test", &extensions, &[])?;
        Ok(authority)
    }

    /// `NAME.pem` and `NAME.key`, for a server with these names or addresses, and for a client that the subject names.
    pub(super) fn issue(&self, name: &str, subject: &str, names: &[String]) -> Result<()> {
        let mut extensions = vec!["basicConstraints=critical,CA:false".to_owned()];
        if names.is_empty() {
            extensions.push("extendedKeyUsage=clientAuth".to_owned());
        } else {
            extensions.push("extendedKeyUsage=serverAuth".to_owned());
            extensions.push(format!("subjectAltName={}", names.join(",")));
        }
        let extensions: Vec<&str> = extensions.iter().map(String::as_str).collect();
        let (ca, key) = (self.text("ca.pem"), self.text("ca.key"));
        self.request(name, subject, &extensions, &["-CA", &ca, "-CAkey", &key])
    }

    fn request(&self, name: &str, subject: &str, extensions: &[&str], by: &[&str]) -> Result<()> {
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-days", "1", "-subj", subject]);
        openssl.arg("-config").arg(self.path("openssl.cnf"));
        openssl.args(KEY).args(by);
        openssl
            .arg("-keyout")
            .arg(self.path(&format!("{name}.key")));
        openssl.arg("-out").arg(self.path(&format!("{name}.pem")));
        for extension in extensions {
            openssl.args(["-addext", extension]);
        }
        let output = pack::run(&mut openssl)?;
        if !output.success {
            bail!("openssl req for {name}: {}", output.stderr);
        }
        Ok(())
    }

    /// A certificate of the client `subject`, and the file by which it finds `server`.
    pub(super) fn kubeconfig(&self, name: &str, subject: &str, server: &str) -> Result<PathBuf> {
        self.issue(name, subject, &[])?;
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "catena", "cluster": {
                "server": server,
                "certificate-authority": self.path("ca.pem"),
            }}],
            "users": [{"name": name, "user": {
                "client-certificate": self.path(&format!("{name}.pem")),
                "client-key": self.path(&format!("{name}.key")),
            }}],
            "contexts": [{"name": "catena", "context": {"cluster": "catena", "user": name}}],
            "current-context": "catena",
        });
        let path = self.path(&format!("{name}.conf"));
        fs::write(&path, config.to_string()).context("writing a kubeconfig")?;
        Ok(path)
    }

    /// A file of it.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// The same as text.
    pub(super) fn text(&self, file: &str) -> String {
        self.path(file).display().to_string()
    }
}
