//! What the environment of the container asks for, read once at start.
//!
//! Spin's own names are honoured as they are; catena's begin with `CATENA_`.
//! A value that cannot be understood, and a `CATENA_` name that does not exist,
//! is refused: it never means the default. Values come in as arguments; this
//! never reads the environment of the process.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use crate::engine::Limits;

mod guest;
mod reuse;
mod runtime;
mod values;

pub use guest::{GuestEnv, GuestVolumes, VolumeEntry, mount_point};
pub use reuse::ReuseInstances;
pub(crate) use runtime::read_block;
pub use runtime::{
    ClientTls, KeyValueStore, LlmApi, LlmCompute, OutboundHttp, OutboundNetworking, RuntimeConfig,
    Secret, SqliteDatabase, VariablesProvider,
};
pub use values::{Source, Sources};

/// How a worker listens and what it allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `SPIN_HTTP_LISTEN_ADDR`, 0.0.0.0:80 by default.
    pub listen: SocketAddr,
    /// `CATENA_MAX_INSTANCES` (1000), `SPIN_MAX_INSTANCE_MEMORY` (1 GiB, in bytes).
    pub limits: Limits,
    /// `CATENA_INSTANCE_USES`: how many requests one instance of a component
    /// that allows it serves before it is replaced, 1000 by default.
    pub instance_uses: u32,
    /// `CATENA_REUSE_INSTANCES`: the components of `wasi:http` 0.2 that allow it too, none by default.
    pub reuse_instances: ReuseInstances,
    /// `CATENA_CHAIN_DEPTH`: how deep chained calls may nest, 32 by default.
    pub chain_depth: u32,
    /// `CATENA_RESPONSE_TIMEOUT`: to the head of a guest's response, and for its
    /// work after a complete response, 60 s by default; none where it is 0.
    pub response_timeout: Option<Duration>,
    /// `CATENA_MAX_CONNECTIONS`: connections of clients at once, 10000 by default.
    pub max_connections: u32,
    /// `CATENA_HEADER_TIMEOUT`: to the end of a request's head, 30 s by default.
    pub header_timeout: Duration,
    /// `CATENA_WRITE_TIMEOUT`: how long a client may read nothing of a response,
    /// 60 s by default; for ever where it is 0.
    pub write_timeout: Option<Duration>,
    /// `CATENA_MAX_HEADER_BYTES`: the size of a request's head, 64 KiB by default.
    pub max_header_bytes: usize,
    /// `CATENA_MAX_BODY_BYTES`: the size of a request's body, no limit by
    /// default, since bodies are streamed and never held.
    pub max_body_bytes: Option<usize>,
    /// `CATENA_CONNECT_TIMEOUT`: to a connection to a real host, 10 s by default.
    pub connect_timeout: Duration,
    /// `CATENA_UPSTREAM_TIMEOUT`: to the head of a real host's response,
    /// connecting included, and between two pieces of its body, 600 s by default.
    pub upstream_timeout: Duration,
    /// `CATENA_DRAIN_DELAY`: how long everything goes on as it was after it was asked to
    /// end, so that who balances the load can hear of it; none by default.
    pub drain_delay: Duration,
    /// `CATENA_DRAIN_TIMEOUT`: for requests in flight at the end, 30 s by default.
    pub drain_timeout: Duration,
    /// `CATENA_GUEST_ENV`: the variables of the container that components see, none by default.
    pub guest_env: GuestEnv,
    /// `CATENA_GUEST_VOLUMES`: the mounts of the container that components see, none by default.
    pub guest_volumes: GuestVolumes,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 80)),
            limits: Limits::default(),
            instance_uses: 1000,
            reuse_instances: ReuseInstances::default(),
            chain_depth: 32,
            response_timeout: Some(Duration::from_secs(60)),
            max_connections: 10_000,
            header_timeout: Duration::from_secs(30),
            write_timeout: Some(Duration::from_secs(60)),
            max_header_bytes: 64 << 10,
            max_body_bytes: None,
            connect_timeout: Duration::from_secs(10),
            upstream_timeout: Duration::from_secs(600),
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(30),
            guest_env: GuestEnv::default(),
            guest_volumes: GuestVolumes::default(),
        }
    }
}

/// The smallest head that hyper can be told to take, in bytes.
const MIN_HEADER_BYTES: usize = 8192;

impl Config {
    /// Reads the environment of a container. Where a name stands twice the last
    /// one counts, as in a shell.
    ///
    /// # Errors
    /// One sentence for every variable that cannot be used.
    pub fn from_env(env: &[(String, String)]) -> Result<Self, Vec<String>> {
        let mut config = Self::default();
        let mut problems = Vec::new();
        for (name, value) in env {
            if let Err(problem) = config.set(name, value) {
                problems.push(problem);
            }
        }
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }

    /// What one variable asks for, for those who must know before all of them are sound; the default where it cannot
    /// be understood, which [`Config::from_env`] tells.
    pub fn of(env: &[(String, String)], name: &str) -> Self {
        let own = env.iter().filter(|(other, _)| other == name);
        Self::from_env(&own.cloned().collect::<Vec<_>>()).unwrap_or_default()
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "SPIN_HTTP_LISTEN_ADDR" => {
                self.listen = parse(name, value, "an address and a port, such as 0.0.0.0:80")?;
            }
            "SPIN_MAX_INSTANCE_MEMORY" => {
                self.limits.memory = positive(name, value, "a number of bytes")?;
            }
            "CATENA_MAX_INSTANCES" => {
                let instances: u32 = positive(name, value, "a number of instances")?;
                if instances > MAX_INSTANCES {
                    return Err(format!(
                        "{name}={value}: more than {MAX_INSTANCES} instances do not fit into the \
                         address space; give a smaller number"
                    ));
                }
                self.limits.instances = instances;
            }
            "CATENA_INSTANCE_USES" => {
                self.instance_uses = positive(name, value, "a number of requests")?;
            }
            "CATENA_REUSE_INSTANCES" => self.reuse_instances = ReuseInstances::parse(name, value)?,
            "CATENA_CHAIN_DEPTH" => {
                self.chain_depth = positive(name, value, "a number of calls")?;
            }
            "CATENA_RESPONSE_TIMEOUT" => {
                self.response_timeout = limit(name, value)?;
            }
            "CATENA_MAX_CONNECTIONS" => {
                self.max_connections = positive(name, value, "a number of connections")?;
            }
            "CATENA_HEADER_TIMEOUT" => self.header_timeout = positive_duration(name, value)?,
            "CATENA_WRITE_TIMEOUT" => self.write_timeout = limit(name, value)?,
            "CATENA_MAX_HEADER_BYTES" => {
                let bytes: usize = positive(name, value, "a number of bytes")?;
                if bytes < MIN_HEADER_BYTES {
                    return Err(format!(
                        "{name}={value}: the smallest head that can be allowed is \
                         {MIN_HEADER_BYTES} bytes; give at least that"
                    ));
                }
                self.max_header_bytes = bytes;
            }
            "CATENA_MAX_BODY_BYTES" => {
                self.max_body_bytes = Some(parse(name, value, "a number of bytes")?);
            }
            "CATENA_CONNECT_TIMEOUT" => self.connect_timeout = positive_duration(name, value)?,
            "CATENA_UPSTREAM_TIMEOUT" => self.upstream_timeout = positive_duration(name, value)?,
            "CATENA_DRAIN_DELAY" => self.drain_delay = duration(name, value)?,
            "CATENA_DRAIN_TIMEOUT" => self.drain_timeout = duration(name, value)?,
            "CATENA_GUEST_ENV" => self.guest_env = GuestEnv::parse(name, value)?,
            "CATENA_GUEST_VOLUMES" => self.guest_volumes = GuestVolumes::parse(name, value)?,
            _ if name.starts_with("CATENA_") => {
                return Err(format!(
                    "{name} is not a setting of catena; remove it or correct its name (there are: {})",
                    NAMES.join(", ")
                ));
            }
            _ => {}
        }
        Ok(())
    }
}

/// 4 GiB of addresses for each of two memories an instance, in 2^46 bytes.
const MAX_INSTANCES: u32 = 8000;

const NAMES: [&str; 16] = [
    "CATENA_MAX_INSTANCES",
    "CATENA_INSTANCE_USES",
    "CATENA_REUSE_INSTANCES",
    "CATENA_CHAIN_DEPTH",
    "CATENA_RESPONSE_TIMEOUT",
    "CATENA_MAX_CONNECTIONS",
    "CATENA_HEADER_TIMEOUT",
    "CATENA_WRITE_TIMEOUT",
    "CATENA_MAX_HEADER_BYTES",
    "CATENA_MAX_BODY_BYTES",
    "CATENA_CONNECT_TIMEOUT",
    "CATENA_UPSTREAM_TIMEOUT",
    "CATENA_DRAIN_DELAY",
    "CATENA_DRAIN_TIMEOUT",
    "CATENA_GUEST_ENV",
    "CATENA_GUEST_VOLUMES",
];

fn parse<T: FromStr>(name: &str, value: &str, what: &str) -> Result<T, String> {
    value
        .trim()
        .parse()
        .map_err(|_| format!("{name}={value}: this is not {what}; correct or remove it"))
}

fn positive<T: FromStr + PartialEq + From<u8>>(
    name: &str,
    value: &str,
    what: &str,
) -> Result<T, String> {
    let number: T = parse(name, value, what)?;
    if number == T::from(0) {
        return Err(format!("{name}={value}: this must be greater than 0"));
    }
    Ok(number)
}

fn positive_duration(name: &str, value: &str) -> Result<Duration, String> {
    let duration = duration(name, value)?;
    if duration.is_zero() {
        return Err(format!("{name}={value}: this must be longer than 0"));
    }
    Ok(duration)
}

/// A duration that 0 switches off.
fn limit(name: &str, value: &str) -> Result<Option<Duration>, String> {
    Ok(Some(duration(name, value)?).filter(|limit| !limit.is_zero()))
}

/// Whole seconds, or a duration as Go writes it: `1m30s`, `250ms`.
fn duration(name: &str, value: &str) -> Result<Duration, String> {
    let problem = || {
        format!(
            "{name}={value}: this is not a duration; give seconds (30) or a number with a unit \
             (250ms, 20s, 1m30s, 1h)"
        )
    };
    let text = value.trim();
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .filter(|end| *end > 0)
            .ok_or_else(problem)?;
        let number: u64 = rest[..digits].parse().map_err(|_| problem())?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |end| digits + end);
        let millis = match &rest[digits..unit_end] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(problem()),
        };
        let part = number.checked_mul(millis).ok_or_else(problem)?;
        total = total
            .checked_add(Duration::from_millis(part))
            .ok_or_else(problem)?;
        rest = &rest[unit_end..];
    }
    if text.is_empty() {
        return Err(problem());
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn an_empty_environment_gives_the_defaults() {
        assert_eq!(Config::from_env(&[]).unwrap(), Config::default());
    }

    #[test]
    fn values_are_read() {
        let config = Config::from_env(&env(&[
            ("PATH", "/bin"),
            ("SPIN_HTTP_LISTEN_ADDR", "[::1]:8080"),
            ("CATENA_RESPONSE_TIMEOUT", "0"),
            ("CATENA_WRITE_TIMEOUT", "0"),
            ("CATENA_MAX_CONNECTIONS", "2"),
            ("CATENA_HEADER_TIMEOUT", "1m30s"),
            ("CATENA_DRAIN_DELAY", "5"),
            ("CATENA_DRAIN_TIMEOUT", "250ms"),
            ("CATENA_CHAIN_DEPTH", "4"),
        ]))
        .unwrap();
        assert_eq!(config.listen.to_string(), "[::1]:8080");
        assert_eq!(config.response_timeout, None);
        assert_eq!(config.write_timeout, None);
        assert_eq!(config.max_connections, 2);
        assert_eq!(config.header_timeout, Duration::from_secs(90));
        assert_eq!(config.drain_delay, Duration::from_secs(5));
        assert_eq!(config.drain_timeout, Duration::from_millis(250));
        assert_eq!(config.chain_depth, 4);
    }

    #[test]
    fn every_bad_value_is_named() {
        let problems = Config::from_env(&env(&[
            ("SPIN_HTTP_LISTEN_ADDR", "80"),
            ("CATENA_CHAIN_DEPTH", "0"),
            ("CATENA_DRAIN_TIMEOUT", "soon"),
            ("CATENA_HEADER_TIMEOUT", "1x"),
            ("CATENA_MAX_HEADER_BYTES", "10"),
            ("CATENA_CHAINDEPTH", "3"),
        ]))
        .unwrap_err();
        let begins = [
            "SPIN_HTTP_LISTEN_ADDR=80: this is not an address",
            "CATENA_CHAIN_DEPTH=0: this must be greater than 0",
            "CATENA_DRAIN_TIMEOUT=soon: this is not a duration",
            "CATENA_HEADER_TIMEOUT=1x: this is not a duration",
            "CATENA_MAX_HEADER_BYTES=10: the smallest head",
            "CATENA_CHAINDEPTH is not a setting of catena",
        ];
        assert_eq!(problems.len(), begins.len(), "{problems:?}");
        for (problem, begin) in problems.iter().zip(begins) {
            assert!(problem.starts_with(begin), "{problem}");
        }
    }

    #[test]
    fn all_settings_are_listed() {
        for name in NAMES {
            let problem = Config::default().set(name, "? ?").unwrap_err();
            assert!(!problem.contains("is not a setting"), "{problem}");
        }
    }
}
