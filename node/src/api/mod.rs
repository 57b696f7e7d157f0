//! The gRPC listeners: connections, callers, services and errors on the wire.

mod acceptor;
mod authenticate;
mod connection;
mod status;

pub use acceptor::{Acceptor, ConnectionCounts, ConnectionNumbers, Security};
pub use authenticate::{Authenticated, Authenticator};
pub use connection::{Connection, ConnectionInfo};
pub use status::{detail_of, to_status};
