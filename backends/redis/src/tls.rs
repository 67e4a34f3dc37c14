//! TLS, with `ring` passed to it rather than installed: a library does not choose for the process.

use std::{fmt, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use scaleout_core::{Error, ErrorKind, Result};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::config::invalid;

/// Whom to trust, and who must answer.
#[derive(Clone)]
pub(crate) struct Tls {
    client: Arc<ClientConfig>,
    server: ServerName<'static>,
}

impl Tls {
    /// Trusts the authorities that Mozilla trusts.
    pub(crate) fn with_web_roots(host: &str) -> Result<Self> {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        Self::new(host, roots)
    }

    /// Trusts the authorities in a PEM file, and no others.
    pub(crate) fn with_ca(host: &str, path: &Path) -> Result<Self> {
        let unreadable = |error: &dyn fmt::Display| {
            invalid(format!("option ca_cert: {}: {error}", path.display()))
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(path).map_err(|e| unreadable(&e))? {
            let certificate = certificate.map_err(|e| unreadable(&e))?;
            roots.add(certificate).map_err(|e| unreadable(&e))?;
        }
        if roots.is_empty() {
            return Err(unreadable(&"there is no certificate in it"));
        }
        Self::new(host, roots)
    }

    fn new(host: &str, roots: RootCertStore) -> Result<Self> {
        let server = ServerName::try_from(host.to_owned())
            .map_err(|_| invalid("the host in a rediss:// URL must be a name or an address"))?;
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(ErrorKind::Unsupported, error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            client: Arc::new(client),
            server,
        })
    }

    /// Makes the connection a private one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Auth`] if the server's certificate is not to be trusted,
    /// [`ErrorKind::Incompatible`] if it does not speak TLS, [`ErrorKind::Unavailable`] if the
    /// connection broke.
    pub(crate) async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(self.client.clone());
        connector
            .connect(self.server.clone(), stream)
            .await
            .map_err(|error| {
                let cause = error
                    .get_ref()
                    .and_then(|e| e.downcast_ref::<rustls::Error>());
                let (kind, what) = match cause {
                    Some(rustls::Error::InvalidCertificate(_)) => {
                        (ErrorKind::Auth, "the certificate of redis is not trusted")
                    }
                    Some(_) => (
                        ErrorKind::Incompatible,
                        "redis does not speak TLS as expected",
                    ),
                    None => (ErrorKind::Unavailable, "the TLS handshake with redis broke"),
                };
                Error::new(kind, format!("{what}: {error}"))
            })
    }
}
