//! Why an object could not be reconciled.
use kube::runtime::finalizer;

use crate::authority::AuthorityError;
use crate::nodes::NodeError;

/// Why an object could not be reconciled. It is tried again, later and later.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server refused or did not answer.
    #[error("cannot {doing}: {}", said(source))]
    Kube {
        /// What was being done.
        doing: String,
        /// Its answer.
        source: Box<kube::Error>,
    },
    /// A node refused or did not answer.
    #[error("cannot {doing}: {source}")]
    Node {
        /// What was being done.
        doing: String,
        /// Its answer.
        source: NodeError,
    },
    /// The name of an object is taken by one that is not ours.
    #[error(
        "{object} is there already and was not made for this cluster: delete it, or give the \
         QueueCluster another name; nothing of it was changed"
    )]
    NameConflict {
        /// Kind, namespace and name.
        object: String,
    },
    /// An object is on its way out; its name is free once it is gone.
    #[error("{object} is being removed; it is made anew when it is gone")]
    Leaving {
        /// Kind, namespace and name.
        object: String,
    },
    /// Certificates could not be read or made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The finalizer could not be set or carried out.
    #[error(transparent)]
    Finalizer(Box<finalizer::Error<ReconcileError>>),
    /// It took longer than a reconcile may take.
    #[error("gave up after {0} s; it is tried again")]
    TooLong(u64),
}

impl ReconcileError {
    /// In one word, why it fails however often it is tried, until a person acts.
    pub fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::NameConflict { .. } => Some("NameConflict"),
            Self::Kube { source, .. } | Self::Authority(AuthorityError::Secret { source, .. }) => {
                is_refusal(source).then_some("Refused")
            }
            Self::Authority(AuthorityError::Missing { .. }) => Some("AuthorityMissing"),
            Self::Authority(AuthorityError::Incomplete { .. } | AuthorityError::Foreign { .. }) => {
                Some("AuthorityUnusable")
            }
            Self::Authority(AuthorityError::Make { .. })
            | Self::Node { .. }
            | Self::Leaving { .. }
            | Self::Finalizer(_)
            | Self::TooLong(_) => None,
        }
    }

    /// Whether the API server refused for this field.
    pub fn is_about(&self, field: &str) -> bool {
        let Self::Kube { source, .. } = self else {
            return false;
        };
        let kube::Error::Api(status) = &**source else {
            return false;
        };
        let details = status.details.iter().flat_map(|details| &details.causes);
        details.into_iter().any(|cause| cause.field == field)
    }
}

/// What the API server said, in its own words and no more.
pub fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422))
}

impl From<finalizer::Error<ReconcileError>> for ReconcileError {
    fn from(error: finalizer::Error<ReconcileError>) -> Self {
        match error {
            finalizer::Error::ApplyFailed(error) | finalizer::Error::CleanupFailed(error) => error,
            other => Self::Finalizer(Box::new(other)),
        }
    }
}

/// Says what was being done when something failed.
pub trait Doing<T> {
    /// Adds what was being done, after "cannot".
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, ReconcileError>;
}

impl<T> Doing<T> for Result<T, kube::Error> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, ReconcileError> {
        self.map_err(|source| ReconcileError::Kube {
            doing: what(),
            source: Box::new(source),
        })
    }
}

impl<T> Doing<T> for Result<T, NodeError> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, ReconcileError> {
        self.map_err(|source| ReconcileError::Node {
            doing: what(),
            source,
        })
    }
}

/// Whether another writer was faster; then one looks again and goes on from there.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether the object is not there.
pub fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
