//! The pure decisions of the Roadstead operator: what should be, and the ONE next step towards it.
//!
//! Nothing here has a client, a clock or chance: what was observed comes in as plain values, what
//! shall happen goes out as plain values.

pub mod account;
pub mod admission;
pub mod claim;
pub mod conditions;
pub mod controls;
pub mod dead_letter;
mod deduplication;
pub mod desired;
mod fairness;
mod groups;
mod limits;
pub mod members;
pub mod names;
pub mod observed;
pub mod overflow;
pub mod plan;
pub mod queue;
pub mod quotas;
pub mod retained;
pub mod rollout;
pub mod sample;
pub mod scale;
pub mod status;
mod sticky;
pub mod trouble;
pub mod validate;
pub mod zone;
