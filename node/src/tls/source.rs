//! Where certificates come from, and settings that follow them when they change.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::identity::IdentityError;

/// A certificate chain with its key and the CAs to trust, as PEM text.
#[derive(Clone, PartialEq, Eq)]
pub struct Pems {
    /// CA certificates; empty where nobody is verified by one.
    pub ca: Vec<u8>,
    /// The certificate, then what leads to the CA.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

impl fmt::Debug for Pems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pems { .. }")
    }
}

/// Where certificates are read from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A directory with `tls.crt`, `tls.key` and, where peers are verified, `ca.crt`.
    Directory(PathBuf),
    /// Given once and for all.
    Memory(Pems),
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}; give a directory with ca.crt, tls.crt and tls.key")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds no PEM of the kind that is needed.
    #[error("{what} cannot be used: {why}")]
    Pem {
        /// Which of the files.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// The certificate does not say who its owner is.
    #[error("tls.crt: {0}")]
    Identity(#[from] IdentityError),
    /// Key and certificate do not belong together, or another thing that rustls refuses.
    #[error("tls.crt with tls.key cannot be used: {0}; issue both anew")]
    Rustls(#[from] rustls::Error),
}

impl Source {
    fn read(&self, with_ca: bool) -> Result<Pems, TlsError> {
        match self {
            Self::Memory(pems) => Ok(pems.clone()),
            Self::Directory(directory) => Ok(Pems {
                ca: if with_ca {
                    read(directory, "ca.crt")?
                } else {
                    Vec::new()
                },
                certificate: read(directory, "tls.crt")?,
                key: read(directory, "tls.key")?,
            }),
        }
    }
}

fn read(directory: &Path, name: &str) -> Result<Vec<u8>, TlsError> {
    let path = directory.join(name);
    std::fs::read(&path).map_err(|source| TlsError::Read { path, source })
}

impl Pems {
    /// The certificates in `ca`, one or more.
    pub(super) fn cas(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates("ca.crt", &self.ca)
    }

    /// The chain in `certificate`, one or more.
    pub(super) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates("tls.crt", &self.certificate)
    }

    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.key).map_err(|e| pem_error("tls.key", &e))
    }
}

fn certificates(what: &'static str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| pem_error(what, &e))?;
    if found.is_empty() {
        return Err(TlsError::Pem {
            what,
            why: "it holds no certificate in PEM form".to_owned(),
        });
    }
    Ok(found)
}

fn pem_error(what: &'static str, error: &pem::Error) -> TlsError {
    TlsError::Pem {
        what,
        why: error.to_string(),
    }
}

/// Settings built from a source, built anew when what is read from it changes.
#[derive(Debug)]
pub struct Reloader<T> {
    source: Source,
    with_ca: bool,
    build: fn(&Pems) -> Result<T, TlsError>,
    current: Mutex<(Pems, Arc<T>)>,
}

impl<T> Reloader<T> {
    /// Reads and builds for the first time.
    pub(super) fn new(
        source: Source,
        with_ca: bool,
        build: fn(&Pems) -> Result<T, TlsError>,
    ) -> Result<Self, TlsError> {
        let pems = source.read(with_ca)?;
        let settings = Arc::new(build(&pems)?);
        Ok(Self {
            source,
            with_ca,
            build,
            current: Mutex::new((pems, settings)),
        })
    }

    /// The settings to use for the next connection.
    pub fn current(&self) -> Arc<T> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current.1)
    }

    /// Reads again and, when anything changed, builds again. True when it did.
    ///
    /// # Errors
    /// When what is there cannot be used; the settings stay what they were.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let pems = self.source.read(self.with_ca)?;
        if self
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            == pems
        {
            return Ok(false);
        }
        let settings = Arc::new((self.build)(&pems)?);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = (pems, settings);
        Ok(true)
    }

    /// Reloads at every interval, for ever. Returns at once when the source cannot change.
    pub async fn watch(&self, every: Duration) {
        let Source::Directory(directory) = &self.source else {
            return;
        };
        loop {
            tokio::time::sleep(every).await;
            match self.reload() {
                Ok(false) => {}
                Ok(true) => tracing::info!(?directory, "certificates reloaded"),
                Err(error) => tracing::warn!(?directory, %error, "certificates kept as they were"),
            }
        }
    }
}
