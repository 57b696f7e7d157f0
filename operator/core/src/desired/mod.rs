//! The objects that a cluster consists of. Building them cannot fail.
mod access;
mod image;
mod pod;
mod services;
mod statefulset;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use roadstead_crds::QueueCluster;
use serde_json::json;

use crate::names::{CLUSTER_ID, Names, RESTARTED_AT};

pub use access::{admin_secret, ca_config_map, tls_secret, token_review_binding};
pub use image::image;

/// What is known of the surroundings when objects are built.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Namespace of the operator.
    pub operator_namespace: String,
    /// Image of the nodes.
    pub image: String,
    /// Replicas that the StatefulSet asks for; see [`crate::members::statefulset_replicas`].
    pub replicas: i32,
}

/// Certificate and key of one listener, PEM, with the CA that the other side is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The authority's certificate.
    pub ca: String,
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// The objects of a cluster in its own namespace, without those that hold certificates.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The account of the pods.
    pub service_account: ServiceAccount,
    /// Gives each pod its name.
    pub headless: Service,
    /// Where clients connect.
    pub client: Service,
    /// Bounds voluntary disruptions.
    pub disruption_budget: PodDisruptionBudget,
    /// Whether there shall be one: a single node would never be drained.
    pub has_disruption_budget: bool,
    /// Who may connect to what.
    pub network_policy: NetworkPolicy,
    /// The nodes.
    pub statefulset: StatefulSet,
}

/// Builds the objects of a cluster whose id is `cluster_id`.
pub fn desired(cluster: &QueueCluster, cluster_id: &str, around: &Surroundings) -> Desired {
    let build = Build {
        names: names(cluster),
        owner: owner(cluster),
        cluster,
        cluster_id,
        around,
    };
    Desired {
        service_account: access::service_account(&build),
        headless: services::headless(&build),
        client: services::client(&build),
        disruption_budget: services::disruption_budget(&build),
        has_disruption_budget: cluster.spec.replicas > 1,
        network_policy: services::network_policy(&build),
        statefulset: statefulset::statefulset(&build),
    }
}

/// The names of a cluster's objects.
pub fn names(cluster: &QueueCluster) -> Names {
    let metadata = &cluster.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    Names::new(namespace, metadata.name.as_deref().unwrap_or_default())
}

/// Names the settings that pods are made from. It depends on what a user wrote, not on how this
/// version of the operator builds a pod: a new operator restarts no node.
pub fn revision(cluster: &QueueCluster, image: &str) -> String {
    let annotations = cluster.metadata.annotations.as_ref();
    let spec = &cluster.spec;
    let settings = json!({
        "image": image,
        "resources": spec.resources,
        "pod": spec.pod,
        "listeners": spec.listeners.iter().map(|listener| {
            json!([listener.port, listener.tls, listener.authentication])
        }).collect::<Vec<_>>(),
        "restartedAt": annotations.and_then(|a| a.get(RESTARTED_AT)),
    });
    format!(
        "{:016x}",
        xxhash_rust::xxh3::xxh3_64(settings.to_string().as_bytes())
    )
}

/// What every builder reads.
struct Build<'a> {
    names: Names,
    owner: Option<OwnerReference>,
    cluster: &'a QueueCluster,
    cluster_id: &'a str,
    around: &'a Surroundings,
}

impl Build<'_> {
    fn metadata(&self, name: &str) -> ObjectMeta {
        let mut labels = self.names.labels();
        labels.insert(CLUSTER_ID.to_owned(), self.cluster_id.to_owned());
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.names.namespace.clone()),
            labels: Some(labels),
            owner_references: self.owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        }
    }
}

fn owner(cluster: &QueueCluster) -> Option<OwnerReference> {
    use kube::Resource;
    cluster.controller_owner_ref(&())
}

#[cfg(test)]
pub(crate) mod fixtures {
    //! A cluster to bend in tests.
    use roadstead_crds::QueueCluster;
    use serde_json::json;

    /// `queues/main` with every default.
    pub fn cluster() -> QueueCluster {
        serde_json::from_value(json!({
            "apiVersion": "roadstead.dev/v1alpha1",
            "kind": "QueueCluster",
            "metadata": {"name": "main", "namespace": "queues", "uid": "u-1"},
            "spec": {},
            "status": {"clusterID": crate::observed::fixtures::ID},
        }))
        .unwrap()
    }
}

#[cfg(test)]
mod tests;
