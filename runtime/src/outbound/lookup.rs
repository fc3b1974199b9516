//! Looks up the names of real hosts for the HTTP client, and leaves out
//! addresses in blocked networks.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use super::BlockedNetworks;

/// Gives the addresses that a connection may be made to.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) blocked: Arc<BlockedNetworks>,
}

impl Service<Name> for Lookup {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let blocked = Arc::clone(&self.blocked);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            let allowed = found.iter().copied();
            let allowed: Vec<SocketAddr> = allowed
                .filter(|address| !blocked.contains(address.ip()))
                .collect();
            if allowed.is_empty() && !found.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!("the network of {} is not permitted", name.as_str()),
                ));
            }
            Ok(allowed.into_iter())
        })
    }
}
