//! The Roadstead operator
