//! Multi-node, simulation and fault tests of Roadstead

pub mod live;
pub mod sim;
pub mod tidy;
