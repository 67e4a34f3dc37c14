//! [`Certificates`]: what a broker needs to speak TLS, and its clients to trust it.

use std::{fs, io, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use scaleout_core::{Error, ErrorKind, Result};
use tempfile::TempDir;

/// The name that the certificate is for.
pub(super) const HOST: &str = "localhost";
/// An address of the same machine that it is not for.
pub(super) const OTHER_HOST: &str = "127.0.0.1";

/// A certificate for one broker, the authority that signed it, and one that did not; in files.
#[derive(Debug)]
pub(super) struct Certificates(TempDir);

impl Certificates {
    pub(super) fn make() -> Result<Self> {
        let made = Self(TempDir::with_prefix("scaleout-tls-").map_err(|e| failed(&e))?);
        let authority = new_authority().map_err(|error| failed(&error))?;
        put(&made.authority(), &authority.pem())?;
        let other = new_authority().map_err(|error| failed(&error))?;
        put(&made.other_authority(), &other.pem())?;
        let key = KeyPair::generate().map_err(|error| failed(&error))?;
        let certificate = CertificateParams::new([HOST.to_owned()])
            .and_then(|params| params.signed_by(&key, &authority))
            .map_err(|error| failed(&error))?;
        put(&made.certificate(), &certificate.pem())?;
        put(&made.key(), &key.serialize_pem())?;
        Ok(made)
    }

    pub(super) fn authority(&self) -> PathBuf {
        self.0.path().join("authority.pem")
    }

    pub(super) fn other_authority(&self) -> PathBuf {
        self.0.path().join("other-authority.pem")
    }

    pub(super) fn certificate(&self) -> PathBuf {
        self.0.path().join("certificate.pem")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.0.path().join("key.pem")
    }
}

fn new_authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::new([])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

fn put(path: &PathBuf, pem: &str) -> Result<()> {
    fs::write(path, pem).map_err(|error: io::Error| failed(&error))
}

fn failed(error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, format!("no certificates: {error}"))
}
