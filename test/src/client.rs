//! An HTTP client that shows everything: one connection, HTTP/1.1 or HTTP/2 without TLS, bodies chunk by
//! chunk, and raw bytes for what no client sends.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context as Polling, Poll};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::output::PATIENCE;

/// A request's body, fed while it is under way.
pub struct Upload {
    chunks: mpsc::Receiver<Bytes>,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Polling<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.chunks.poll_recv(cx);
        next.map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_closed() && self.chunks.is_empty()
    }
}

enum Sender {
    Http1(http1::SendRequest<Upload>),
    Http2(http2::SendRequest<Upload>),
}

/// A connection. It is closed when this is dropped.
pub struct Client {
    sender: Sender,
    authority: String,
    tasks: JoinSet<()>,
}

impl Client {
    /// Connects with HTTP/1.1.
    pub async fn http1(address: SocketAddr) -> Result<Self> {
        let io = TokioIo::new(connect(address).await?);
        let (sender, connection) = http1::handshake(io).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        Ok(Self {
            sender: Sender::Http1(sender),
            authority: address.to_string(),
            tasks,
        })
    }

    /// Connects with HTTP/2, knowing that the server has it.
    pub async fn http2(address: SocketAddr) -> Result<Self> {
        let io = TokioIo::new(connect(address).await?);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        Ok(Self {
            sender: Sender::Http2(sender),
            authority: address.to_string(),
            tasks,
        })
    }

    /// Says that the server's name is this: `Host`, or `:authority`.
    pub fn as_host(mut self, authority: &str) -> Self {
        authority.clone_into(&mut self.authority);
        self
    }

    /// A `GET`, to the end.
    pub async fn get(&mut self, path: &str) -> Result<Response> {
        self.request(Method::GET, path, &[]).await?.response().await
    }

    /// A `GET` with headers, to the end.
    pub async fn get_with(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
        let exchange = self.request(Method::GET, path, headers).await?;
        exchange.response().await
    }

    /// A `POST` of `body`, to the end.
    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Result<Response> {
        let mut exchange = self.request(Method::POST, path, &[]).await?;
        exchange.send(body).await?;
        exchange.response().await
    }

    /// Starts an exchange. A `GET` has no body; any other has one that is still open.
    pub async fn request(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Exchange> {
        let (upload, chunks) = mpsc::channel(1);
        let has_body = method != Method::GET;
        let http2 = matches!(self.sender, Sender::Http2(_));
        let uri = if http2 {
            format!("http://{}{path}", self.authority)
        } else {
            path.to_owned()
        };
        let mut request = Request::builder().method(method).uri(uri);
        if !http2 && !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", &self.authority);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Upload { chunks })?;
        if http2 {
            *request.version_mut() = Version::HTTP_2;
        }
        // A sender that is gone is a body that has ended.
        let upload = has_body.then_some(upload);
        let (head, answer) = tokio::sync::oneshot::channel();
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await.context("the connection is closed")?;
                let response = sender.send_request(request);
                self.tasks
                    .spawn(async move { drop(head.send(response.await)) });
            }
            Sender::Http2(sender) => {
                sender.ready().await.context("the connection is closed")?;
                let response = sender.send_request(request);
                self.tasks
                    .spawn(async move { drop(head.send(response.await)) });
            }
        }
        Ok(Exchange {
            upload,
            answer: Some(answer),
            response: None,
        })
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

type Answer = tokio::sync::oneshot::Receiver<hyper::Result<http::Response<Incoming>>>;

/// A request and its response, both perhaps still under way. A client that goes away drops this and its
/// [`Client`].
pub struct Exchange {
    upload: Option<mpsc::Sender<Bytes>>,
    answer: Option<Answer>,
    response: Option<http::Response<Incoming>>,
}

impl Exchange {
    /// Sends a chunk of the body.
    pub async fn send(&mut self, chunk: impl Into<Bytes>) -> Result<()> {
        let upload = self.upload.as_ref().context("the body has ended")?;
        let sent = timeout(PATIENCE, upload.send(chunk.into())).await;
        sent.context("the server does not read")?
            .map_err(|_| anyhow!("the server has stopped reading"))
    }

    /// Ends the request's body.
    pub fn finish(&mut self) {
        self.upload = None;
    }

    /// Waits for the head of the response.
    pub async fn head(&mut self) -> Result<&http::Response<Incoming>> {
        if let Some(answer) = self.answer.take() {
            let answer = timeout(PATIENCE, answer).await.context("no head came")?;
            self.response = Some(answer.context("the connection is closed")??);
        }
        self.response.as_ref().context("the head did not come")
    }

    /// The next bytes of the response; `None` at its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        self.head().await?;
        let response = self.response.as_mut().context("the head did not come")?;
        loop {
            let frame = timeout(PATIENCE, response.body_mut().frame())
                .await
                .context("no byte came")?;
            match frame {
                None => return Ok(None),
                Some(frame) => {
                    // An end may come as a frame with nothing in it.
                    let data = frame?.into_data().unwrap_or_default();
                    if !data.is_empty() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Waits until exactly this text has come. It may come in pieces.
    pub async fn expect(&mut self, text: &str) -> Result<()> {
        let mut seen = Vec::new();
        while seen.len() < text.len() {
            match self.next().await? {
                Some(bytes) => seen.extend_from_slice(&bytes),
                None => break,
            }
        }
        if seen != text.as_bytes() {
            bail!(
                "expected {text:?}, and {:?} came",
                String::from_utf8_lossy(&seen)
            );
        }
        Ok(())
    }

    /// The whole response.
    pub async fn response(mut self) -> Result<Response> {
        self.finish();
        self.head().await?;
        let response = self.response.take().context("the head did not come")?;
        let (head, body) = response.into_parts();
        let body = timeout(PATIENCE, body.collect())
            .await
            .context("the body did not end")?
            .map_err(|error| anyhow!("the body broke off: {error}"))?;
        Ok(Response {
            status: head.status,
            headers: head.headers,
            trailers: body.trailers().cloned().unwrap_or_default(),
            body: body.to_bytes(),
        })
    }
}

/// A whole response.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its trailers.
    pub trailers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| {
            format!(
                "{} with a body that is no JSON: {:?}",
                self.status,
                self.text()
            )
        })
    }

    /// A header, or the empty text.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }

    /// What the probe says the guest saw of the request's header `name`, every time it saw it.
    pub fn seen(&self, name: &str) -> Result<Vec<String>> {
        let report = self.json()?;
        let headers = report["headers"].as_array().context("no headers")?;
        let same = headers.iter().filter(|pair| {
            pair[0]
                .as_str()
                .is_some_and(|n| n.eq_ignore_ascii_case(name))
        });
        Ok(same
            .filter_map(|pair| pair[1].as_str().map(str::to_owned))
            .collect())
    }
}

/// Sends bytes as they are and reads until the server closes, or `PATIENCE` is over.
pub async fn raw(address: SocketAddr, request: &[u8]) -> Result<String> {
    let mut stream = connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    match timeout(PATIENCE, stream.read_to_end(&mut answer)).await {
        // A server that closes while bytes are under way may reset: what came counts.
        Ok(_) => Ok(String::from_utf8_lossy(&answer).into_owned()),
        Err(_) => bail!(
            "the server kept the connection open; it answered {:?}",
            String::from_utf8_lossy(&answer)
        ),
    }
}

/// A text as a value in a query.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'/' | b':' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
