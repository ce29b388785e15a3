//! TLS: what a server shows, and whom a client trusts. rustls with ring, TLS 1.2 and 1.3; servers speak HTTP/2 and HTTP/1.1,
//! clients HTTP/1.1.

mod pinned;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::VerifierBuilderError;
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore, ServerConfig};

use pinned::Pinned;

/// Protocols inside of TLS (RFC 7301).
const HTTP_1_1: &[u8] = b"http/1.1";
/// What gRPC needs (RFC 9113, 3.2).
const HTTP_2: &[u8] = b"h2";
/// What a server shows.
const CHAIN: &str = "a certificate chain";

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that is not there, may not be read, or holds something else.
    #[error("cannot use {path} as {what}: {source}. Name a PEM file that holds {what}")]
    File {
        /// What it should hold.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A certificate and a key that rustls refuses.
    #[error(
        "cannot serve TLS with the certificate {cert} and the key {key}: {source}. Name a certificate and the private key that belongs to it"
    )]
    Pair {
        /// File of the certificate.
        cert: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// What is wrong with them.
        source: Error,
    },
    /// An authority that rustls refuses.
    #[error(
        "cannot trust the certificate authority in {path}: {source}. Name a PEM file with CA certificates"
    )]
    Authority {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        source: Error,
    },
    /// Nobody's certificate could be verified.
    #[error(
        "there is no certificate authority to trust: the system has none, and no file of one is there. Name the PEM file of the authority that signed the certificates"
    )]
    NoAuthority,
    /// rustls cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] Error),
    /// The verifier cannot be set up.
    #[error("cannot set up the verification of certificates: {0}")]
    Verifier(#[from] VerifierBuilderError),
}

/// What a server shows to its clients. Read once: a renewed certificate needs a new process.
#[derive(Clone)]
pub struct ServerTls(TlsAcceptor);

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerTls")
    }
}

impl ServerTls {
    /// The certificate chain in `cert`, the server's own certificate first, and its private key in `key`; both PEM.
    ///
    /// # Errors
    /// [`TlsError`] names the file.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = certificates(CHAIN, cert)?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::File {
            what: "a private key",
            path: key.to_owned(),
            source,
        })?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|source| TlsError::Pair {
                cert: cert.to_owned(),
                key: key.to_owned(),
                source,
            })?;
        config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.0
    }
}

/// A client that trusts the system's authorities and those in the PEM file `ca`, if that file is there.
///
/// # Errors
/// [`TlsError::File`] for a file without certificates, [`TlsError::NoAuthority`] if nobody would be trusted.
pub fn client(ca: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier = verifier(ca)?.ok_or(TlsError::NoAuthority)?;
    client_with(verifier)
}

/// As [`client`], with any number of files.
///
/// # Errors
/// As [`client`].
pub fn client_of_many(authorities: &[PathBuf]) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier = verifier(authorities.iter().map(PathBuf::as_path))?;
    client_with(verifier.ok_or(TlsError::NoAuthority)?)
}

/// As [`client`], and it believes the server that shows the first certificate in the PEM file `own` whatever its name.
///
/// # Errors
/// As [`client`].
pub fn client_of(own: &Path, ca: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let certificate = certificates(CHAIN, own)?.swap_remove(0);
    client_with(Arc::new(Pinned {
        certificate,
        others: verifier(ca)?,
        provider: provider(),
    }))
}

fn client_with(verifier: Arc<dyn ServerCertVerifier>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(Arc::new(config))
}

/// A verifier with the authorities that there are; `None` without any.
fn verifier<'a>(
    authorities: impl IntoIterator<Item = &'a Path>,
) -> Result<Option<Arc<WebPkiServerVerifier>>, TlsError> {
    let mut roots = RootCertStore::empty();
    // Certificates of the system that rustls does not understand are not ours to complain about.
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    for path in authorities.into_iter().filter(|path| path.exists()) {
        for certificate in certificates("the certificates of an authority", path)? {
            let added = roots.add(certificate);
            added.map_err(|source| TlsError::Authority {
                path: path.to_owned(),
                source,
            })?;
        }
    }
    if roots.is_empty() {
        return Ok(None);
    }
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
    Ok(Some(builder.build()?))
}

/// The certificates in a PEM file, at least one.
fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File {
        what,
        path: path.to_owned(),
        source,
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect();
    match found {
        Ok(found) if found.is_empty() => Err(failed(pem::Error::NoItemsFound)),
        Ok(found) => Ok(found),
        Err(source) => Err(failed(source)),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
