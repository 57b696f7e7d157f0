//! Who asks, and what they may do.

mod action;
mod authorize;
mod principal;
pub mod token;

pub use action::{Action, Rule, rule};
pub use authorize::authorize;
pub use principal::Principal;
