//! Which certificate authorities connections by TLS trust: read once, when the
//! first connection needs them, since that would delay the start of every
//! application.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The authorities in a file of PEM, or the system's where there is none.
#[derive(Debug)]
pub(crate) struct Trust {
    file: Option<File>,
    authorities: OnceLock<Result<Vec<CertificateDer<'static>>, String>>,
}

impl Trust {
    /// Trusts the authorities in `file`.
    pub(crate) fn new(file: Option<File>) -> Self {
        Self {
            file,
            authorities: OnceLock::new(),
        }
    }

    /// The authorities, as far as rustls can read them.
    pub(crate) fn authorities(&self) -> anyhow::Result<&[CertificateDer<'static>]> {
        let read = || self.read().map_err(|error| format!("{error:#}"));
        match self.authorities.get_or_init(read) {
            Ok(found) => Ok(found),
            Err(problem) => Err(anyhow::anyhow!("{problem}")),
        }
    }

    /// The configuration of a client that trusts them.
    pub(crate) fn client(&self) -> anyhow::Result<ClientConfig> {
        client(self.authorities()?)
    }

    /// The authorities as PEM, for clients that know nothing else.
    pub(crate) fn authorities_as_pem(&self) -> anyhow::Result<Vec<u8>> {
        let mut text = String::new();
        for one in self.authorities()? {
            text += "-----BEGIN CERTIFICATE-----\n";
            for line in STANDARD.encode(one).as_bytes().chunks(64) {
                text.extend(line.iter().copied().map(char::from));
                text.push('\n');
            }
            text += "-----END CERTIFICATE-----\n";
        }
        Ok(text.into_bytes())
    }

    /// The text of the file, for clients that read it themselves.
    pub(crate) fn pem(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let pem = self.file.as_ref().map(whole).transpose();
        pem.context("reading the file of certificate authorities")
    }

    /// Speaks TLS on a connection, whose other end has to show a certificate for
    /// `host`.
    ///
    /// # Errors
    /// What is wrong, without the place.
    pub(crate) async fn secure<S>(&self, host: &str, stream: S) -> Result<TlsStream<S>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.client().map_err(|error| format!("{error:#}"))?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(|error| error.to_string())?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        connecting.await.map_err(|error| reason(&error))
    }

    fn read(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let found = match self.pem()? {
            Some(pem) => parse(&pem).context("the file of certificate authorities")?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        // One authority that rustls cannot read does not spoil the rest.
        let readable =
            |one: &CertificateDer<'static>| RootCertStore::empty().add(one.clone()).is_ok();
        Ok(found.into_iter().filter(readable).collect())
    }
}

/// Why there is no connection by TLS, and what would help where that is known.
fn reason(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            format!("{error}: SSL_CERT_FILE names the authorities to trust")
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            format!("what listens there does not speak TLS: {error}")
        }
        _ => error.to_string(),
    }
}

/// The certificates in a text of PEM.
pub(crate) fn parse(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem)
        .map(|one| one.map_err(|error| anyhow::anyhow!("{error}")))
        .collect()
}

/// The configuration of a client that trusts these authorities.
pub(crate) fn client(authorities: &[CertificateDer<'static>]) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// All of a file, whatever was read of it before.
fn whole(file: &File) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut part = [0; 8192];
    loop {
        let read = file.read_at(&mut part, all.len() as u64)?;
        if read == 0 {
            return Ok(all);
        }
        all.extend_from_slice(&part[..read]);
    }
}
