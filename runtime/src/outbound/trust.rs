//! Which certificate authorities connections by TLS trust: read once, when the
//! first connection needs them, since that would delay the start of every
//! application.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};

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

    /// The text of the file, for clients that read it themselves.
    pub(crate) fn pem(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let pem = self.file.as_ref().map(whole).transpose();
        pem.context("reading the file of certificate authorities")
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
fn whole(file: &File) -> std::io::Result<Vec<u8>> {
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
