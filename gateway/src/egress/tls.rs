//! Whom to trust.
//!
//! The machine's own certificate authorities if it has any, else Mozilla's, compiled in, so that the binary
//! works in an empty container; beside them those that the operator adds. TLS 1.2 and 1.3, with ring. There
//! is no way to turn verification off.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::client::Error;

/// TLS sessions a tenant may resume. Each is a few hundred bytes.
const SESSIONS: usize = 64;

/// What all clients have in common; the command line's among them, which calls a gateway and no endpoint.
///
/// # Errors
/// If `extra_roots` are no certificates.
pub fn config(extra_roots: &[u8]) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(native.certs);
    if added == 0 {
        tracing::info!("this machine has no certificate authorities of its own: using those compiled in");
        roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    }
    for certificate in CertificateDer::pem_slice_iter(extra_roots) {
        let certificate = certificate.map_err(|_| Error::ExtraRoots)?;
        roots.add(certificate).map_err(|_| Error::ExtraRoots)?;
    }
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)
        .map(|builder| {
            let mut config = builder.with_root_certificates(roots).with_no_client_auth();
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            config
        })
}

/// The same trust, with a memory of sessions of its own: a session one tenant began tells an endpoint nothing
/// about another.
pub(super) fn apart(shared: &ClientConfig) -> ClientConfig {
    let mut config = shared.clone();
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    config
}
