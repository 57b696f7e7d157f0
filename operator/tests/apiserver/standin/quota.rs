//! Quotas of namespaces, as the nodes keep them; of queues and messages only.
use roadstead_proto::v1;
use tonic::Status;

use super::{Cluster, Node};

/// How an order is noted: its queues and messages.
pub fn order(request: &v1::SetNamespaceQuotaRequest) -> String {
    let what = request.quota.map_or("gone".to_owned(), |quota| {
        format!("{} {}", quota.queues, quota.messages)
    });
    format!("quota {} {what}", request.namespace)
}

impl Node {
    /// See [`Cluster::check_quota`].
    pub fn check_quota(
        &self,
        queue: &v1::QueueRef,
        spec: Option<&v1::QueueSpec>,
    ) -> Result<(), Status> {
        self.cluster.lock().unwrap().check_quota(queue, spec)
    }
}

impl Cluster {
    fn quota_of(&self, namespace: &str) -> Option<(v1::Quota, bool)> {
        let own = self.quotas.get(namespace).map(|quota| (*quota, false));
        own.or_else(|| self.quotas.get("*").map(|quota| (*quota, true)))
    }

    /// Queues of a namespace and what they ask for, but one of them.
    fn usage(&self, namespace: &str, but: &str) -> v1::QuotaUsage {
        let named = |queue: &v1::Queue| queue.queue.clone().unwrap_or_default();
        let others = self.queues.values().filter(|queue| {
            let name = named(queue);
            name.namespace == namespace && name.name != but
        });
        others.fold(v1::QuotaUsage::default(), |sum, queue| v1::QuotaUsage {
            queues: sum.queues + 1,
            messages: sum.messages + messages(queue.spec.as_ref()),
            ..sum
        })
    }

    /// Sets a quota, or takes it away.
    pub fn set_quota(&mut self, request: v1::SetNamespaceQuotaRequest) {
        match request.quota {
            Some(quota) => drop(self.quotas.insert(request.namespace, quota)),
            None => drop(self.quotas.remove(&request.namespace)),
        }
    }

    /// The quotas, and the namespaces that that of `*` holds for.
    pub fn list_quotas(&self) -> v1::ListNamespaceQuotasResponse {
        let spaces = self.queues.keys().filter_map(|name| name.split_once('/'));
        let mut names: Vec<&str> = spaces.map(|(namespace, _)| namespace).collect();
        names.extend(self.quotas.keys().map(String::as_str));
        names.sort_unstable();
        names.dedup();
        let show = |namespace: &str| {
            let (quota, inherited) = self.quota_of(namespace)?;
            Some(v1::NamespaceQuota {
                namespace: namespace.to_owned(),
                quota: Some(quota),
                inherited,
                usage: (namespace != "*").then(|| self.usage(namespace, "")),
            })
        };
        v1::ListNamespaceQuotasResponse {
            quotas: names.into_iter().filter_map(show).collect(),
        }
    }

    /// Refuses what the quota of its namespace does not leave to a queue.
    fn check_quota(
        &self,
        queue: &v1::QueueRef,
        spec: Option<&v1::QueueSpec>,
    ) -> Result<(), Status> {
        let Some((quota, _)) = self.quota_of(&queue.namespace) else {
            return Ok(());
        };
        let others = self.usage(&queue.namespace, &queue.name);
        let namespace = &queue.namespace;
        let bounds = [
            ("queues", u64::from(quota.queues), others.queues, 1),
            ("messages", quota.messages, others.messages, messages(spec)),
        ];
        for (name, limit, taken, asked) in bounds {
            if limit > 0 && taken + asked > limit {
                return Err(Status::resource_exhausted(format!(
                    "namespace {namespace}: its quota of {name} is {limit}, other queues take \
                     {taken} of it, and this one asks for {asked}"
                )));
            }
        }
        Ok(())
    }
}

fn messages(spec: Option<&v1::QueueSpec>) -> u64 {
    spec.and_then(|spec| spec.limits)
        .map_or(0, |limits| limits.max_messages)
}
