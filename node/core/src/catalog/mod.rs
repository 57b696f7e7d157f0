//! The catalog state machine.

/// What applying one entry gives.
#[derive(Debug)]
pub struct Applied {}
