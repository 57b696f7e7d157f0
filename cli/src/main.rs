//! The Roadstead command line.
fn main() {}
