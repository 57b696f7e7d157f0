//! How many consumers there shall be. One pure function decides: [`decide`].
mod active;
mod decide;
mod load;
mod rival;
#[cfg(test)]
mod twin;

pub use active::active;
pub use decide::decide;
pub use load::{LoadStore, SourceKey};
pub use rival::rival;

use std::collections::VecDeque;

use roadstead_crds::{ConsumerScalerSpec, LimitedBy};

/// Milliseconds of a clock that only goes forward.
pub type Millis = u64;

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// One replica for so many messages; at least 1.
    pub messages_per_replica: u64,
    /// Replicas at least.
    pub min: u32,
    /// Replicas at most; at least 1 and at least `min`.
    pub max: u32,
    /// It goes down only to the highest size wanted within this time.
    pub stabilization: Millis,
    /// It goes to zero after this time without anything to do.
    pub to_zero_after: Millis,
    /// Data older than this is unknown.
    pub stale_after: Millis,
}

impl Policy {
    /// The policy that a specification holds.
    pub fn new(spec: &ConsumerScalerSpec) -> Self {
        let millis = |span: &roadstead_crds::Span| {
            span.to_duration().map_or(0, |d| {
                Millis::try_from(d.as_millis()).unwrap_or(Millis::MAX)
            })
        };
        let number = |n: i32| u32::try_from(n).unwrap_or(0);
        let max = number(spec.max_replicas).max(1);
        Self {
            messages_per_replica: u64::try_from(spec.objective.messages_per_replica)
                .unwrap_or(1)
                .max(1),
            min: number(spec.min_replicas).min(max),
            max,
            stabilization: millis(&spec.scale_down.stabilization),
            to_zero_after: millis(&spec.scale_down.to_zero_after),
            stale_after: millis(&spec.on_stale_data.after),
        }
    }
}

/// What is known of one source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceLoad {
    /// Ready, in flight and blocked: not settled and not delayed.
    pub lag: u64,
    /// Leased to consumers.
    pub in_flight: u64,
    /// When the oldest part of this was said; absent: a part was never said, or its leader is gone.
    pub heard: Option<Millis>,
}

/// What is known when a decision is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// One entry per source.
    pub sources: Vec<SourceLoad>,
    /// Replicas that the target asks for now.
    pub current: u32,
}

/// What one decision hands to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Sizes wanted and when, oldest first; each later one is smaller (what a later, bigger one
    /// overrides is dropped), so the first is the highest of the window.
    pub wanted: VecDeque<(Millis, u32)>,
    /// Since when there was nothing to do.
    pub idle_since: Option<Millis>,
}

/// What shall be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Replicas that there shall be.
    pub replicas: u32,
    /// What kept it from another number.
    pub limited_by: LimitedBy,
    /// The terms it follows from.
    pub reason: String,
    /// Decide again at this time even if nothing is heard.
    pub next_check: Option<Millis>,
    /// For the next decision.
    pub memory: Memory,
}
