//! Roadstead on a real Kubernetes: one story per file
