//! Certificates of an embedded cluster: made once, kept with its data.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use uuid::Uuid;

const YEAR: Duration = Duration::from_hours(24 * 365);

/// Makes `node/` and `admin/` in `directory`, each with ca.crt, tls.crt and tls.key, unless they
/// are there; returns the cluster's id. The CA's key is not kept: nothing more can be issued.
pub fn prepare(directory: &Path) -> anyhow::Result<String> {
    let id_file = directory.join("cluster-id");
    if let Ok(id) = fs::read_to_string(&id_file) {
        return Ok(id.trim().to_owned());
    }
    let id = Uuid::new_v4().to_string();
    issue(directory, &id).context("cannot make certificates")?;
    fs::write(&id_file, &id).with_context(|| format!("cannot write {}", id_file.display()))?;
    Ok(id)
}

fn issue(directory: &Path, id: &str) -> anyhow::Result<()> {
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name = called(&format!("Roadstead dev CA {id}"));
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    limit(&mut ca);
    let ca_key = KeyPair::generate()?;
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);
    for role in ["node", "admin"] {
        let mut leaf = CertificateParams::new(vec![id.to_owned()])?;
        let uri = match role {
            "node" => format!("roadstead://{id}/node"),
            _ => format!("roadstead://{id}/admin/dev"),
        };
        leaf.subject_alt_names
            .push(SanType::URI(Ia5String::try_from(uri)?));
        // OpenSSL takes a certificate whose subject is its issuer's for one that signed itself.
        leaf.distinguished_name = called(&format!("Roadstead dev {role}"));
        leaf.use_authority_key_identifier_extension = true;
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        limit(&mut leaf);
        let key = KeyPair::generate()?;
        let certificate = leaf.signed_by(&key, &issuer)?.pem();
        let folder = directory.join(role);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("ca.crt"), &ca_pem)?;
        fs::write(folder.join("tls.crt"), certificate)?;
        secret(&folder.join("tls.key"), &key.serialize_pem())?;
    }
    Ok(())
}

fn called(name: &str) -> DistinguishedName {
    let mut whole = DistinguishedName::new();
    whole.push(DnType::CommonName, name);
    whole
}

fn limit(params: &mut CertificateParams) {
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_hours(24)).into();
    params.not_after = (now + YEAR).into();
}

/// Writes a file that only its owner reads.
fn secret(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    use x509_parser::extensions::ParsedExtension;
    use x509_parser::pem::Pem;

    #[test]
    fn certificates_are_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let id = prepare(directory.path()).unwrap();
        let key = directory.path().join("node/tls.key");
        let before = fs::read(&key).unwrap();
        assert_eq!(prepare(directory.path()).unwrap(), id);
        assert_eq!(fs::read(&key).unwrap(), before);
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o077, 0);
    }

    #[test]
    fn a_certificate_and_its_issuer_can_be_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path()).unwrap();
        let read = |name: &str| {
            let text = fs::read(directory.path().join(name)).unwrap();
            Pem::iter_from_buffer(&text).next().unwrap().unwrap()
        };
        for role in ["node", "admin"] {
            let (ca, leaf) = (
                read(&format!("{role}/ca.crt")),
                read(&format!("{role}/tls.crt")),
            );
            let (ca, leaf) = (ca.parse_x509().unwrap(), leaf.parse_x509().unwrap());
            assert_ne!(leaf.subject(), ca.subject());
            assert_eq!(leaf.issuer(), ca.subject());
            let names_issuer = leaf.extensions().iter().any(|extension| {
                matches!(
                    extension.parsed_extension(),
                    ParsedExtension::AuthorityKeyIdentifier(_)
                )
            });
            assert!(names_issuer, "{role}");
        }
    }
}
