//! How the objects of a cluster are called and labelled.
use std::collections::BTreeMap;

/// Port of the listener for peers and administrators.
pub const PEER_PORT: i32 = 7702;
/// Port of the HTTP listener.
pub const HTTP_PORT: i32 = 7703;
/// Annotation on pods: the revision of the settings that they were made from.
pub const REVISION: &str = "roadstead.dev/revision";
/// Annotation on a StatefulSet whose image a specification names: it goes when that no longer does.
pub const IMAGE_FROM: &str = "roadstead.dev/image-from";
/// Annotation on a `QueueCluster`: any new value restarts the pods one by one.
pub const RESTARTED_AT: &str = "roadstead.dev/restarted-at";
/// Annotation on a `QueueCluster`: the revision that may be rolled out, with manual approval.
pub const APPROVED_REVISION: &str = "roadstead.dev/approved-revision";
/// Annotation on a `QueueCluster`: a lost certificate authority may be made anew.
pub const NEW_AUTHORITY: &str = "roadstead.dev/new-authority";
/// Label on a namespace: `allow` lets its pods read the metrics of nodes.
pub const METRICS: &str = "roadstead.dev/metrics";
/// Label on volume claims and Secrets: the id of the cluster that they belong to.
pub const CLUSTER_ID: &str = "roadstead.dev/cluster-id";
/// Label on everything that belongs to a cluster: its name.
pub const CLUSTER: &str = "roadstead.dev/cluster";
/// Label on what lies in another namespace than its cluster: the cluster's namespace.
pub const CLUSTER_NAMESPACE: &str = "roadstead.dev/cluster-namespace";
/// Name of the volume of a node.
pub const DATA_VOLUME: &str = "data";
/// The Secret that holds the certificates of all clusters of a namespace. Its name is the same
/// everywhere, so that the operator can be given this Secret of a namespace and no other.
pub const TLS_SECRET: &str = "roadstead-tls";
/// The Secret with what people show who administer the clusters of a namespace: apart, so that
/// they can be given it without the keys of the nodes.
pub const ADMIN_SECRET: &str = "roadstead-admin";
/// The type of both, which cannot change: a Secret that somebody else made is left alone.
pub const TLS_SECRET_TYPE: &str = "roadstead.dev/tls";
/// What belongs to a certificate, as pods see it.
pub const TLS_FILES: [&str; 3] = ["ca.crt", "tls.crt", "tls.key"];

/// The names of the objects of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Name of the `QueueCluster`; also of its StatefulSet and its client Service.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
}

impl Names {
    /// The names of `namespace/cluster`.
    pub fn new(namespace: &str, cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
        }
    }

    /// The headless Service that gives each pod its name.
    pub fn headless(&self) -> String {
        format!("{}-nodes", self.cluster)
    }

    /// The ServiceAccount of the pods.
    pub fn service_account(&self) -> String {
        format!("{}-node", self.cluster)
    }

    /// Where one of [`TLS_FILES`] for peers and administrators stands in [`TLS_SECRET`].
    pub fn node_tls(&self, file: &str) -> String {
        format!("{}.node.{file}", self.cluster)
    }

    /// Where one of [`TLS_FILES`] for clients stands in [`TLS_SECRET`].
    pub fn client_tls(&self, file: &str) -> String {
        format!("{}.client.{file}", self.cluster)
    }

    /// Where one of [`TLS_FILES`] for a person stands in [`ADMIN_SECRET`].
    pub fn admin_tls(&self, file: &str) -> String {
        format!("{}.{file}", self.cluster)
    }

    /// Field manager of what this cluster has in [`TLS_SECRET`] and [`ADMIN_SECRET`]: each owns its
    /// own keys.
    pub fn tls_manager(&self) -> String {
        format!("roadstead-tls-{}", self.cluster)
    }

    /// The ConfigMap with the CA that clients trust, in every namespace that may use the cluster.
    pub fn ca_config_map(&self) -> String {
        format!("{}-roadstead-ca", self.cluster)
    }

    /// The Secret with CA and issued certificates, in the operator's namespace.
    pub fn authority(&self) -> String {
        format!("authority.{}.{}", self.namespace, self.cluster)
    }

    /// The ClusterRoleBinding that lets the pods review tokens.
    pub fn token_review_binding(&self) -> String {
        format!("roadstead:{}:{}", self.namespace, self.cluster)
    }

    /// The pod with this number.
    pub fn pod(&self, ordinal: i32) -> String {
        format!("{}-{ordinal}", self.cluster)
    }

    /// The number of a pod of this cluster, from its name.
    pub fn ordinal(&self, pod: &str) -> Option<i32> {
        pod.strip_prefix(&self.cluster)?
            .strip_prefix('-')?
            .parse()
            .ok()
    }

    /// DNS name of a pod.
    pub fn pod_host(&self, pod: &str) -> String {
        format!("{pod}.{}.{}.svc", self.headless(), self.namespace)
    }

    /// DNS name of the client Service.
    pub fn client_host(&self) -> String {
        format!("{}.{}.svc", self.cluster, self.namespace)
    }

    /// Labels by which the pods are found.
    pub fn selector(&self) -> BTreeMap<String, String> {
        [
            ("app.kubernetes.io/name", "roadstead-node"),
            ("app.kubernetes.io/instance", &self.cluster),
            (CLUSTER, &self.cluster),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// Labels on every object.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        labels.insert(
            "app.kubernetes.io/managed-by".to_owned(),
            "roadstead-operator".to_owned(),
        );
        labels
    }

    /// [`Names::selector`] as text, as `/scale` wants it.
    pub fn selector_text(&self) -> String {
        let pairs: Vec<_> = self
            .selector()
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        pairs.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_numbered() {
        let names = Names::new("queues", "main");
        assert_eq!(names.pod(2), "main-2");
        assert_eq!(names.ordinal("main-2"), Some(2));
        for foreign in ["main", "main-", "main-x", "mainly-2", "other-1"] {
            assert_eq!(names.ordinal(foreign), None, "{foreign}");
        }
        assert_eq!(names.pod_host("main-2"), "main-2.main-nodes.queues.svc");
    }
}
