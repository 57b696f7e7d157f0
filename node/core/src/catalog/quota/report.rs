//! The quotas, with what is taken of them.

use std::collections::BTreeMap;

use super::usage::Usage;
use super::{ANY_NAMESPACE, Quota};
use crate::catalog::machine::CatalogMachine;

/// A quota, or a namespace that one holds for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaReport {
    /// The namespace; [`ANY_NAMESPACE`]: what holds for all that have none of their own.
    pub namespace: String,
    /// What it allows.
    pub quota: Quota,
    /// It is that of [`ANY_NAMESPACE`].
    pub inherited: bool,
    /// What is taken of it; None of [`ANY_NAMESPACE`], which holds for each namespace by itself.
    pub usage: Option<Usage>,
}

impl CatalogMachine {
    /// The quotas by namespace, and the namespaces with queues for which [`ANY_NAMESPACE`] holds.
    pub fn quota_reports(&self) -> Vec<QuotaReport> {
        let mut usages: BTreeMap<&str, Usage> = BTreeMap::new();
        for queue in self.queues.values() {
            usages
                .entry(&queue.name.namespace)
                .or_default()
                .add(&queue.spec);
        }
        for namespace in self.quotas.keys() {
            usages.entry(namespace).or_default();
        }
        let report = |(namespace, usage): (&str, Usage)| {
            let (quota, inherited) = self.quota_of(namespace)?;
            Some(QuotaReport {
                namespace: namespace.to_owned(),
                quota: *quota,
                inherited,
                usage: (namespace != ANY_NAMESPACE).then_some(usage),
            })
        };
        usages.into_iter().filter_map(report).collect()
    }
}
