//! Whether what a queue asks for is left in the quota of its namespace.

use std::fmt;

use super::usage::Usage;
use super::{ANY_NAMESPACE, Bound};
use crate::catalog::machine::CatalogMachine;
use crate::catalog::model::QueueName;
use crate::catalog::reply::{Refusal, some};
use crate::catalog::spec::QueueSpec;

/// A quota that would not hold any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excess {
    /// The namespace of the queue.
    pub namespace: String,
    /// It has no quota of its own: that of all such namespaces is meant.
    pub inherited: bool,
    /// What of it.
    pub bound: Bound,
    /// How much that allows.
    pub limit: u64,
    /// What the other queues of the namespace take of it, those that say how much.
    pub taken: u64,
    /// What is wrong.
    pub why: Why,
}

/// How a quota would be exceeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The queue asks for more than is left.
    TooMuch {
        /// So much.
        asked: u64,
        /// What is too much of it.
        by: u64,
    },
    /// The queue does not say how much it asks for.
    Unlimited,
    /// Others do not say it, which were there before the quota; their names.
    OthersUnlimited(Vec<String>),
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            bound,
            limit,
            taken,
            ..
        } = self;
        let (name, field) = (bound.name(), bound.field());
        let whose = if self.inherited { " (that of *)" } else { "" };
        write!(
            f,
            "namespace {namespace}: its quota{whose} of {name} is {limit}, other queues take \
             {taken} of it, "
        )?;
        match &self.why {
            Why::TooMuch { asked, by } => write!(
                f,
                "and this one asks for {asked}, {by} too many: ask for less, lower or delete other \
                 queues of the namespace, or have an administrator raise the quota"
            ),
            Why::Unlimited => write!(
                f,
                "and this one asks for them without limit: set {field}, to at most {}, or have an \
                 administrator lift the quota",
                limit.saturating_sub(*taken)
            ),
            Why::OthersUnlimited(queues) => write!(
                f,
                "and these ask for them without limit: {}; set {field} of each, or have an \
                 administrator lift the quota",
                some(queues)
            ),
        }
    }
}

impl CatalogMachine {
    /// Refuses what is beyond the quota of the namespace: of a queue that is not there yet, or that
    /// is to be changed. One that asks for no more than it has is not in the way.
    pub(in crate::catalog) fn check_quota(
        &self,
        name: &QueueName,
        spec: &QueueSpec,
    ) -> Result<(), Refusal> {
        let Some((quota, inherited)) = self.quota_of(&name.namespace) else {
            return Ok(());
        };
        let before = self.queue(name).map(|queue| &queue.spec);
        let others = || {
            let all = self.queues_of(&name.namespace);
            all.filter(|queue| queue.name != *name)
        };
        let usage = Usage::of(others().map(|queue| &queue.spec));
        for bound in Bound::ALL {
            let Some(limit) = quota.limit(bound) else {
                continue;
            };
            let asked = bound.asked(spec);
            if before.is_some_and(|before| is_no_more(asked, bound.asked(before))) {
                continue;
            }
            let taken = usage.taken(bound);
            let unlimited = || {
                let all = others().filter(|queue| bound.asked(&queue.spec).is_none());
                all.map(|queue| queue.name.name.clone()).collect()
            };
            let why = match asked {
                None => Why::Unlimited,
                Some(_) if taken.unlimited > 0 => Why::OthersUnlimited(unlimited()),
                Some(asked) => match taken.sum.saturating_add(asked).saturating_sub(limit) {
                    0 => continue,
                    by => Why::TooMuch { asked, by },
                },
            };
            return Err(Refusal::QuotaExceeded(Box::new(Excess {
                namespace: name.namespace.clone(),
                inherited,
                bound,
                limit,
                taken: taken.sum,
                why,
            })));
        }
        Ok(())
    }

    /// The quota that holds for a namespace, and whether it is that of [`ANY_NAMESPACE`].
    pub(super) fn quota_of(&self, namespace: &str) -> Option<(&super::Quota, bool)> {
        let own = self.quotas.get(namespace).map(|quota| (quota, false));
        own.or_else(|| self.quotas.get(ANY_NAMESPACE).map(|quota| (quota, true)))
    }
}

/// Nothing is more than None, which is without limit.
fn is_no_more(asked: Option<u64>, than: Option<u64>) -> bool {
    match (asked, than) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(asked), Some(than)) => asked <= than,
    }
}
