//! Where a component may send requests: its `allowed_outbound_hosts`.
//!
//! An entry is `scheme://host[:port]`:
//!
//! - scheme: `*` or letters;
//! - host: `*`, `*.domain` (not the domain itself), `self` (or `self.alt`), a
//!   name, an IP address or a block of them (`10.0.0.0/8`); IPv6 in brackets,
//!   which a block may do without;
//! - port: a number, `first..end` (without `end`), `*`, or none where the
//!   scheme has a usual one (http, https, postgres, mysql, redis, mqtt).
//!
//! One slash at the end is allowed, case does not matter, and an entry may be a
//! [template](super::variables).
//!
//! **Chaining** (SIP-017) is a right of its own, which no entry for real hosts
//! gives and which gives no access to real hosts. Only a literal
//! `http://<component>.spin.internal` or `http://*.spin.internal` gives it:
//! the port may be written if it is 80; another scheme or port, a wildcard
//! above `spin.internal`, `self`, and a template whatever it resolves to do
//! not. Names under `spin.internal` never count as real hosts, so `*://*:*`
//! does not let a request for one out to the network either.
//!
//! The lockfile reader checks the entries, the server resolves them at start
//! and asks at every request; asking allocates nothing. Resolving names to
//! addresses is not done here.

use super::json::quoted;
use super::variables::{self, Values, Variables};
use pattern::{Host, Pattern};

mod legacy;
mod pattern;

pub use legacy::translate as translate_legacy;

/// The domain whose names mean components of the same application.
pub const CHAINING_DOMAIN: &str = "spin.internal";

/// A component's permissions, ready to be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    patterns: Vec<Pattern>,
    chain: Chain,
    to_self: bool,
}

/// Which components may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Chain {
    Named(Vec<String>),
    All,
}

impl AllowedHosts {
    /// Resolves and parses the entries of a component. The errors are
    /// sentences, one for each entry that is wrong.
    pub fn parse(entries: &[String], values: &Values) -> Result<AllowedHosts, Vec<String>> {
        let mut allowed = AllowedHosts::default();
        let mut problems = Vec::new();
        for entry in entries {
            if let Err(problem) = allowed.add(entry, values) {
                problems.push(problem);
            }
        }
        if problems.is_empty() {
            Ok(allowed)
        } else {
            Err(problems)
        }
    }

    /// Whether a request may leave for a real host. `host` is a name or an IP
    /// address, IPv6 with or without brackets.
    pub fn allows(&self, scheme: &str, host: &str, port: u16) -> bool {
        let host = pattern::Target::new(host);
        !host.is_internal()
            && self
                .patterns
                .iter()
                .any(|pattern| pattern.allows(scheme, &host, port))
    }

    /// Whether raw sockets of this scheme (`tcp`, `udp`) may reach anything.
    pub fn allows_sockets(&self, scheme: &str) -> bool {
        let mut patterns = self.patterns.iter();
        patterns.any(|pattern| pattern.scheme.allows(scheme))
    }

    /// Whether this name may be looked up for a raw socket: whether one to it is
    /// allowed, whatever the port.
    pub fn allows_lookup(&self, name: &str) -> bool {
        let host = pattern::Target::new(name);
        let sockets = |scheme: &pattern::Scheme| scheme.allows("tcp") || scheme.allows("udp");
        !host.is_internal()
            && self
                .patterns
                .iter()
                .any(|pattern| sockets(&pattern.scheme) && pattern.host.allows(&host))
    }

    /// Whether a request may go to the application itself, by a URL without a
    /// host or by `self`: given by `self` and, as in Spin, by the host `*`,
    /// with the scheme http, https or `*`.
    pub fn allows_self(&self) -> bool {
        self.to_self
    }

    /// Whether a request may be chained to this component.
    pub fn allows_chain(&self, component: &str) -> bool {
        match &self.chain {
            Chain::All => true,
            Chain::Named(names) => names
                .iter()
                .any(|name| name.eq_ignore_ascii_case(component)),
        }
    }

    fn add(&mut self, entry: &str, values: &Values) -> Result<(), String> {
        let template = variables::is_template(entry);
        let pattern = if template {
            let text = values.expand(entry)?;
            Pattern::parse(&text)
                .map_err(|problem| format!("{problem} (from {})", quoted(entry)))?
        } else {
            Pattern::parse(entry)?
        };
        self.to_self |= pattern.allows_self();
        if !pattern.host.is_internal() {
            self.patterns.push(pattern);
        } else if !template {
            self.chain.add(&pattern);
        }
        Ok(())
    }
}

impl Chain {
    fn add(&mut self, pattern: &Pattern) {
        match (pattern.chains(), &mut *self) {
            (Some("*"), _) => *self = Chain::All,
            (Some(component), Chain::Named(names)) => names.push(component.to_owned()),
            (Some(_), Chain::All) | (None, _) => {}
        }
    }
}

impl Default for Chain {
    fn default() -> Self {
        Chain::Named(Vec::new())
    }
}

/// What is wrong with the entries before any variable has a value: the syntax
/// of literal entries, and the templates of all others.
pub fn check(entries: &[String], declared: &Variables) -> Vec<String> {
    let check = |entry: &String| {
        if variables::is_template(entry) {
            variables::check_template(entry, declared)
        } else {
            Pattern::parse(entry).map(drop)
        }
    };
    entries
        .iter()
        .filter_map(|entry| check(entry).err())
        .collect()
}

/// Whether a lockfile with these entries has to require chaining: some entry
/// literally names a host under `spin.internal`, or all of them. A template
/// never does, nor does a wildcard that reaches further (`*://*:*`).
pub fn chaining_required(entries: &[String]) -> bool {
    literals(entries).any(|pattern| pattern.host.is_internal())
}

/// The components that the entries name literally as targets of chaining, in
/// lower case; without those that `http://*.spin.internal` covers.
pub fn chaining_targets(entries: &[String]) -> Vec<String> {
    let target = |pattern: Pattern| pattern.chains().map(ToOwned::to_owned);
    literals(entries)
        .filter_map(target)
        .filter(|target| target != "*")
        .collect()
}

/// Sentences about literal entries under `spin.internal` that give nothing.
pub(super) fn idle_chaining_entries(entries: &[String]) -> Vec<String> {
    let idle = |pattern: &Pattern| pattern.host.is_internal() && pattern.chains().is_none();
    let sentence = |pattern: Pattern| {
        format!(
            "{} in allowed_outbound_hosts permits nothing; a component is called as \
             \"http://<component>.{CHAINING_DOMAIN}\"",
            quoted(pattern.written())
        )
    };
    literals(entries).filter(idle).map(sentence).collect()
}

fn literals(entries: &[String]) -> impl Iterator<Item = Pattern> {
    let literal = entries
        .iter()
        .filter(|entry| !variables::is_template(entry));
    literal.filter_map(|entry| Pattern::parse(entry).ok())
}

impl Pattern {
    /// The component that a request may be chained to by this entry, if it is
    /// literal; `*` for all of them.
    fn chains(&self) -> Option<&str> {
        let usual = self.scheme.is("http") && self.port.is(80);
        match &self.host {
            Host::Component(id) if usual => Some(id),
            Host::Components if usual => Some("*"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
