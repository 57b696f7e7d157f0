//! Certificates made for tests.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};

use super::Pems;

/// A CA that signs whatever a test asks for.
pub struct TestCa {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl TestCa {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// PEM of the CA's certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate with this DNS name and, when not empty, this URI.
    pub fn issue(&self, dns: &str, uri: &str) -> Pems {
        self.issue_with(dns, uri, |_| {})
    }

    /// A node's certificate.
    pub fn node(&self, cluster_id: &str) -> Pems {
        self.issue(cluster_id, &format!("roadstead://{cluster_id}/node"))
    }

    /// The operator's certificate.
    pub fn operator(&self, cluster_id: &str) -> Pems {
        self.issue(cluster_id, &format!("roadstead://{cluster_id}/operator"))
    }

    /// A node's certificate that expired long ago.
    pub fn expired_node(&self, cluster_id: &str) -> Pems {
        let uri = format!("roadstead://{cluster_id}/node");
        self.issue_with(cluster_id, &uri, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        })
    }

    fn issue_with(&self, dns: &str, uri: &str, change: impl Fn(&mut CertificateParams)) -> Pems {
        let mut params = CertificateParams::new(vec![dns.to_owned()]).unwrap();
        if !uri.is_empty() {
            params
                .subject_alt_names
                .push(SanType::URI(uri.try_into().unwrap()));
        }
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pems {
            ca: self.pem.clone().into_bytes(),
            certificate: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
        }
    }
}
