use super::*;
use crate::app::allowed_hosts::AllowedHosts;
use crate::app::variables::Values;
use crate::outbound::BlockedNetworks;

fn sockets(entries: &[&str], blocked: &[&str]) -> Arc<Sockets> {
    let owned = |entries: &[&str]| -> Vec<String> {
        entries.iter().map(|entry| (*entry).to_owned()).collect()
    };
    let allowed = AllowedHosts::parse(&owned(entries), &Values::default()).unwrap();
    let blocked = BlockedNetworks::parse(&owned(blocked)).unwrap();
    Arc::new(Sockets::new(Network::new(
        Arc::new(allowed),
        Arc::new(blocked),
    )))
}

fn permits(sockets: &Sockets, address: &str, purpose: SocketAddrUse) -> bool {
    sockets.permits(address.parse().unwrap(), purpose)
}

#[test]
fn only_entries_of_sockets_allow_them() {
    assert!(sockets(&[], &[]).context().is_none());
    assert!(sockets(&["http://10.0.0.1:80"], &[]).context().is_none());
    assert!(
        sockets(&["http://b.spin.internal"], &[])
            .context()
            .is_none()
    );
    assert!(sockets(&["udp://10.0.0.1:53"], &[]).context().is_some());
    let tcp = sockets(&["tcp://10.0.0.0/8:5432"], &[]);
    assert!(permits(&tcp, "10.1.2.3:5432", SocketAddrUse::TcpConnect));
    assert!(permits(
        &tcp,
        "[::ffff:10.1.2.3]:5432",
        SocketAddrUse::TcpConnect
    ));
    assert!(!permits(&tcp, "10.1.2.3:5433", SocketAddrUse::TcpConnect));
    assert!(!permits(&tcp, "11.1.2.3:5432", SocketAddrUse::TcpConnect));
    assert!(!permits(&tcp, "10.1.2.3:5432", SocketAddrUse::UdpSend));
    assert!(!permits(&tcp, "10.1.2.3:5432", SocketAddrUse::UdpReceive));
}

#[test]
fn nothing_listens() {
    let all = sockets(&["*://*:*"], &[]);
    assert!(permits(&all, "0.0.0.0:0", SocketAddrUse::TcpBind));
    assert!(permits(&all, "[::]:0", SocketAddrUse::UdpBind));
    assert!(!permits(&all, "0.0.0.0:80", SocketAddrUse::TcpBind));
    assert!(!permits(&all, "127.0.0.1:0", SocketAddrUse::UdpBind));
    assert!(!permits(&all, "0.0.0.0:40000", SocketAddrUse::TcpListen));
    assert!(!permits(&all, "192.0.2.1:40000", SocketAddrUse::TcpAccept));
    assert!(permits(&all, "192.0.2.1:40000", SocketAddrUse::TcpConnect));
}

#[test]
fn a_blocked_network_is_out_of_reach() {
    let all = sockets(&["*://*:*"], &["192.0.2.0/24"]);
    assert!(!permits(&all, "192.0.2.1:53", SocketAddrUse::UdpSend));
    assert!(permits(&all, "198.51.100.1:53", SocketAddrUse::UdpSend));
}

#[tokio::test]
async fn a_name_counts_for_its_addresses_once_it_was_looked_up() {
    let named = sockets(&["tcp://localhost:7000", "tcp://db.spin.internal:1"], &[]);
    assert!(!permits(
        &named,
        "127.0.0.1:7000",
        SocketAddrUse::TcpConnect
    ));
    assert!(
        named
            .look_up("LOCALHOST")
            .await
            .unwrap()
            .contains(&[127, 0, 0, 1].into())
    );
    assert!(permits(&named, "127.0.0.1:7000", SocketAddrUse::TcpConnect));
    assert!(!permits(
        &named,
        "127.0.0.1:7001",
        SocketAddrUse::TcpConnect
    ));
    for denied in ["other.example", "spin.internal", "db.spin.internal"] {
        assert_eq!(
            named.look_up(denied).await,
            Err(LookupError::Denied),
            "{denied}"
        );
    }
    assert_eq!(named.look_up("").await, Err(LookupError::Invalid));
    assert_eq!(
        named.look_up("192.0.2.1").await,
        Ok(vec![[192, 0, 2, 1].into()])
    );
    assert!(!permits(
        &named,
        "192.0.2.1:7000",
        SocketAddrUse::TcpConnect
    ));
}

#[tokio::test]
async fn the_addresses_of_a_name_may_be_blocked() {
    let named = sockets(&["*://localhost:*"], &["private"]);
    assert_eq!(named.look_up("localhost").await, Err(LookupError::Denied));
}

#[test]
fn what_is_known_is_bounded() {
    let all = sockets(&["tcp://*.example:*"], &[]);
    for number in 0..2 * MAX_KNOWN {
        let [.., high, low] = number.to_be_bytes();
        all.remember("a.example", &[[10, 0, high, low].into()]);
    }
    assert_eq!(all.known.lock().unwrap().len(), MAX_KNOWN);
    assert!(permits(&all, "10.0.1.255:1", SocketAddrUse::TcpConnect));
    assert!(!permits(&all, "10.0.0.1:1", SocketAddrUse::TcpConnect));
}
