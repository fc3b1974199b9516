//! Servers that are not catena: what guests call when they leave the app.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::pack;

/// What a server has seen.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

/// A server on a port of its own. Its paths: `/never` never answers, `/slow` answers after a second,
/// `/echo` answers with the request's body, and any other with the headers that came, a line each.
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

impl Upstream {
    /// A server of plain HTTP.
    pub async fn start() -> Result<Self> {
        Self::serve(None).await
    }

    /// A server of HTTPS that shows the certificate of `authority` for `localhost`.
    pub async fn start_tls(authority: &Authority) -> Result<Self> {
        Self::serve(Some(authority.acceptor()?)).await
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, tls, Arc::clone(&seen)));
        Ok(Self {
            address,
            seen,
            _tasks: tasks,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// How many requests have reached it.
    pub fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, seen: Arc<Seen>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        seen.connections.fetch_add(1, Ordering::SeqCst);
        let (tls, seen) = (tls.clone(), Arc::clone(&seen));
        connections.spawn(async move {
            // A connection that fails is the client's to tell.
            drop(serve_one(stream, tls, seen).await);
        });
    }
}

async fn serve_one(stream: TcpStream, tls: Option<TlsAcceptor>, seen: Arc<Seen>) -> Result<()> {
    let service = service_fn(move |request| {
        let seen = Arc::clone(&seen);
        async move {
            seen.requests.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Infallible>(answer(request).await)
        }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    let served = match tls {
        Some(tls) => {
            let stream = tls.accept(stream).await?;
            server.serve_connection(TokioIo::new(stream), service).await
        }
        None => server.serve_connection(TokioIo::new(stream), service).await,
    };
    served.map_err(|error| anyhow::anyhow!(error))
}

async fn answer(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let body = match request.uri().path() {
        "/never" => std::future::pending().await,
        "/slow" => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Bytes::from_static(b"at last\n")
        }
        "/echo" => match request.into_body().collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => Bytes::from_static(b"the upload broke off\n"),
        },
        _ => {
            let mut lines = format!("{} {}\n", request.method(), request.uri());
            for (name, value) in request.headers() {
                lines.push_str(&format!(
                    "{name}: {}\n",
                    String::from_utf8_lossy(value.as_bytes())
                ));
            }
            Bytes::from(lines)
        }
    };
    Response::new(Full::new(body))
}

/// An address at which nobody listens.
pub async fn nobody() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    Ok(listener.local_addr()?)
}

/// A certificate authority of the test's own, and a certificate of it for `localhost`.
pub struct Authority {
    folder: TempDir,
}

impl Authority {
    /// Makes it with `openssl`.
    pub fn create() -> Result<Self> {
        let folder = TempDir::new()?;
        std::fs::write(
            folder.path().join("leaf.ext"),
            "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n",
        )?;
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        for arguments in [
            format!("req -x509 {key} -days 2 -subj /CN=catena-test -keyout ca.key -out ca.pem"),
            format!("req -new {key} -subj /CN=localhost -keyout leaf.key -out leaf.csr"),
            "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
             -extfile leaf.ext -out leaf.pem"
                .to_owned(),
        ] {
            let output = pack::run(
                Command::new("openssl")
                    .args(arguments.split_whitespace())
                    .current_dir(folder.path()),
            )?;
            if !output.success {
                bail!("openssl {arguments}:\n{}", output.stderr);
            }
        }
        Ok(Self { folder })
    }

    /// The root that a client has to trust.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The certificate for `localhost`, and its key.
    pub fn leaf(&self) -> (PathBuf, PathBuf) {
        let path = |name| self.folder.path().join(name);
        (path("leaf.pem"), path("leaf.key"))
    }

    fn acceptor(&self) -> Result<TlsAcceptor> {
        let (chain, key) = self.leaf();
        let chain = vec![CertificateDer::from_pem_file(chain).context("leaf.pem")?];
        let key = PrivateKeyDer::from_pem_file(key).context("leaf.key")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
