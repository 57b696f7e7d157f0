//! Certificates: who a peer is, and TLS settings that follow the files they are read from.
//!
//! # Certificates of a cluster
//!
//! A cluster has its own CA. On the peer and admin listener both sides show a certificate of it;
//! on connecting, the server name asked for is the cluster id. A certificate holds
//!
//! * the DNS name `<cluster id>` (a UUID as text), so that a connection that ends up at another
//!   cluster's node fails in the handshake; further DNS names are allowed and not looked at;
//! * exactly one URI that starts with `roadstead://`, the cluster id and the role:
//!   `roadstead://<cluster id>/node`, `roadstead://<cluster id>/operator` or
//!   `roadstead://<cluster id>/admin/<name>` (a person's), where the name is 1 to 64 letters,
//!   digits, `-`, `.` or `_`;
//! * if it restricts the key's usage: server and client authentication for nodes, client
//!   authentication for the others.
//!
//! Both sides check that the other's URI names their own cluster, and a node that connects that
//! the other's role is `node`. All nodes of a cluster may share one certificate.
//!
//! `ca.crt` may hold several CAs, so that a CA is replaced without a gap: add the new one
//! everywhere, replace the certificates, take the old one out.
//!
//! TLS 1.3 only, with the primitives of `ring`.

mod identity;
mod settings;
mod source;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod verify;

pub use identity::{IdentityError, PeerIdentity, Role};
pub use settings::{ClientTls, PeerTls, RELOAD_INTERVAL, Timed, provider};
pub use source::{Pems, Reloader, Source, TlsError};
