//! What is known of a procedure by its path: how its requests come, and what its answers hold.

/// How a request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requests {
    /// One message.
    Unary,
    /// Messages, for as long as the caller likes.
    Stream,
    /// A link of a peer: replication has bounds of its own, and nothing may hold it up.
    Link,
}

/// What an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// Little, or what has bounds of its own.
    Small,
    /// Bodies of messages, and any number of calls may ask for the same.
    Shown,
    /// Bodies of messages that are leased once, and would be lost to the consumer for a while: it
    /// is never refused after the fact.
    Leased,
}

/// Of the procedure of this path.
pub fn of(path: &str) -> (Requests, Answers) {
    match path.rsplit('/').next() {
        Some("Exchange") => (Requests::Link, Answers::Small),
        Some("SendStream" | "ReceiveStream" | "ServerReflectionInfo") => {
            (Requests::Stream, Answers::Small)
        }
        Some("PeekMessages") => (Requests::Unary, Answers::Shown),
        Some("Receive") => (Requests::Unary, Answers::Leased),
        _ => (Requests::Unary, Answers::Small),
    }
}
