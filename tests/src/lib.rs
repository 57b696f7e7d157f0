//! Multi-node, simulation and fault tests of Roadstead
