//! A network for pods: a bridge with an address of the host's on it, made by Debian's CNI plugins. It needs neither
//! forwarding nor a rule of the firewall, so the machine's settings stay as they are.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::pack;

/// Numbers the networks of one program.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A bridge; it goes when this is dropped.
pub(crate) struct Network {
    bridge: String,
    block: [u8; 3],
}

impl Network {
    /// Makes one whose name and addresses no other has.
    pub(crate) fn new() -> Result<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let program = std::process::id();
        // 198.18.0.0/15 is for tests of networks (RFC 2544): 512 blocks of 256.
        let block = (program.wrapping_mul(16) + number) % 512;
        let [.., second, third] = block.to_be_bytes();
        let network = Self {
            // At most 15 letters.
            bridge: format!("cat{:x}-{number}", program & 0x00ff_ffff),
            block: [198, 18 + second, third],
        };
        let bridge = network.bridge.as_str();
        let address = format!("{}/24", network.host());
        ip(&["link", "add", bridge, "type", "bridge"])?;
        ip(&["address", "add", &address, "dev", bridge])?;
        ip(&["link", "set", bridge, "up"])?;
        Ok(network)
    }

    /// The host's address.
    pub(crate) fn host(&self) -> Ipv4Addr {
        let [a, b, c] = self.block;
        Ipv4Addr::new(a, b, c, 1)
    }

    /// Writes its description into the folder `cni`. `routes` are what pods reach by way of the host.
    pub(crate) fn describe(&self, cni: &Path, routes: &[&str]) -> Result<()> {
        let [a, b, c] = self.block;
        let routes: Vec<_> = routes.iter().map(|to| json!({"dst": to})).collect();
        let list = json!({
            "cniVersion": "0.4.0",
            "name": self.bridge,
            "plugins": [{
                "type": "bridge",
                "bridge": self.bridge,
                "ipam": {
                    "type": "host-local",
                    "dataDir": cni.join("addresses"),
                    "ranges": [[{"subnet": format!("{a}.{b}.{c}.0/24")}]],
                    "routes": routes,
                },
            }],
        });
        let path = cni.join("10-catena.conflist");
        fs::write(path, list.to_string()).context("describing the network")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(ip(&["link", "delete", &self.bridge]));
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = pack::run(Command::new("ip").args(arguments))?;
    if !output.success {
        bail!("ip {}: {}", arguments.join(" "), output.stderr);
    }
    Ok(())
}
