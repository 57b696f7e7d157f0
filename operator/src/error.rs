//! Why an object could not be reconciled.
use kube::runtime::finalizer;

use crate::authority::AuthorityError;
use crate::nodes::NodeError;

/// Why an object could not be reconciled. It is tried again, later and later.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server refused or did not answer.
    #[error("cannot {doing}: {source}")]
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
    /// The API server will not take it, however often it is tried.
    pub fn is_refusal(&self) -> bool {
        let Self::Kube { source, .. } = self else {
            return false;
        };
        matches!(&**source, kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422))
    }
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
