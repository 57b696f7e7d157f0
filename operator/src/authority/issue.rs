//! Making certificates.
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, string::Ia5String,
};
use roadstead_operator_core::desired::Certificate;
use roadstead_operator_core::names::{ADMIN_SECRET, Names};

const DAY: Duration = Duration::from_hours(24);
const AUTHORITY_DAYS: u32 = 3_650;
/// Certificates are issued for this long, and anew when two thirds are over.
pub const LEAF_DAYS: u32 = 90;

/// A certificate authority: certificate and key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Everything that is issued for a cluster at a time.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// For the peer and admin listener, the same in every pod.
    pub node: Certificate,
    /// For the client listener, the same in every pod.
    pub client: Certificate,
    /// For the operator itself.
    pub operator: Certificate,
    /// For people who administer the cluster.
    pub admin: Certificate,
}

/// A new authority for a cluster id.
///
/// # Errors
/// When the library cannot make keys.
pub fn new_authority(cluster_id: &str) -> Result<Authority, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = name(&format!("roadstead {cluster_id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, AUTHORITY_DAYS);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Authority {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// Issues what a cluster needs.
///
/// # Errors
/// When the authority's own certificate or key cannot be read.
pub fn issue(
    authority: &Authority,
    names: &Names,
    cluster_id: &str,
) -> Result<Issued, rcgen::Error> {
    let pods = [
        format!("*.{}.{}.svc", names.headless(), names.namespace),
        format!(
            "*.{}.{}.svc.cluster.local",
            names.headless(),
            names.namespace
        ),
    ];
    let clients = [
        names.client_host(),
        format!("{}.cluster.local", names.client_host()),
        format!("{}.{}", names.cluster, names.namespace),
        "localhost".to_owned(),
    ];
    let node = [&[cluster_id.to_owned()][..], &pods].concat();
    let client = [&clients[..], &pods].concat();
    let role = |role: &str| Some(format!("roadstead://{cluster_id}/{role}"));
    Ok(Issued {
        node: leaf(authority, node, role("node"))?,
        client: leaf(authority, client, None)?,
        operator: leaf(authority, Vec::new(), role("operator"))?,
        admin: leaf(
            authority,
            Vec::new(),
            role(&format!("admin/{ADMIN_SECRET}")),
        )?,
    })
}

fn leaf(
    authority: &Authority,
    hosts: Vec<String>,
    role: Option<String>,
) -> Result<Certificate, rcgen::Error> {
    let issuer_key = KeyPair::from_pem(&authority.key)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, issuer_key)?;
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = name("roadstead");
    if let Some(role) = role {
        params
            .subject_alt_names
            .push(SanType::URI(Ia5String::try_from(role)?));
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    // Strict verifiers, as Python's from 3.13, refuse a certificate without it.
    params.use_authority_key_identifier_extension = true;
    valid_for(&mut params, LEAF_DAYS);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Certificate {
        ca: authority.certificate.clone(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// From a day ago, for clocks that are behind, for so many days.
fn valid_for(params: &mut CertificateParams, days: u32) {
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * days).into();
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::*;

    #[test]
    fn certificates_name_cluster_role_and_hosts() {
        let id = "0f3a1c1e-0000-4000-8000-000000000001";
        let authority = new_authority(id).unwrap();
        let issued = issue(&authority, &Names::new("queues", "main"), id).unwrap();
        let sans = |certificate: &Certificate| {
            let (_, pem) = parse_x509_pem(certificate.certificate.as_bytes()).unwrap();
            let parsed = pem.parse_x509().unwrap();
            let names = parsed.subject_alternative_name().unwrap().unwrap();
            names
                .value
                .general_names
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        let node = sans(&issued.node).join(" ");
        assert!(
            node.contains(id) && node.contains(&format!("roadstead://{id}/node")),
            "{node}"
        );
        assert!(node.contains("*.main-nodes.queues.svc"), "{node}");
        assert!(sans(&issued.client).join(" ").contains("main.queues.svc"));
        assert!(
            !sans(&issued.client).join(" ").contains("roadstead://"),
            "clients get no role"
        );
        assert_eq!(sans(&issued.operator).len(), 1);
        let admin = format!("URI(roadstead://{id}/admin/roadstead-admin)");
        assert_eq!(sans(&issued.admin), [admin], "a person is nobody's server");
    }

    #[test]
    fn leaves_name_the_key_that_signed_them() {
        let authority = new_authority("a").unwrap();
        let issued = issue(&authority, &Names::new("n", "c"), "a").unwrap();
        let (_, pem) = parse_x509_pem(authority.certificate.as_bytes()).unwrap();
        let ca = pem.parse_x509().unwrap();
        let subject = ca
            .iter_extensions()
            .find_map(|e| match e.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.clone()),
                _ => None,
            });
        for leaf in [
            &issued.node,
            &issued.client,
            &issued.operator,
            &issued.admin,
        ] {
            let (_, pem) = parse_x509_pem(leaf.certificate.as_bytes()).unwrap();
            let leaf = pem.parse_x509().unwrap();
            let signer = leaf
                .iter_extensions()
                .find_map(|e| match e.parsed_extension() {
                    ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.clone(),
                    _ => None,
                });
            assert!(signer.is_some() && signer == subject, "{signer:?}");
        }
    }

    #[test]
    fn a_foreign_authority_does_not_vouch() {
        let (one, two) = (new_authority("a").unwrap(), new_authority("b").unwrap());
        let issued = issue(&one, &Names::new("n", "c"), "a").unwrap();
        let (_, pem) = parse_x509_pem(issued.node.certificate.as_bytes()).unwrap();
        let leaf = pem.parse_x509().unwrap();
        let signed_by = |authority: &Authority| {
            let (_, pem) = parse_x509_pem(authority.certificate.as_bytes()).unwrap();
            leaf.verify_signature(Some(pem.parse_x509().unwrap().public_key()))
                .is_ok()
        };
        assert!(signed_by(&one) && !signed_by(&two));
    }
}
