//! TLS to a server. Who it is is checked against the certificates that this machine trusts, or against those that are given.

use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// Why it cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It will be the same the next time: a person must look.
    #[error("TLS with {host} cannot begin: {why}")]
    Refused { host: String, why: String },
    #[error("TLS with {host} was interrupted")]
    Interrupted { host: String, source: io::Error },
}

/// Protects a connection to `host`.
pub async fn connect(host: &str, tcp: TcpStream, roots: Option<&Arc<RootCertStore>>) -> Result<TlsStream<TcpStream>, Fault> {
    let refused = |why: String| Fault::Refused { host: host.to_string(), why };
    let name = ServerName::try_from(host.to_string()).map_err(|_| refused("the host is no valid name".to_string()))?;
    let provider = Arc::new(default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(error.to_string()))?;
    let config = match roots {
        Some(roots) => builder.with_root_certificates(roots.clone()).with_no_client_auth(),
        None => {
            let verifier = rustls_platform_verifier::Verifier::new(provider).map_err(|error| refused(error.to_string()))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
    };
    match TlsConnector::from(Arc::new(config)).connect(name, tcp).await {
        Ok(stream) => Ok(stream),
        // A certificate that is not trusted will not be in a minute either.
        Err(error) if error.get_ref().is_some_and(|inner| matches!(inner.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))) => {
            Err(refused(error.to_string()))
        }
        Err(source) => Err(Fault::Interrupted { host: host.to_string(), source }),
    }
}

/// Certificates to trust, from PEM; the error says what is wrong with it.
pub fn roots(pem: &str) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("there is no certificate in it".to_string()) } else { Ok(Arc::new(roots)) }
}
