//! What a certificate says about its owner.

use std::fmt;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::auth::Principal;

/// What the owner of a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// A node. Which one is said, and checked, in its first frame.
    Node,
    /// The operator.
    Operator,
    /// A person with an admin certificate of this name.
    Admin(String),
}

/// The owner of a certificate, once that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The cluster that it belongs to.
    pub cluster_id: String,
    /// Its role there.
    pub role: Role,
}

/// Why a certificate says nothing about its owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not an X.509 certificate.
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    /// None or several URIs with the scheme `roadstead`.
    #[error("the certificate has {0} subject alternative names roadstead://…; one is needed")]
    Names(usize),
    /// The URI is of another form.
    #[error(
        "{0:?} is not roadstead://<cluster id>/node, …/operator or …/admin/<name>; \
         issue the certificate anew"
    )]
    Form(String),
}

const SCHEME: &str = "roadstead://";

impl PeerIdentity {
    /// Reads the identity in a certificate. The certificate's chain is not looked at.
    ///
    /// # Errors
    /// When it has no identity, or more than one.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let unreadable = |e: &dyn fmt::Display| IdentityError::Unreadable(e.to_string());
        let (_, parsed) = parse_x509_certificate(certificate).map_err(|e| unreadable(&e))?;
        let names = parsed
            .subject_alternative_name()
            .map_err(|e| unreadable(&e))?;
        let uris: Vec<&str> = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some(*uri),
                _ => None,
            })
            .collect();
        match uris[..] {
            [uri] => Self::parse(uri).ok_or_else(|| IdentityError::Form(uri.to_owned())),
            _ => Err(IdentityError::Names(uris.len())),
        }
    }

    fn parse(uri: &str) -> Option<Self> {
        let (cluster_id, role) = uri.strip_prefix(SCHEME)?.split_once('/')?;
        let role = match role {
            "node" => Role::Node,
            "operator" => Role::Operator,
            _ => Role::Admin(
                role.strip_prefix("admin/")
                    .filter(|name| is_name(name))?
                    .to_owned(),
            ),
        };
        is_name(cluster_id).then(|| Self {
            cluster_id: cluster_id.to_owned(),
            role,
        })
    }

    /// Who this is where calls are authorized. The node's number is 0: a certificate has none.
    pub fn principal(&self) -> Principal {
        match self.role {
            Role::Node => Principal::Node(0),
            Role::Operator | Role::Admin(_) => Principal::Operator,
        }
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    (1..=64).contains(&text.len()) && text.chars().all(allowed)
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = &self.cluster_id;
        match &self.role {
            Role::Node => write!(f, "{SCHEME}{cluster}/node"),
            Role::Operator => write!(f, "{SCHEME}{cluster}/operator"),
            Role::Admin(name) => write!(f, "{SCHEME}{cluster}/admin/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_cluster_and_role() {
        let cluster_id = "0f3a".to_owned();
        let table = [
            ("roadstead://0f3a/node", Role::Node),
            ("roadstead://0f3a/operator", Role::Operator),
            (
                "roadstead://0f3a/admin/ada.l",
                Role::Admin("ada.l".to_owned()),
            ),
        ];
        for (uri, role) in table {
            let expected = PeerIdentity {
                cluster_id: cluster_id.clone(),
                role,
            };
            assert_eq!(PeerIdentity::parse(uri), Some(expected.clone()), "{uri}");
            assert_eq!(expected.to_string(), uri);
        }
    }

    #[test]
    fn other_uris_name_nobody() {
        for uri in [
            "roadstead://0f3a",
            "roadstead://0f3a/",
            "roadstead:///node",
            "roadstead://0f3a/node/1",
            "roadstead://0f3a/NODE",
            "roadstead://0f3a/admin/",
            "roadstead://0f3a/admin/a/b",
            "roadstead://a b/node",
            "https://0f3a/node",
        ] {
            assert_eq!(PeerIdentity::parse(uri), None, "{uri}");
        }
    }
}
