//! TLS settings of the listeners.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use x509_parser::parse_x509_certificate;

use super::identity::{IdentityError, PeerIdentity, Role};
use super::source::{Pems, Reloader, Source, TlsError};
use super::verify::{ClusterClients, ClusterNodes};

/// Both directions of the peer and admin listener.
#[derive(Debug, Clone)]
pub struct PeerTls {
    /// Who this node is.
    pub identity: PeerIdentity,
    /// For those who connect here.
    pub server: Arc<ServerConfig>,
    /// For connecting to other nodes.
    pub client: Arc<ClientConfig>,
    /// The server name that every node of the cluster answers to.
    pub server_name: ServerName<'static>,
    /// When the certificate expires, in seconds since 1970.
    pub not_after: i64,
}

/// The client listener; clients show no certificate.
#[derive(Debug, Clone)]
pub struct ClientTls {
    /// For those who connect here.
    pub server: Arc<ServerConfig>,
    /// When the certificate expires, in seconds since 1970.
    pub not_after: i64,
}

/// Settings whose certificate expires.
pub trait Timed {
    /// When, in seconds since 1970.
    fn not_after(&self) -> i64;
}

impl Timed for PeerTls {
    fn not_after(&self) -> i64 {
        self.not_after
    }
}

impl Timed for ClientTls {
    fn not_after(&self) -> i64 {
        self.not_after
    }
}

/// How often a directory is looked at for new certificates.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

impl PeerTls {
    /// Opens the certificates of a node for the peer and admin listener.
    ///
    /// # Errors
    /// When they cannot be used, with what to do.
    pub fn open(source: Source) -> Result<Reloader<Self>, TlsError> {
        Reloader::new(source, true, Self::build)
    }

    fn build(pems: &Pems) -> Result<Self, TlsError> {
        let chain = pems.chain()?;
        let identity = PeerIdentity::of(&chain[0])?;
        if identity.role != Role::Node {
            return Err(IdentityError::Form(identity.to_string()).into());
        }
        let not_after = not_after(&chain[0])?;
        let server_name =
            ServerName::try_from(identity.cluster_id.clone()).map_err(|InvalidDnsNameError| {
                let why = format!("cluster id {:?} is no server name", identity.cluster_id);
                TlsError::Pem {
                    what: "tls.crt",
                    why,
                }
            })?;
        let roots = Arc::new(roots(pems)?);
        Ok(Self {
            server: server_config(pems, &identity, Arc::clone(&roots))?,
            client: client_config(pems, &identity, roots)?,
            server_name,
            not_after,
            identity,
        })
    }
}

impl ClientTls {
    /// Opens the certificate of the client listener.
    ///
    /// # Errors
    /// When it cannot be used, with what to do.
    pub fn open(source: Source) -> Result<Reloader<Self>, TlsError> {
        Reloader::new(source, false, Self::build)
    }

    fn build(pems: &Pems) -> Result<Self, TlsError> {
        let chain = pems.chain()?;
        let not_after = not_after(&chain[0])?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, pems.private_key()?)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            server: Arc::new(config),
            not_after,
        })
    }
}

fn server_config(
    pems: &Pems,
    identity: &PeerIdentity,
    roots: Arc<RootCertStore>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|e| ca_error(&e))?;
    let verifier = ClusterClients {
        chain,
        cluster_id: identity.cluster_id.clone(),
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(pems.chain()?, pems.private_key()?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn client_config(
    pems: &Pems,
    identity: &PeerIdentity,
    roots: Arc<RootCertStore>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let chain = WebPkiServerVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|e| ca_error(&e))?;
    let verifier = ClusterNodes {
        chain,
        cluster_id: identity.cluster_id.clone(),
    };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(pems.chain()?, pems.private_key()?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// The cryptography that every listener and client of a node uses.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn roots(pems: &Pems) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for ca in pems.cas()? {
        roots.add(ca).map_err(|e| ca_error(&e))?;
    }
    Ok(roots)
}

fn ca_error(error: &dyn std::fmt::Display) -> TlsError {
    TlsError::Pem {
        what: "ca.crt",
        why: error.to_string(),
    }
}

fn not_after(certificate: &CertificateDer<'_>) -> Result<i64, TlsError> {
    let (_, parsed) = parse_x509_certificate(certificate)
        .map_err(|e| IdentityError::Unreadable(e.to_string()))?;
    Ok(parsed.validity().not_after.timestamp())
}
