//! Where a component may connect, for clients of protocols other than HTTP, and
//! the networks that no component may reach.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::app::allowed_hosts::AllowedHosts;
use crate::config::read_block;

/// Networks that no component may reach, whatever its lockfile allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockedNetworks {
    blocks: Vec<IpNet>,
    private: bool,
}

impl BlockedNetworks {
    /// Reads `[outbound_networking] block_networks`.
    ///
    /// # Errors
    /// One sentence for each entry that is wrong.
    pub(crate) fn parse(entries: &[String]) -> Result<Self, Vec<String>> {
        let mut blocked = Self::default();
        let mut problems = Vec::new();
        for entry in entries {
            match read_block(entry) {
                Ok(Some(block)) => blocked.blocks.push(block),
                Ok(None) => blocked.private = true,
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            Ok(blocked)
        } else {
            Err(problems)
        }
    }

    /// Whether an address lies in such a network, or leads into one through a
    /// translator.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let behind = behind_translator(address).map(IpAddr::V4);
        [Some(address), behind].into_iter().flatten().any(|place| {
            (self.private && !is_public(place))
                || self.blocks.iter().any(|block| block.contains(&place))
        })
    }
}

/// The address of version 4 that one of version 6 leads to, by NAT64 (RFC 6052,
/// 2.1) or by 6to4 (RFC 3056, 2).
fn behind_translator(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else {
        return None;
    };
    match address.octets() {
        [0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, v4 @ ..] => Some(v4.into()),
        [0x20, 0x02, a, b, c, d, ..] => Some([a, b, c, d].into()),
        _ => None,
    }
}

/// Whether an address can be that of a host on the Internet (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_documentation()
                || v4.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b)))
        }
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            !(v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || (first == 0x2001 && v6.segments()[1] == 0x0db8))
        }
    }
}

/// Where one component may connect.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    allowed: Arc<AllowedHosts>,
    blocked: Arc<BlockedNetworks>,
}

/// Why a component may not connect. It is told no more than this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address {0} is not permitted")]
pub(crate) struct Denied(pub(crate) String);

impl Network {
    /// The network of a component that may reach `allowed`.
    pub(crate) fn new(allowed: Arc<AllowedHosts>, blocked: Arc<BlockedNetworks>) -> Self {
        Self { allowed, blocked }
    }

    /// Whether the component may connect to a host. Addresses are checked by
    /// [`Network::resolve`].
    ///
    /// # Errors
    /// When it may not, which is logged with what to allow.
    pub(crate) fn check(&self, scheme: &str, host: &str, port: u16) -> Result<(), Denied> {
        if self.allowed.allows(scheme, host, port) {
            return Ok(());
        }
        let place = format!("{scheme}://{host}:{port}");
        tracing::warn!(
            "a connection to {place} was denied: add {place:?} to the component's \
             allowed_outbound_hosts to allow it"
        );
        Err(Denied(place))
    }

    /// The hosts that the component may connect to, whatever their addresses.
    pub(super) fn allowed(&self) -> &AllowedHosts {
        &self.allowed
    }

    /// Whether the address lies in a network that nobody may reach.
    pub(super) fn blocks(&self, address: IpAddr) -> bool {
        self.blocked.contains(address)
    }

    /// The addresses of a host that [`Network::check`] allowed, without those in
    /// blocked networks. Connect to these, and do not look the name up again.
    ///
    /// # Errors
    /// When the name has no address, or only blocked ones.
    pub(crate) async fn resolve(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found: Vec<SocketAddr> = tokio::net::lookup_host((bare, port)).await?.collect();
        let allowed = found.iter().copied();
        let allowed: Vec<SocketAddr> = allowed
            .filter(|address| !self.blocked.contains(address.ip()))
            .collect();
        if allowed.is_empty() && !found.is_empty() {
            tracing::warn!("a connection to {host}:{port} was denied: its network is blocked");
            return Err(std::io::Error::new(
                std::io::ErrorKind::PermissionDenied,
                format!("the network of {host} is not permitted"),
            ));
        }
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked(entries: &[&str]) -> BlockedNetworks {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        BlockedNetworks::parse(&entries).unwrap()
    }

    #[test]
    fn blocks_addresses_and_private_are_understood() {
        let blocked = blocked(&["192.0.2.0/24", "2001:db8:1::1", "private"]);
        for inside in [
            "192.0.2.7",
            "2001:db8:1::1",
            "10.1.2.3",
            "127.0.0.1",
            "::1",
            "fe80::1",
        ] {
            assert!(blocked.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["8.8.8.8", "2606:4700::1111"] {
            assert!(!blocked.contains(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn an_address_of_version_4_is_itself_in_version_6() {
        let blocked = blocked(&["10.0.0.0/8"]);
        assert!(blocked.contains("::ffff:10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_translator_leads_nowhere_else() {
        for blocked in [blocked(&["10.0.0.0/8"]), blocked(&["private"])] {
            for inside in ["64:ff9b::10.0.0.1", "2002:a00:1::1"] {
                assert!(blocked.contains(inside.parse().unwrap()), "{inside}");
            }
            for outside in ["64:ff9b::8.8.8.8", "2002:808:808::1"] {
                assert!(!blocked.contains(outside.parse().unwrap()), "{outside}");
            }
        }
    }

    #[test]
    fn every_bad_entry_is_named() {
        let entries = ["10.0.0.0/64".to_owned(), "Private".to_owned()];
        assert_eq!(BlockedNetworks::parse(&entries).unwrap_err().len(), 2);
    }
}
