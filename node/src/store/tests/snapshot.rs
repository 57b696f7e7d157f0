//! Snapshots from one store to another.
