//! The nodes: a StatefulSet whose pods are restarted by the operator alone.
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use roadstead_crds::ReclaimPolicy;

use super::image::SPECIFICATION;
use super::{Build, pod};
use crate::names::{CLUSTER_ID, DATA_VOLUME, IMAGE_FROM};

pub(super) fn statefulset(build: &Build<'_>) -> StatefulSet {
    let reclaim = &build.cluster.spec.storage.reclaim;
    let specified = build.cluster.spec.image.is_some();
    let from = || [(IMAGE_FROM.to_owned(), SPECIFICATION.to_owned())].into();
    StatefulSet {
        metadata: ObjectMeta {
            annotations: specified.then(from),
            ..build.metadata(&build.names.cluster)
        },
        spec: Some(StatefulSetSpec {
            replicas: Some(build.around.replicas),
            service_name: Some(build.names.headless()),
            selector: LabelSelector {
                match_labels: Some(build.names.selector()),
                ..LabelSelector::default()
            },
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            persistent_volume_claim_retention_policy: Some(
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: Some(policy(reclaim.on_delete)),
                    when_scaled: Some(policy(reclaim.on_scale_in)),
                },
            ),
            revision_history_limit: Some(3),
            template: pod::template(build),
            volume_claim_templates: Some(vec![volume_claim(build)]),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn policy(policy: ReclaimPolicy) -> String {
    match policy {
        ReclaimPolicy::Retain => "Retain".to_owned(),
        ReclaimPolicy::Delete => "Delete".to_owned(),
    }
}

/// The cluster's id stands on the claim: a cluster made anew under the same name finds its data.
fn volume_claim(build: &Build<'_>) -> PersistentVolumeClaim {
    let storage = &build.cluster.spec.storage;
    let mut labels = build.names.selector();
    labels.insert(CLUSTER_ID.to_owned(), build.cluster_id.to_owned());
    let requests = [("storage".to_owned(), Quantity(storage.size.to_string()))];
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(DATA_VOLUME.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(requests.into()),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}
