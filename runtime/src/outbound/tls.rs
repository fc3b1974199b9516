//! Whom connections by TLS trust, and what they show of themselves.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use http::uri::Authority;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::ClientTls;

/// The certificate authorities that are trusted where nothing else is said.
/// They are read when they are first needed: that would delay the start of
/// every application.
#[derive(Debug)]
pub(crate) struct Roots {
    /// PEM; the system's where there is none.
    file: Option<File>,
    store: OnceLock<Result<Arc<RootCertStore>, String>>,
}

impl Roots {
    pub(crate) fn new(file: Option<File>) -> Self {
        Self {
            file,
            store: OnceLock::new(),
        }
    }

    fn store(&self) -> anyhow::Result<Arc<RootCertStore>> {
        let read = || match read_roots(self.file.as_ref()) {
            Ok(store) => Ok(Arc::new(store)),
            Err(error) => Err(format!("{error:#}")),
        };
        let store = self.store.get_or_init(read);
        store.clone().map_err(anyhow::Error::msg)
    }
}

/// What connections are made with that no section is for.
pub(super) fn usual(roots: &Roots) -> anyhow::Result<ClientConfig> {
    Ok(versions()?
        .with_root_certificates(roots.store()?)
        .with_no_client_auth())
}

/// What connections are made with that a `[[client_tls]]` section is for.
pub(super) fn special(section: &ClientTls, roots: &Roots) -> anyhow::Result<ClientConfig> {
    let mut store = RootCertStore::empty();
    if section.uses_usual_roots() {
        store.roots.extend(roots.store()?.roots.iter().cloned());
    }
    if let Some(path) = &section.ca_roots_file {
        for certificate in certificates(path)? {
            let added = store.add(certificate);
            added.with_context(|| format!("reading {}", path.display()))?;
        }
    }
    let builder = versions()?.with_root_certificates(store);
    match (&section.client_cert_file, &section.client_private_key_file) {
        (Some(chain), Some(key)) => {
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| anyhow::anyhow!("reading {}: {error}", key.display()))?;
            let config = builder.with_client_auth_cert(certificates(chain)?, private);
            config.with_context(|| format!("taking the certificate {}", chain.display()))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// Whether a section is for requests of a component to this place.
pub(super) fn is_for(section: &ClientTls, component: &str, authority: &Authority) -> bool {
    let own = section.component_ids.iter().any(|id| id == component);
    own && section.hosts.iter().any(|host| {
        host.eq_ignore_ascii_case(authority.host())
            || host.eq_ignore_ascii_case(&format!(
                "{}:{}",
                authority.host(),
                authority.port_u16().unwrap_or(443)
            ))
    })
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

fn versions() -> anyhow::Result<Builder> {
    let provider = rustls::crypto::ring::default_provider();
    let builder = ClientConfig::builder_with_provider(provider.into());
    Ok(builder.with_safe_default_protocol_versions()?)
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let wrong = |error| anyhow::anyhow!("reading {}: {error}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(wrong)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(wrong)?;
    anyhow::ensure!(!found.is_empty(), "{} holds no certificate", path.display());
    Ok(found)
}

fn read_roots(file: Option<&File>) -> anyhow::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    match file {
        Some(mut file) => {
            let mut pem = Vec::new();
            file.read_to_end(&mut pem)
                .context("reading the file of certificate authorities")?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| {
                    anyhow::anyhow!("the file of certificate authorities: {error}")
                })?;
                // One authority that rustls cannot read does not spoil the rest.
                store.add_parsable_certificates([certificate]);
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
        }
    }
    Ok(store)
}
