//! Whom connections by TLS trust, and what they show of themselves.

use std::path::Path;

use anyhow::Context as _;
use http::uri::Authority;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::Trust;
use crate::config::ClientTls;

/// What connections are made with that a `[[client_tls]]` section is for.
pub(super) fn special(section: &ClientTls, trust: &Trust) -> anyhow::Result<ClientConfig> {
    let mut store = RootCertStore::empty();
    if section.uses_usual_roots() {
        store.add_parsable_certificates(trust.authorities()?.iter().cloned());
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
