//! The clients of the HTTP benches: one thread, plain sockets, keep-alive, one request at a time a connection.
//!
//! It does less for a request than any HTTP library, because it shares two cores with what it measures. It
//! still reads every response to its end, and anything but a 200 ends the bench: a server that fails fast must
//! not win.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Long enough for the slowest guest: who takes longer hangs.
const PATIENCE: u16 = 10_000;

/// Open connections to one server, which all send the same request.
pub(crate) struct Load {
    epoll: Epoll,
    connections: Vec<Connection>,
    request: Vec<u8>,
}

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    /// Responses read to their end.
    pub(crate) requests: u64,
    /// Responses per second.
    pub(crate) per_second: f64,
    /// The median time from a request's first byte to its response's last, in microseconds.
    pub(crate) p50: f64,
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    sent_at: Instant,
}

/// When a run ends.
#[derive(Clone, Copy)]
enum Until {
    Time(Instant),
    Requests(u64),
}

impl Load {
    /// Connects `connections` times.
    pub(crate) fn connect(address: SocketAddr, path: &str, connections: usize) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut load = Self {
            epoll,
            connections: Vec::new(),
            request: format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes(),
        };
        for number in 0..connections {
            let stream =
                TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, number as u64);
            load.epoll.add(&stream, event)?;
            load.connections.push(Connection {
                stream,
                received: Vec::with_capacity(4096),
                sent_at: Instant::now(),
            });
        }
        Ok(load)
    }

    /// Sends requests for this long, on all connections at once.
    pub(crate) fn run(&mut self, duration: Duration) -> Result<Served> {
        self.until(Until::Time(Instant::now() + duration))
    }

    /// Sends this many requests.
    pub(crate) fn requests(&mut self, count: u64) -> Result<Served> {
        self.until(Until::Requests(count))
    }

    fn until(&mut self, until: Until) -> Result<Served> {
        let mut latencies: Vec<u32> = Vec::with_capacity(1 << 18);
        let started = Instant::now();
        let mut sent = 0;
        for connection in &mut self.connections {
            connection.send(&self.request, started)?;
            sent += 1;
        }
        let mut under_way = self.connections.len();
        let mut events = [EpollEvent::empty(); 64];
        while under_way > 0 {
            let ready = self.epoll.wait(&mut events, EpollTimeout::from(PATIENCE))?;
            if ready == 0 {
                bail!("no response within {} s", PATIENCE / 1000);
            }
            for event in &events[..ready] {
                let connection = &mut self.connections[event.data() as usize];
                if !connection.receive()? {
                    continue;
                }
                let now = Instant::now();
                let latency = now.duration_since(connection.sent_at).as_nanos();
                latencies.push(u32::try_from(latency).unwrap_or(u32::MAX));
                let ended = match until {
                    Until::Time(end) => now >= end,
                    Until::Requests(count) => sent >= count,
                };
                if ended {
                    under_way -= 1;
                } else {
                    connection.send(&self.request, now)?;
                    sent += 1;
                }
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        let middle = latencies.len() / 2;
        let p50 = *latencies.select_nth_unstable(middle).1;
        Ok(Served {
            requests: latencies.len() as u64,
            per_second: latencies.len() as f64 / seconds,
            p50: f64::from(p50) / 1000.0,
        })
    }
}

impl Connection {
    fn send(&mut self, request: &[u8], now: Instant) -> Result<()> {
        self.sent_at = now;
        // A request is far smaller than an idle socket's buffer.
        self.stream.write_all(request).context("sending a request")
    }

    /// Reads what is there; whether that completes the response.
    fn receive(&mut self) -> Result<bool> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => bail!("the server closed the connection after {:?}", self.text()),
            Ok(count) => self.received.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("reading a response"),
        }
        let Some(head) = find(&self.received, b"\r\n\r\n") else {
            return Ok(false);
        };
        if !self.received.starts_with(b"HTTP/1.1 200") {
            bail!("the server answered {:?}", self.text());
        }
        let body = &self.received[head + 4..];
        let complete = match content_length(&self.received[..head]) {
            Some(length) => body.len() >= length,
            None => body.ends_with(b"0\r\n\r\n"),
        };
        if complete {
            self.received.clear();
        }
        Ok(complete)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// The length that a head declares; without one, the body is chunked.
fn content_length(head: &[u8]) -> Option<usize> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let name = line.get(..15)?;
        if !name.eq_ignore_ascii_case(b"content-length:") {
            return None;
        }
        std::str::from_utf8(&line[15..]).ok()?.trim().parse().ok()
    })
}
