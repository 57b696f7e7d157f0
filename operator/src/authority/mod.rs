//! The certificate authority of each cluster. Its key never leaves the operator's namespace.
mod issue;
mod store;

pub use issue::{Authority, Issued, issue, new_authority};
pub use store::{Authorities, Kept};

use crate::error::said;

/// Why certificates could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The library refused.
    #[error("cannot make certificates for cluster {cluster}: {source}")]
    Make {
        /// namespace/name of the cluster.
        cluster: String,
        /// Why.
        source: rcgen::Error,
    },
    /// The Secret that holds them could not be read or written.
    #[error("cannot {doing} Secret {secret}: {}", said(source))]
    Secret {
        /// read, list, create, renew or delete.
        doing: &'static str,
        /// namespace/name of the Secret.
        secret: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// There is no Secret, and the cluster was founded with one.
    #[error(
        "Secret {secret} with the CA of this cluster is not there: copy it from the namespace of \
         the operator that founded the cluster, or restore it from a backup; to have a new CA \
         made, annotate the QueueCluster with roadstead.dev/new-authority=true and restart its \
         pods all at once"
    )]
    Missing {
        /// namespace/name of the Secret.
        secret: String,
    },
    /// The Secret holds something else.
    #[error(
        "Secret {secret} lacks {key}, so the CA of the cluster is not known: restore the Secret \
         from a backup; to have a new CA made, delete the Secret, annotate the QueueCluster with \
         roadstead.dev/new-authority=true and restart its pods all at once"
    )]
    Incomplete {
        /// namespace/name of the Secret.
        secret: String,
        /// What is missing.
        key: &'static str,
    },
    /// The Secret belongs to another incarnation of the cluster.
    #[error(
        "Secret {secret} belongs to cluster id {found}, but the cluster's id is {wanted}: volumes \
         or the Secret were restored from elsewhere; remove what does not belong here"
    )]
    Foreign {
        /// namespace/name of the Secret.
        secret: String,
        /// The id that it names.
        found: String,
        /// The id of the cluster.
        wanted: String,
    },
}
