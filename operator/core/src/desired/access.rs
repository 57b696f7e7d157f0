//! Who the pods are, and the certificates that they hold.
use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use roadstead_crds::QueueCluster;

use super::{Build, Certificate, names, owner};
use crate::names::{CLUSTER_ID, CLUSTER_NAMESPACE};

pub(super) fn service_account(build: &Build<'_>) -> ServiceAccount {
    ServiceAccount {
        metadata: build.metadata(&build.names.service_account()),
        ..ServiceAccount::default()
    }
}

/// Lets the pods of a cluster ask the API server who a token belongs to. It lies outside of every
/// namespace, so it has no owner: it goes with the cluster's finalizer.
pub fn token_review_binding(cluster: &QueueCluster, role: &str) -> ClusterRoleBinding {
    let names = names(cluster);
    let mut labels = names.labels();
    labels.insert(CLUSTER_NAMESPACE.to_owned(), names.namespace.clone());
    ClusterRoleBinding {
        metadata: ObjectMeta {
            name: Some(names.token_review_binding()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: role.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: names.service_account(),
            namespace: Some(names.namespace),
            ..Subject::default()
        }]),
    }
}

/// The certificate of one listener, as its pods mount it.
pub fn tls_secret(
    cluster: &QueueCluster,
    name: &str,
    cluster_id: &str,
    certificate: &Certificate,
) -> Secret {
    let names = names(cluster);
    let mut labels = names.labels();
    labels.insert(CLUSTER_ID.to_owned(), cluster_id.to_owned());
    let data = [
        ("ca.crt", &certificate.ca),
        ("tls.crt", &certificate.certificate),
        ("tls.key", &certificate.key),
    ];
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(names.namespace),
            labels: Some(labels),
            owner_references: owner(cluster).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(
            data.map(|(key, pem)| (key.to_owned(), ByteString(pem.clone().into_bytes())))
                .into(),
        ),
        ..Secret::default()
    }
}

/// The CA that clients trust, for one namespace that may use the cluster.
pub fn ca_config_map(cluster: &QueueCluster, namespace: &str, ca: &str) -> ConfigMap {
    let names = names(cluster);
    let mut labels = names.labels();
    labels.insert(CLUSTER_NAMESPACE.to_owned(), names.namespace.clone());
    let own = namespace == names.namespace;
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(names.ca_config_map()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            owner_references: owner(cluster).filter(|_| own).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("ca.crt".to_owned(), ca.to_owned())])),
        ..ConfigMap::default()
    }
}
