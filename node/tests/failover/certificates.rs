//! The certificates of a cluster.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};

/// Makes the folders `node` and `operator`, each with ca.crt, tls.crt and tls.key.
pub fn issue(folder: &Path, cluster_id: &str) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = ca.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(ca, key);
    for role in ["node", "operator"] {
        let mut leaf = CertificateParams::new(vec![cluster_id.to_owned()]).unwrap();
        let uri = format!("roadstead://{cluster_id}/{role}");
        leaf.subject_alt_names
            .push(SanType::URI(uri.try_into().unwrap()));
        let key = KeyPair::generate().unwrap();
        let certificate = leaf.signed_by(&key, &issuer).unwrap().pem();
        let folder = folder.join(role);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("ca.crt"), &authority).unwrap();
        fs::write(folder.join("tls.crt"), certificate).unwrap();
        fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    }
}
