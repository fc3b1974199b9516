//! `/runtime-config.toml`: where the stores, databases, variables and models
//! are that an application names, as Spin has the file.
//!
//! A section or a key that is not known is refused, and everything that is
//! wrong is told together. Secrets never show in a log.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};
use url::Url;

/// Stands for all networks that are not public.
pub(crate) const PRIVATE: &str = "private";

/// What the file says; what it leaves out has the defaults of Spin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuntimeConfig {
    /// Where the files of stores and databases go; `.spin` by default.
    pub state_dir: Option<PathBuf>,
    /// The largest linear memory of one instance, in bytes.
    pub max_instance_memory: Option<usize>,
    /// Key-value stores by label.
    pub key_value_stores: BTreeMap<String, KeyValueStore>,
    /// SQLite databases by label.
    pub sqlite_databases: BTreeMap<String, SqliteDatabase>,
    /// Where models run.
    pub llm_compute: Option<LlmCompute>,
    /// Who knows the values of variables; the first that has one counts.
    pub variables_providers: Vec<VariablesProvider>,
    /// What no component may reach, whatever its lockfile allows.
    pub outbound_networking: OutboundNetworking,
    /// Certificates for connections to certain hosts.
    pub client_tls: Vec<ClientTls>,
    /// The client of outgoing requests.
    pub outbound_http: OutboundHttp,
}

/// A text that never shows in a log.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `[key_value_store.<label>]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum KeyValueStore {
    /// A SQLite file.
    Spin {
        /// Relative to the state folder's parent; its own place there by default.
        path: Option<PathBuf>,
    },
    /// A Redis server.
    Redis {
        /// `redis://` or `rediss://`, with what is needed to log in.
        url: Secret,
    },
    /// The memory of the worker: gone with it.
    Memory {},
}

/// `[sqlite_database.<label>]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum SqliteDatabase {
    /// A SQLite file.
    Spin {
        /// Relative to the state folder's parent; its own place there by default.
        path: Option<PathBuf>,
    },
    /// A libSQL server, over HTTP.
    Libsql {
        /// `http://` or `https://`.
        url: String,
        /// What the server knows us by.
        token: Secret,
    },
}

/// `[llm_compute]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum LlmCompute {
    /// In this process, which catena does not do.
    Spin {},
    /// A server.
    RemoteHttp {
        /// Where it is.
        url: String,
        /// What the server knows us by.
        auth_token: Secret,
        /// Which interface it speaks.
        #[serde(default)]
        api_type: LlmApi,
    },
}

/// The interface of a server of models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LlmApi {
    /// Spin's own.
    #[default]
    Default,
    /// OpenAI's, which many servers speak.
    OpenAi,
}

/// `[[variables_provider]]` (`[[config_provider]]` in old files)
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum VariablesProvider {
    /// The container's environment.
    Env {
        /// What stands before `_<NAME>`; `SPIN_VARIABLE` by default.
        prefix: Option<String>,
        /// A file of `NAME=value` lines that is read too.
        dotenv_path: Option<PathBuf>,
    },
    /// This file.
    Static {
        /// Values by name.
        values: BTreeMap<String, Secret>,
    },
    /// HashiCorp's Vault, the KV engine of version 2.
    Vault {
        /// Where it is.
        url: String,
        /// What it knows us by.
        token: Secret,
        /// Where the engine is mounted.
        mount: String,
        /// What stands before `/<name>`.
        prefix: Option<String>,
    },
}

/// `[outbound_networking]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboundNetworking {
    /// CIDR blocks, addresses, or `private` for all that are not public.
    #[serde(default)]
    pub block_networks: Vec<String>,
}

/// `[[client_tls]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientTls {
    /// The components it is for.
    pub component_ids: Vec<String>,
    /// The hosts it is for, with a port or for all ports.
    pub hosts: Vec<String>,
    /// Certificate authorities, a PEM file.
    pub ca_roots_file: Option<PathBuf>,
    /// Whether the usual ones count too; by default only without a file.
    pub ca_use_platform_roots: Option<bool>,
    /// The same: catena carries no authorities of its own.
    #[serde(alias = "ca_webpki_roots")]
    pub ca_use_webpki_roots: Option<bool>,
    /// The client's certificate, a PEM file.
    #[serde(alias = "cert_chain_file")]
    pub client_cert_file: Option<PathBuf>,
    /// The key of that certificate, a PEM file.
    #[serde(alias = "private_key_file")]
    pub client_private_key_file: Option<PathBuf>,
}

impl ClientTls {
    /// Whether the usual authorities count.
    pub(crate) fn uses_usual_roots(&self) -> bool {
        match (self.ca_use_platform_roots, self.ca_use_webpki_roots) {
            (None, None) => self.ca_roots_file.is_none(),
            (platform, webpki) => platform == Some(true) || webpki == Some(true),
        }
    }

    fn check(&self, place: &str, problems: &mut Vec<String>) {
        for (name, list) in [
            ("component_ids", &self.component_ids),
            ("hosts", &self.hosts),
        ] {
            if list.is_empty() {
                problems.push(format!("{place}: {name} is empty; name some"));
            }
        }
        if self.client_cert_file.is_some() != self.client_private_key_file.is_some() {
            problems.push(format!(
                "{place}: client_cert_file and client_private_key_file belong together; give both \
                 or neither"
            ));
        }
    }
}

/// `[outbound_http]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutboundHttp {
    /// Whether connections are kept for the next request.
    pub connection_pooling: bool,
    /// The most requests at once, each until its response has ended; no limit by
    /// default.
    #[serde(alias = "max_connections")]
    pub max_concurrent_requests: Option<usize>,
}

impl Default for OutboundHttp {
    fn default() -> Self {
        Self {
            connection_pooling: true,
            max_concurrent_requests: None,
        }
    }
}

/// What the sections of types that catena lacks are told.
const CLOUD: [(&str, &str); 3] = [
    ("azure_cosmos", "Azure Cosmos DB"),
    ("aws_dynamo", "DynamoDB"),
    ("azure_key_vault", "Azure Key Vault"),
];

impl RuntimeConfig {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// One sentence for everything that is wrong.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| vec![flat(&error.to_string())])?;
        let mut config = Self::default();
        let mut problems = Vec::new();
        for (key, value) in table {
            config.set(&key, value, &mut problems);
        }
        config.check(&mut problems);
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }

    /// Takes all paths that are relative as relative to `folder`, where the file is.
    #[must_use]
    pub fn anchored(mut self, folder: &Path) -> Self {
        let anchor = |path: &mut Option<PathBuf>| {
            if let Some(path) = path {
                *path = folder.join(&*path);
            }
        };
        anchor(&mut self.state_dir);
        for provider in &mut self.variables_providers {
            if let VariablesProvider::Env { dotenv_path, .. } = provider {
                anchor(dotenv_path);
            }
        }
        for tls in &mut self.client_tls {
            anchor(&mut tls.ca_roots_file);
            anchor(&mut tls.client_cert_file);
            anchor(&mut tls.client_private_key_file);
        }
        self
    }

    /// What is wrong beyond the form.
    fn check(&self, problems: &mut Vec<String>) {
        if self.max_instance_memory == Some(0) {
            problems.push("max_instance_memory is 0; give a number of bytes".to_owned());
        }
        match &self.llm_compute {
            Some(LlmCompute::Spin {}) => problems.push(
                "llm_compute: catena runs no models itself; give a server, with type = \
                 \"remote_http\""
                    .to_owned(),
            ),
            Some(LlmCompute::RemoteHttp { url, .. }) => check_url("llm_compute", url, problems),
            None => {}
        }
        for (index, provider) in self.variables_providers.iter().enumerate() {
            if let VariablesProvider::Vault { url, .. } = provider {
                check_url(&format!("variables_provider[{index}]"), url, problems);
            }
        }
        let blocks = self.outbound_networking.block_networks.iter();
        problems.extend(blocks.filter_map(|entry| read_block(entry).err()));
        for (index, tls) in self.client_tls.iter().enumerate() {
            tls.check(&format!("client_tls[{index}]"), problems);
        }
        if self.outbound_http.max_concurrent_requests == Some(0) {
            problems.push(
                "outbound_http: max_concurrent_requests is 0; give a number or remove it"
                    .to_owned(),
            );
        }
    }

    fn set(&mut self, key: &str, value: Value, problems: &mut Vec<String>) {
        match key {
            "state_dir" => self.state_dir = read(key, value, problems),
            "log_dir" => {
                let _: Option<PathBuf> = read(key, value, problems);
                tracing::warn!(
                    "log_dir of the runtime configuration is not used: guests write to the \
                     container's own stdout and stderr"
                );
            }
            "max_instance_memory" => self.max_instance_memory = read(key, value, problems),
            "key_value_store" => self.key_value_stores = labelled(key, value, problems),
            "sqlite_database" => self.sqlite_databases = labelled(key, value, problems),
            "llm_compute" => self.llm_compute = read(key, value, problems),
            "variables_provider" | "config_provider" => {
                self.variables_providers
                    .extend(listed(key, value, problems));
            }
            "outbound_networking" => {
                self.outbound_networking = read(key, value, problems).unwrap_or_default();
            }
            "client_tls" => self.client_tls = listed(key, value, problems),
            "outbound_http" => self.outbound_http = read(key, value, problems).unwrap_or_default(),
            _ => problems.push(format!(
                "{key} is not a section of this file; remove it or correct its name"
            )),
        }
    }
}

fn read<T: DeserializeOwned>(place: &str, value: Value, problems: &mut Vec<String>) -> Option<T> {
    let kind = value.get("type").and_then(Value::as_str);
    if let Some((_, name)) = CLOUD.iter().find(|(known, _)| Some(*known) == kind) {
        problems.push(format!(
            "{place}: catena has no client of {name}; choose another type"
        ));
        return None;
    }
    match value.try_into() {
        Ok(value) => Some(value),
        Err(error) => {
            problems.push(format!("{place}: {}", flat(&error.to_string())));
            None
        }
    }
}

fn labelled<T: DeserializeOwned>(
    place: &str,
    value: Value,
    problems: &mut Vec<String>,
) -> BTreeMap<String, T> {
    let Value::Table(table) = value else {
        problems.push(format!("{place}: give it a label: [{place}.default]"));
        return BTreeMap::new();
    };
    let entries = table.into_iter().filter_map(|(label, value)| {
        let read = read(&format!("{place}.{label}"), value, problems)?;
        Some((label, read))
    });
    entries.collect()
}

fn listed<T: DeserializeOwned>(place: &str, value: Value, problems: &mut Vec<String>) -> Vec<T> {
    let items = match value {
        Value::Array(items) => items,
        single => vec![single],
    };
    let entries = items.into_iter().enumerate();
    entries
        .filter_map(|(index, value)| read(&format!("{place}[{index}]"), value, problems))
        .collect()
}

/// An entry of `block_networks`: a block of addresses, or none for [`PRIVATE`].
pub(crate) fn read_block(entry: &str) -> Result<Option<IpNet>, String> {
    if entry == PRIVATE {
        return Ok(None);
    }
    let address = || entry.parse::<IpAddr>().map(IpNet::from);
    let block = entry.parse::<IpNet>().or_else(|_| address());
    block.map(Some).map_err(|_| {
        format!(
            "outbound_networking.block_networks: {entry:?} is neither a block of addresses such \
             as \"10.0.0.0/8\" nor {PRIVATE:?}; correct or remove it"
        )
    })
}

fn check_url(place: &str, url: &str, problems: &mut Vec<String>) {
    let parsed = Url::parse(url);
    if !parsed.is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host()) {
        problems.push(format!(
            "{place}: url is {url:?}, which is no URL of an HTTP server; correct it"
        ));
    }
}

/// In one line, for a sentence.
fn flat(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join(" ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_is_read() {
        let config = RuntimeConfig::parse(
            r#"
            state_dir = "/data"
            max_instance_memory = 1048576
            [key_value_store.default]
            type = "spin"
            [key_value_store.shared]
            type = "redis"
            url = "redis://localhost"
            [sqlite_database.default]
            type = "libsql"
            url = "https://db.example"
            token = "hush"
            [llm_compute]
            type = "remote_http"
            url = "http://llm.example"
            auth_token = "hush"
            api_type = "open_ai"
            [[variables_provider]]
            type = "static"
            values = { a = "b" }
            [[config_provider]]
            type = "vault"
            url = "http://vault.example"
            token = "hush"
            mount = "secret"
            [outbound_networking]
            block_networks = ["10.0.0.0/8", "private"]
            [[client_tls]]
            component_ids = ["a"]
            hosts = ["example.com"]
            [outbound_http]
            connection_pooling = false
            max_concurrent_requests = 8
            "#,
        )
        .unwrap();
        assert_eq!(config.outbound_http.max_concurrent_requests, Some(8));
        assert_eq!(config.key_value_stores.len(), 2);
        assert_eq!(config.variables_providers.len(), 2);
        assert!(!config.outbound_http.connection_pooling);
        assert!(!format!("{config:?}").contains("hush"), "{config:?}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let problems = RuntimeConfig::parse(
            r#"
            max_instance_memory = 0
            [llm_compute]
            type = "spin"
            [outbound_networking]
            block_networks = ["10.0.0.0/64", "private", "Private"]
            [[variables_provider]]
            type = "vault"
            url = "vault.example"
            token = "hush"
            mount = "secret"
            [[client_tls]]
            component_ids = []
            hosts = ["a"]
            client_cert_file = "cert.pem"
            [outbound_http]
            max_connections = 0
            "#,
        )
        .unwrap_err();
        assert_eq!(problems.len(), 8, "{problems:#?}");
    }

    #[test]
    fn paths_count_from_the_files_folder() {
        let text = "state_dir = \"state\"\n[[variables_provider]]\ntype = \"env\"\n\
                    dotenv_path = \"/abs/.env\"";
        let config = RuntimeConfig::parse(text)
            .unwrap()
            .anchored(Path::new("/f"));
        assert_eq!(config.state_dir, Some(PathBuf::from("/f/state")));
        let VariablesProvider::Env { dotenv_path, .. } = &config.variables_providers[0] else {
            panic!("{config:?}");
        };
        assert_eq!(*dotenv_path, Some(PathBuf::from("/abs/.env")));
    }

    #[test]
    fn everything_wrong_is_told_together() {
        let problems = RuntimeConfig::parse(
            r#"
            speed = "fast"
            log_dir = "logs"
            state_dir = 3
            key_value_store = "redis"
            [sqlite_database.a]
            type = "spin"
            pth = "x"
            [sqlite_database.b]
            type = "postgres"
            [[variables_provider]]
            type = "azure_key_vault"
            "#,
        )
        .unwrap_err();
        assert_eq!(problems.len(), 6, "{problems:#?}");
        let all = problems.join("\n");
        for part in [
            "speed is not a section",
            "state_dir: ",
            "key_value_store: give it a label",
            "sqlite_database.a: ",
            "pth",
            "sqlite_database.b: ",
            "catena has no client of Azure Key Vault",
        ] {
            assert!(all.contains(part), "{part}: {all}");
        }
    }
}
