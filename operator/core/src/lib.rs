//! The pure decisions of the Roadstead operator
