//! Who the pods are, and the certificates that they hold.
use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use roadstead_crds::QueueCluster;

use super::pod::managed;
use super::{Build, Certificate, names, owner};
use crate::names::{
    ADMIN_SECRET, CLUSTER_ID, CLUSTER_NAMESPACE, Names, TLS_FILES, TLS_SECRET, TLS_SECRET_TYPE,
};

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
    ClusterRoleBinding {
        metadata: ObjectMeta {
            name: Some(names.token_review_binding()),
            labels: Some(labels(cluster, &names)),
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

/// What a cluster has in the Secret that its nodes mount.
pub fn tls_secret(cluster: &QueueCluster, node: &Certificate, client: &Certificate) -> Secret {
    let names = names(cluster);
    let mut data = files(node, |file| names.node_tls(file));
    if cluster.spec.listeners.iter().any(managed) {
        data.extend(files(client, |file| names.client_tls(file)));
    }
    shared_secret(cluster, TLS_SECRET, data)
}

/// What a cluster has in the Secret for people who administer it.
pub fn admin_secret(cluster: &QueueCluster, admin: &Certificate) -> Secret {
    let names = names(cluster);
    let data = files(admin, |file| names.admin_tls(file));
    shared_secret(cluster, ADMIN_SECRET, data)
}

/// A cluster's part of a Secret of its namespace: its own keys, and its owner reference among those
/// of the others. The object goes when its last owner does.
fn shared_secret(cluster: &QueueCluster, name: &str, data: BTreeMap<String, ByteString>) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(names(cluster).namespace),
            // One of several owners: none of them is the controller.
            owner_references: cluster.owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some(TLS_SECRET_TYPE.to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

fn files(certificate: &Certificate, key: impl Fn(&str) -> String) -> BTreeMap<String, ByteString> {
    let pems = [&certificate.ca, &certificate.certificate, &certificate.key];
    let entry = |(file, pem): (&str, &String)| (key(file), ByteString(pem.as_bytes().to_vec()));
    TLS_FILES.into_iter().zip(pems).map(entry).collect()
}

/// The CA that clients trust, for one namespace that may use the cluster.
pub fn ca_config_map(cluster: &QueueCluster, namespace: &str, ca: &str) -> ConfigMap {
    let names = names(cluster);
    let own = namespace == names.namespace;
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(names.ca_config_map()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels(cluster, &names)),
            owner_references: owner(cluster).filter(|_| own).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("ca.crt".to_owned(), ca.to_owned())])),
        ..ConfigMap::default()
    }
}

/// Labels on what can lie in another namespace than its cluster, where no owner reference can say
/// whose it is.
fn labels(cluster: &QueueCluster, names: &Names) -> BTreeMap<String, String> {
    let mut labels = names.labels();
    labels.insert(CLUSTER_NAMESPACE.to_owned(), names.namespace.clone());
    let status = cluster.status.as_ref();
    if let Some(id) = status.and_then(|status| status.cluster_id.clone()) {
        labels.insert(CLUSTER_ID.to_owned(), id);
    }
    labels
}
