//! What queues ask for, added up.

use super::{Bound, Quota};
use crate::catalog::spec::QueueSpec;

/// How much of one thing queues ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// By those that say how much; no more than 2^64-1.
    pub sum: u64,
    /// Queues that ask for it without limit.
    pub unlimited: u64,
}

impl Taken {
    /// Whether it is more than `limit`.
    pub fn is_over(&self, limit: u64) -> bool {
        self.unlimited > 0 || self.sum > limit
    }
}

/// How much of everything queues ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage([Taken; Bound::ALL.len()]);

impl Usage {
    /// Of these queues.
    pub fn of<'a>(specs: impl IntoIterator<Item = &'a QueueSpec>) -> Self {
        let mut usage = Self::default();
        for spec in specs {
            usage.add(spec);
        }
        usage
    }

    pub(super) fn add(&mut self, spec: &QueueSpec) {
        for bound in Bound::ALL {
            let taken = &mut self.0[bound as usize];
            match bound.asked(spec) {
                Some(asked) => taken.sum = taken.sum.saturating_add(asked),
                None => taken.unlimited += 1,
            }
        }
    }

    /// How much of one thing.
    pub fn taken(&self, bound: Bound) -> Taken {
        self.0[bound as usize]
    }

    /// What is more than a quota allows.
    pub fn over(&self, quota: &Quota) -> Vec<Bound> {
        let is_over = |bound: &Bound| {
            let limit = quota.limit(*bound);
            limit.is_some_and(|limit| self.taken(*bound).is_over(limit))
        };
        Bound::ALL.into_iter().filter(is_over).collect()
    }
}
