//! The listener's certificate, for STARTTLS.

use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate with its key, ready to greet; cheap to clone.
#[derive(Clone)]
pub struct ServerTls(pub(super) TlsAcceptor);

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the file {0} of `inbound` cannot be read")]
    File(String, #[source] std::io::Error),
    #[error("`inbound.certificate` holds no certificate in PEM: {0}")]
    Certificate(String),
    #[error("`inbound.key` holds no private key in PEM: {0}")]
    Key(String),
    #[error("certificate and key of `inbound` do not go together: {0}")]
    Pair(String),
}

impl ServerTls {
    /// From PEM, or from the names of files with it; these are looked for from `folder` on.
    pub fn read(certificate: &str, key: &str, folder: &Path) -> Result<ServerTls, Error> {
        let (certificate, key) = (text(certificate, folder)?, text(key, folder)?);
        let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
        let chain = chain.map_err(|error| Error::Certificate(error.to_string()))?;
        if chain.is_empty() {
            return Err(Error::Certificate("it is empty".to_string()));
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| Error::Key(error.to_string()))?;
        let pair = |error: tokio_rustls::rustls::Error| Error::Pair(error.to_string());
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(pair)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(pair)?;
        Ok(ServerTls(TlsAcceptor::from(Arc::new(config))))
    }
}

fn text(written: &str, folder: &Path) -> Result<String, Error> {
    if written.trim_start().starts_with("-----BEGIN") {
        return Ok(written.to_string());
    }
    std::fs::read_to_string(folder.join(written)).map_err(|error| Error::File(written.to_string(), error))
}
