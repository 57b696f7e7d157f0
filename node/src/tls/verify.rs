//! Both sides of the peer listener: a valid chain, and the right cluster and role in it.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::identity::{IdentityError, PeerIdentity, Role};

/// Why a valid certificate is refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("{0} is of another cluster than {1}")]
    Cluster(PeerIdentity, String),
    #[error("{0} is no node")]
    Role(PeerIdentity),
}

fn check(
    certificate: &CertificateDer<'_>,
    cluster_id: &str,
    only_node: bool,
) -> Result<(), Refused> {
    let identity = PeerIdentity::of(certificate)?;
    if identity.cluster_id != cluster_id {
        return Err(Refused::Cluster(identity, cluster_id.to_owned()));
    }
    if only_node && identity.role != Role::Node {
        return Err(Refused::Role(identity));
    }
    Ok(())
}

// As text: rustls shows the cause of an `OtherError` only in its debug form.
fn refuse(refused: &Refused) -> Error {
    Error::General(refused.to_string())
}

/// Lets in whoever has a certificate of the cluster, whatever the role.
#[derive(Debug)]
pub struct ClusterClients {
    /// Checks the chain.
    pub chain: Arc<dyn ClientCertVerifier>,
    /// The only cluster that is let in.
    pub cluster_id: String,
}

impl ClientCertVerifier for ClusterClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        check(end_entity, &self.cluster_id, false).map_err(|e| refuse(&e))?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Trusts a server only when it is a node of the cluster.
#[derive(Debug)]
pub struct ClusterNodes {
    /// Checks chain and server name.
    pub chain: Arc<dyn ServerCertVerifier>,
    /// The only cluster that is trusted.
    pub cluster_id: String,
}

impl ServerCertVerifier for ClusterNodes {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.chain.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        check(end_entity, &self.cluster_id, true).map_err(|e| refuse(&e))?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
