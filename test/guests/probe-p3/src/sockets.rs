//! Raw sockets, past `wasi:http`.

use wasip3::http::types::Response;
use wasip3::sockets::ip_name_lookup::resolve_addresses;
use wasip3::sockets::types::{
    IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket,
};

use crate::body;
use crate::query::Query;

/// Looks up `host`, connects to its `port`, and answers whether that went well.
pub(crate) async fn connect(query: &Query) -> Response {
    match connected(query).await {
        Ok(()) => body::text(200, "connected"),
        Err(problem) => body::text(403, &problem),
    }
}

async fn connected(query: &Query) -> Result<(), String> {
    let host = query.get("host").expect("a host");
    let found = resolve_addresses(host.to_owned()).await;
    let found = found.map_err(|code| format!("looking up: {code:?}"))?;
    let mut addresses = found.into_iter().filter_map(|address| match address {
        IpAddress::Ipv4(address) => Some(address),
        IpAddress::Ipv6(_) => None,
    });
    let remote = IpSocketAddress::Ipv4(Ipv4SocketAddress {
        port: u16::try_from(query.number("port", 0)).expect("a port"),
        address: addresses.next().ok_or("no address of version 4")?,
    });
    let socket = TcpSocket::create(IpAddressFamily::Ipv4);
    let socket = socket.map_err(|code| format!("creating: {code:?}"))?;
    let connected = socket.connect(remote).await;
    connected.map_err(|code| format!("connecting: {code:?}"))
}
