//! The Rust client library of Roadstead
