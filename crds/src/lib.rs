//! The custom resource types of Roadstead
