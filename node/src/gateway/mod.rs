//! What clients can ask of a node, whichever node leads.

mod error;

pub use error::ApiError;
