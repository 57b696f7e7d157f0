//! Multi-node, simulation and fault tests of Roadstead

pub mod tidy;
