//! The catalog: who may do what, what is refused and why, and that rows bring everything back.

mod catalog {
    pub mod cluster;
    pub mod queues;
    pub mod quota_history;
    pub mod quotas;
    pub mod shares;
    pub mod world;
}
