//! The catalog on this node: what it has applied, and what its leader does for the cluster.
//!
//! Every node follows the catalog and reads its own copy ([`CatalogView`]). The leader also answers
//! the calls that change it ([`CatalogService`]) and watches over members and placement
//! ([`steward`]).

mod convert;
mod deduplication;
pub mod divergence;
mod fairness;
mod groups;
mod members;
mod queues;
mod quotas;
mod replacement;
pub mod reports;
mod service;
mod status;
pub mod steward;
mod view;

pub use convert::{queue_to_wire, spec_from_wire, spec_to_wire};
pub use members::node_info;
pub use service::CatalogService;
pub use view::CatalogView;
