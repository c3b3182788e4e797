//! TLS with certificates on both sides.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The server's certificate, and the authorities whose clients are accepted.
///
/// Pre-shared keys (PSK), which some NBD clients offer, are not supported: rustls has none without
/// certificates.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
}

/// The reason why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing, cannot be read, or does not hold what it should.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The fault.
        source: rustls::pki_types::pem::Error,
    },
    /// A file holds no certificate.
    #[error("{}: no certificate in PEM form", .0.display())]
    Empty(PathBuf),
    /// The certificate, key and authorities do not fit together.
    #[error("TLS: {0}")]
    Config(#[from] rustls::Error),
    /// The clients' authorities cannot be used.
    #[error("TLS: the clients' authority: {0}")]
    Authority(#[from] rustls::server::VerifierBuilderError),
}

impl Tls {
    /// Reads files in PEM form: the server's certificate (with the certificates between it and its
    /// authority), its key, and the authorities of clients.
    ///
    /// # Errors
    /// [`TlsError`], naming the file.
    pub fn from_files(certificate: &Path, key: &Path, authority: &Path) -> Result<Self, TlsError> {
        let chain = certificates(certificate)?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::File {
            path: key.to_owned(),
            source,
        })?;
        let mut roots = RootCertStore::empty();
        for root in certificates(authority)? {
            roots.add(root)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, secret)?;
        Ok(Self {
            config: Arc::new(config),
        })
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File {
        path: path.to_owned(),
        source,
    };
    let list = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let list: Result<Vec<_>, _> = list.collect();
    let list = list.map_err(failed)?;
    if list.is_empty() {
        return Err(TlsError::Empty(path.to_owned()));
    }
    Ok(list)
}
