//! Raw sockets, past `wasi:http`.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};

use wasip2::http::types::ResponseOutparam;

use crate::query::Query;
use crate::see::answer;

/// Connects to `address`, says `say`, and answers with what comes back.
pub(crate) fn tcp(out: ResponseOutparam, query: &Query) {
    let exchange = || -> io::Result<String> {
        let mut stream = TcpStream::connect(query.get("address").expect("an address"))?;
        let Some(say) = query.get("say") else {
            return Ok("connected".to_owned());
        };
        stream.write_all(say.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard)?;
        Ok(heard)
    };
    told(out, exchange());
}

/// Sends `say` to `address` in one datagram, and answers with the one that comes back.
pub(crate) fn udp(out: ResponseOutparam, query: &Query) {
    let exchange = || -> io::Result<String> {
        let address = query.get("address").expect("an address");
        let say = query.get("say").unwrap_or_default();
        let to = address.to_socket_addrs()?.find(|address| address.is_ipv4());
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.send_to(say.as_bytes(), to.ok_or(io::ErrorKind::NotFound)?)?;
        let mut heard = [0; 1500];
        let (length, _) = socket.recv_from(&mut heard)?;
        Ok(String::from_utf8_lossy(&heard[..length]).into_owned())
    };
    told(out, exchange());
}

/// Waits for connections at `address`.
pub(crate) fn listen(out: ResponseOutparam, query: &Query) {
    let listener = TcpListener::bind(query.get("address").expect("an address"));
    told(out, listener.map(|_| "listening".to_owned()));
}

fn told(out: ResponseOutparam, result: io::Result<String>) {
    let result = result.map_err(|error| error.to_string());
    answer(out, result.as_deref().map_err(Clone::clone));
}
