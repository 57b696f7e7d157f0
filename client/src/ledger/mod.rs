//! A ledger of what was acknowledged, received and acked, and the check that compares them.
//!
//! Every producer writes down what was acknowledged to it, every consumer what it received and
//! acked; [`check`] then says what was lost, delivered twice, stored twice or out of order.
//! Programs on several machines keep a file each and the files are read together.

mod check;
mod record;

pub use self::check::{Findings, check};
pub use self::record::{Name, ParseRecordError, Record, SEPARATOR, records_of};

/// The attribute that carries a message's [`Name`].
pub const ATTRIBUTE: &str = "ledger";
