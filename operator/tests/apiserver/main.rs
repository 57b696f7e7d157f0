//! The operator against a real API server and etcd, without kubelets: pods and nodes are played by
//! stand-ins. Needs the binaries that `e2e/cluster build` makes, and fails without them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod manifests;
mod operator;
mod quotas;
mod server;
mod standin;
mod strangers;
mod unasked;
mod workloads;
mod world;
