//! The gRPC listeners: connections, callers, services and errors on the wire.

mod acceptor;
mod accounts;
mod admin;
mod answers;
mod authenticate;
mod budget;
mod client_listener;
mod connection;
mod framing;
mod inbound;
mod meter;
mod peer_listener;
mod procedure;
mod services;
mod status;
mod streams;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod unary;
mod unfinished;

pub use acceptor::{Acceptor, ConnectionCounts, ConnectionNumbers, Limits, Security};
pub use accounts::Accounts;
pub use authenticate::{Authenticated, Authenticator};
pub use budget::Budget;
pub use client_listener::{ClientListener, MAX_MESSAGE};
pub use connection::{Connection, ConnectionInfo};
pub use peer_listener::PeerListener;
pub use status::{detail_of, to_status};
pub use streams::Streams;
pub use unfinished::{Newcomer, Unfinished};
