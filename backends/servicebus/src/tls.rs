//! TLS, with `ring` passed to it rather than installed: a library does not choose for the process.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use scaleout_core::{Error, ErrorKind, Result};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::config::invalid;

/// A client that trusts the authorities in `ca_cert` (PEM) and no others, or those that Mozilla trusts.
pub(crate) fn client(ca_cert: Option<&str>) -> Result<ClientConfig> {
    let roots = match ca_cert {
        Some(pem) => authorities(pem)?,
        None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
    };
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Unsupported, error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(client)
}

fn authorities(pem: &str) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| invalid(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(invalid("there is no certificate in it"));
    }
    Ok(roots)
}

/// Makes the connection to `host` a private one.
///
/// # Errors
///
/// [`ErrorKind::Auth`] if the server's certificate is not to be trusted, [`ErrorKind::Incompatible`] if
/// it does not speak TLS, [`ErrorKind::Unavailable`] if the connection broke.
pub(crate) async fn handshake(
    client: Arc<ClientConfig>,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>> {
    let server = ServerName::try_from(host.to_owned())
        .map_err(|_| invalid("the host of the namespace must be a name or an address"))?;
    let connected = TlsConnector::from(client).connect(server, stream).await;
    connected.map_err(|error| {
        let cause = error
            .get_ref()
            .and_then(|error| error.downcast_ref::<rustls::Error>());
        let (kind, what) = match cause {
            Some(cause) => refusal(cause),
            None => (
                ErrorKind::Unavailable,
                "the TLS handshake with servicebus broke",
            ),
        };
        Error::new(kind, format!("{what}: {error}"))
    })
}

/// What it means that a handshake was refused.
pub(crate) fn refusal(error: &rustls::Error) -> (ErrorKind, &'static str) {
    match error {
        rustls::Error::InvalidCertificate(_) => (
            ErrorKind::Auth,
            "the certificate of servicebus is not trusted",
        ),
        _ => (
            ErrorKind::Incompatible,
            "servicebus does not speak TLS as expected",
        ),
    }
}
