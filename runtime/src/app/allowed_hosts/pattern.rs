//! One entry of `allowed_outbound_hosts`: its grammar, and what it matches.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{CHAINING_DOMAIN, quoted};

/// Ports that need not be written.
const USUAL_PORTS: [(&str, u16); 6] = [
    ("http", 80),
    ("https", 443),
    ("postgres", 5432),
    ("mysql", 3306),
    ("redis", 6379),
    ("mqtt", 1883),
];

/// A parsed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    written: String,
    pub(super) scheme: Scheme,
    pub(super) host: Host,
    pub(super) port: Ports,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scheme {
    Any,
    /// In lower case.
    Named(String),
}

/// Names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// `*`
    Any,
    /// `self`, `self.alt`
    ToSelf,
    /// A name that is no IP address.
    Name(String),
    /// `*.domain`; the domain.
    Below(String),
    Address(IpAddr),
    Block(IpNet),
    /// `<id>.spin.internal`; the id.
    Component(String),
    /// `*.spin.internal`
    Components,
    /// Any other name under `spin.internal`, which is nobody's.
    Nobody,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ports {
    Any,
    /// The first, and the first that is not meant any more.
    Range(u32, u32),
}

/// The host of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'h> {
    /// As written, but without dots at the end.
    Name(&'h str),
    Address(IpAddr),
}

impl Pattern {
    /// Parses an entry that is no template. The error is a sentence.
    pub(super) fn parse(entry: &str) -> Result<Pattern, String> {
        parse(entry.trim())
            .map_err(|reason| format!("the allowed outbound host {} {reason}", quoted(entry)))
    }

    /// The entry as written.
    pub(super) fn written(&self) -> &str {
        &self.written
    }

    pub(super) fn allows(&self, scheme: &str, host: &Target<'_>, port: u16) -> bool {
        self.scheme.allows(scheme) && self.host.allows(host) && self.port.allows(port)
    }

    /// Whether the application may call itself by this entry. The port does
    /// not count: such a request has none, or the application's own.
    pub(super) fn allows_self(&self) -> bool {
        matches!(self.host, Host::Any | Host::ToSelf)
            && (self.scheme.allows("http") || self.scheme.allows("https"))
    }
}

impl Scheme {
    pub(super) fn is(&self, name: &str) -> bool {
        matches!(self, Scheme::Named(own) if own == name)
    }

    pub(super) fn allows(&self, scheme: &str) -> bool {
        match self {
            Scheme::Any => true,
            Scheme::Named(name) => name.eq_ignore_ascii_case(scheme),
        }
    }
}

impl Host {
    /// Whether this is about components rather than real hosts.
    pub(super) fn is_internal(&self) -> bool {
        matches!(self, Host::Component(_) | Host::Components | Host::Nobody)
    }

    pub(super) fn allows(&self, target: &Target<'_>) -> bool {
        match (self, target) {
            (Host::Any, _) => true,
            (Host::Name(name), Target::Name(host)) => name.eq_ignore_ascii_case(host),
            (Host::Below(domain), Target::Name(host)) => is_below(host, domain),
            (Host::Address(own), Target::Address(address)) => own == address,
            (Host::Block(block), Target::Address(address)) => block.contains(address),
            _ => false,
        }
    }
}

impl Ports {
    pub(super) fn is(&self, port: u16) -> bool {
        *self == Ports::one(port)
    }

    fn one(port: u16) -> Ports {
        Ports::Range(port.into(), u32::from(port) + 1)
    }

    fn allows(&self, port: u16) -> bool {
        match *self {
            Ports::Any => true,
            Ports::Range(first, end) => (first..end).contains(&port.into()),
        }
    }
}

impl<'h> Target<'h> {
    pub(super) fn new(host: &'h str) -> Self {
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        match bare.parse::<IpAddr>() {
            Ok(address) => Target::Address(address.to_canonical()),
            Err(_) => Target::Name(host.trim_end_matches('.')),
        }
    }

    /// Whether the name is `spin.internal` or lies under it.
    pub(super) fn is_internal(&self) -> bool {
        match self {
            Target::Name(host) => is_internal(host),
            Target::Address(_) => false,
        }
    }
}

fn is_internal(host: &str) -> bool {
    host.eq_ignore_ascii_case(CHAINING_DOMAIN) || is_below(host, CHAINING_DOMAIN)
}

/// Whether `host` is a name below `domain`, at any depth.
fn is_below(host: &str, domain: &str) -> bool {
    let (host, domain) = (host.as_bytes(), domain.as_bytes());
    match host.len().checked_sub(domain.len() + 1) {
        None | Some(0) => false,
        Some(dot) => host[dot] == b'.' && host[dot + 1..].eq_ignore_ascii_case(domain),
    }
}

type Reason = &'static str;

fn parse(entry: &str) -> Result<Pattern, Reason> {
    let Some((scheme, rest)) = entry.split_once("://") else {
        return Err(match entry {
            "*" | "insecure:allow-all" => {
                "has no scheme; write \"*://*:*\" if every host is meant to be allowed"
            }
            _ => "has no scheme; write it as \"scheme://host\" or \"scheme://host:port\"",
        });
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = split_port(rest)?;
    let scheme = parse_scheme(scheme)?;
    Ok(Pattern {
        written: entry.to_owned(),
        host: parse_host(host)?,
        port: parse_port(port, &scheme)?,
        scheme,
    })
}

/// Splits host and port; an IPv6 address has colons of its own.
fn split_port(rest: &str) -> Result<(&str, Option<&str>), Reason> {
    if rest.contains(['@', '?', '#']) {
        return Err("is more than a scheme, a host and a port; remove what is not");
    }
    let (host, port) = match rest.rfind([':', ']']) {
        Some(at) if rest.as_bytes()[at] == b':' => (&rest[..at], Some(&rest[at + 1..])),
        _ => (rest, None),
    };
    match port {
        Some(port) if port.contains('/') => Err("has a path; remove it"),
        _ => Ok((host, port)),
    }
}

fn parse_scheme(scheme: &str) -> Result<Scheme, Reason> {
    if scheme == "*" {
        Ok(Scheme::Any)
    } else if !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphabetic()) {
        Ok(Scheme::Named(scheme.to_ascii_lowercase()))
    } else {
        Err("has a scheme that is neither letters nor \"*\"; correct it")
    }
}

fn parse_host(host: &str) -> Result<Host, Reason> {
    if host == "*" {
        return Ok(Host::Any);
    }
    if let Some(host) = parse_address(host)? {
        return Ok(host);
    }
    if host.contains('/') {
        return Err("has a path; remove it");
    }
    let name = host.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    if name == "self" || name == "self.alt" {
        return Ok(Host::ToSelf);
    }
    let (below, domain) = match name.strip_prefix("*.") {
        Some(domain) => (true, domain),
        None => (false, name),
    };
    if domain.contains('*') {
        return Err(
            "has a \"*\" inside its host; only the whole host or its first label may be one",
        );
    }
    check_name(domain)?;
    Ok(match (below, domain) {
        (true, CHAINING_DOMAIN) => Host::Components,
        (_, domain) if is_internal(domain) => match domain.split_once('.') {
            Some((id, CHAINING_DOMAIN)) if !below => Host::Component(id.to_owned()),
            _ => Host::Nobody,
        },
        (true, domain) => Host::Below(domain.to_owned()),
        (false, domain) => Host::Name(domain.to_owned()),
    })
}

/// An address or a block, with or without brackets around the address.
fn parse_address(host: &str) -> Result<Option<Host>, Reason> {
    let (address, length) = match host.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (host, None),
    };
    let inner = address
        .strip_prefix('[')
        .and_then(|address| address.strip_suffix(']'));
    let Ok(parsed) = inner.unwrap_or(address).parse::<IpAddr>() else {
        return if host.contains(['[', ']', ':']) {
            Err("has a host that is neither a name nor an IP address; correct it")
        } else {
            Ok(None)
        };
    };
    match length {
        None if parsed.is_ipv6() && inner.is_none() => {
            Err("has an IPv6 address without brackets; write it as \"[::1]\"")
        }
        None => Ok(Some(Host::Address(parsed.to_canonical()))),
        Some(length) => {
            let length = length.parse().map_err(|_| BAD_BLOCK)?;
            let block = IpNet::new(parsed, length).map_err(|_| BAD_BLOCK)?;
            Ok(Some(Host::Block(block.trunc())))
        }
    }
}

const BAD_BLOCK: Reason = "has a block of addresses of no such size; write it as \"10.0.0.0/8\"";

fn check_name(name: &str) -> Result<(), Reason> {
    let usable = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if name.is_empty() {
        Err("has no host; name one")
    } else if !name.is_ascii() {
        Err("has letters outside ASCII in its host; write it as requests do, with \"xn--\"")
    } else if name
        .split('.')
        .any(|label| label.is_empty() || !label.bytes().all(usable))
    {
        Err("has a host that is neither a name nor an IP address; correct it")
    } else {
        Ok(())
    }
}

fn parse_port(port: Option<&str>, scheme: &Scheme) -> Result<Ports, Reason> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u32>().ok().filter(|_| digits).ok_or(BAD_PORT)
    };
    match port {
        Some("*") => Ok(Ports::Any),
        Some(port) => match port.split_once("..") {
            Some((first, end)) => match (number(first)?, number(end)?) {
                (first, end) if 0 < first && first < end && end <= 65536 => {
                    Ok(Ports::Range(first, end))
                }
                _ => Err(
                    "has a range of ports with nothing in it; write it as \"8000..8010\", \
                          which ends with 8009",
                ),
            },
            None => match number(port)? {
                port @ 1..=65535 => Ok(Ports::Range(port, port + 1)),
                _ => Err(BAD_PORT),
            },
        },
        None => match scheme {
            Scheme::Any => Err("needs a port, because its scheme is \"*\"; add one, or \":*\""),
            Scheme::Named(name) => {
                let usual = USUAL_PORTS.iter().find(|(scheme, _)| scheme == name);
                usual
                    .map(|&(_, port)| Ports::one(port))
                    .ok_or("needs a port, because its scheme has no usual one; add one, or \":*\"")
            }
        },
    }
}

const BAD_PORT: Reason = "has a port that is neither a number from 1 to 65535, nor a range, nor \"*\"; \
                          correct it";
