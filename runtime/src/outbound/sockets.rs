//! Raw sockets of guests, `wasi:sockets`: where they may connect and send to.
//!
//! An entry of `allowed_outbound_hosts` with the scheme `tcp`, `udp` or `*`
//! permits them, by address or by name. A socket knows addresses only, so a
//! component may reach an address when an entry has it, or when the component
//! looked up a name that an entry has and the name has this address. Other names
//! are not looked up: who is asked for a name is a network too.
//!
//! Nothing listens: events reach a guest by the application's triggers.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsCtx};

use super::Network;

/// How many addresses of names a component's sockets know at once; the oldest
/// give way.
const MAX_KNOWN: usize = 256;

/// How many names a component looks up at the same time; more wait.
const MAX_LOOKUPS: usize = 8;

/// The longest name, in bytes (RFC 1035, 2.3.4).
const MAX_NAME: usize = 253;

/// The raw sockets of one component.
pub(crate) struct Sockets {
    network: Network,
    /// Addresses, and the names that they were found by.
    known: Mutex<VecDeque<(IpAddr, String)>>,
    lookups: Arc<Semaphore>,
}

/// Why a name has no address for a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LookupError {
    /// It is no name.
    Invalid,
    /// The component may not reach it.
    Denied,
    /// Nobody knows it.
    Unknown,
}

impl Sockets {
    /// The sockets of a component in this network.
    pub(crate) fn new(network: Network) -> Self {
        Self {
            network,
            known: Mutex::default(),
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)),
        }
    }

    /// What wasmtime's sockets ask; none where nothing is allowed.
    pub(crate) fn context(self: &Arc<Self>) -> Option<WasiSocketsCtx> {
        let allowed = self.network.allowed();
        let (tcp, udp) = (allowed.allows_sockets("tcp"), allowed.allows_sockets("udp"));
        if !tcp && !udp {
            return None;
        }
        let sockets = Arc::clone(self);
        let mut wasi = WasiCtx::builder();
        wasi.allow_tcp(tcp)
            .allow_udp(udp)
            .socket_addr_check(move |address, purpose| {
                Box::pin(std::future::ready(sockets.permits(address, purpose)))
            });
        Some(wasi.build().sockets().clone())
    }

    fn permits(&self, address: SocketAddr, purpose: SocketAddrUse) -> bool {
        match purpose {
            // What connects or sends is bound first, by the system's choice.
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
                address.ip().is_unspecified() && address.port() == 0
            }
            SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => false,
            SocketAddrUse::TcpConnect => self.reaches("tcp", address, true),
            SocketAddrUse::UdpSend => self.reaches("udp", address, true),
            // Strangers may send as much as they like; the log is not theirs.
            SocketAddrUse::UdpReceive => self.reaches("udp", address, false),
        }
    }

    fn reaches(&self, scheme: &str, address: SocketAddr, told: bool) -> bool {
        let (ip, port) = (address.ip().to_canonical(), address.port());
        let place = SocketAddr::new(ip, port);
        if self.network.blocks(ip) {
            if told {
                tracing::warn!("a socket to {place} was denied: its network is blocked");
            }
            return false;
        }
        let allowed = self.network.allowed();
        if allowed.allows(scheme, &ip.to_string(), port) {
            return true;
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names = known.iter().filter(|(known, _)| *known == ip);
        let reaches = names.any(|(_, name)| allowed.allows(scheme, name, port));
        if !reaches && told {
            let entry = format!("{scheme}://{place}");
            tracing::warn!(
                "a socket to {place} was denied: add {entry:?} to the component's \
                 allowed_outbound_hosts to allow it"
            );
        }
        reaches
    }

    /// The addresses of a name, without those in blocked networks; sockets may
    /// reach them from now on as they may reach the name. An address is itself.
    ///
    /// # Errors
    /// When the component may not reach the name, or nobody knows it.
    pub(crate) async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        let bare = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(name);
        if let Ok(address) = bare.parse() {
            return Ok(vec![address]);
        }
        if name.is_empty() || name.len() > MAX_NAME || !name.is_ascii() {
            return Err(LookupError::Invalid);
        }
        if !self.network.allowed().allows_lookup(name) {
            let entry = format!("tcp://{name}:*");
            tracing::warn!(
                "a lookup of {name:?} for a socket was denied: add {entry:?} to the component's \
                 allowed_outbound_hosts to allow it"
            );
            return Err(LookupError::Denied);
        }
        let turn = Arc::clone(&self.lookups).acquire_owned().await;
        let asked = name.to_owned();
        // The system's lookup cannot be stopped: its turn ends with it, not with who asked.
        let looked_up = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            (asked.as_str(), 0).to_socket_addrs()
        });
        let found = looked_up.await.map_err(std::io::Error::other);
        let found = found.and_then(|found| found).map_err(|error| {
            tracing::debug!("looking up {name}: {error}");
            LookupError::Unknown
        })?;
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in found.map(|address| address.ip().to_canonical()) {
            if !addresses.contains(&address) && !self.network.blocks(address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            tracing::warn!("a lookup of {name:?} for a socket was denied: its network is blocked");
            return Err(LookupError::Denied);
        }
        self.remember(name, &addresses);
        Ok(addresses)
    }

    fn remember(&self, name: &str, addresses: &[IpAddr]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(address, by)| by != name || !addresses.contains(address));
        known.extend(addresses.iter().map(|address| (*address, name.to_owned())));
        let excess = known.len().saturating_sub(MAX_KNOWN);
        known.drain(..excess);
    }
}

#[cfg(test)]
mod tests;
