//! What cannot go on before a person acts stands in the status of its object, and in an event.
use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::NamespaceResourceScope;
use kube::core::object::HasStatus;
use kube::{Api, Resource, ResourceExt};
use roadstead_crds::{ConsumerScaler, Queue, QueueCluster};
use roadstead_operator_core::conditions::{Finding, merge, stuck};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::apply::write_status;
use crate::context::Context;
use crate::error::is_conflict;
use crate::{cluster, queue, scaler};

/// An object whose conditions tell what was refused.
pub trait Told:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasStatus<Status: Serialize + PartialEq + Clone + Default>
    + Clone
    + Debug
    + DeserializeOwned
{
    /// Field manager of its status.
    const MANAGER: &'static str;

    /// Its conditions.
    fn conditions(status: &mut Self::Status) -> &mut Vec<Condition>;

    /// What is said when it is refused.
    fn refused(_: &[Condition], reason: &'static str, message: &str) -> Vec<Finding> {
        vec![Finding::new("Ready", false, reason, message)]
    }
}

impl Told for QueueCluster {
    const MANAGER: &'static str = cluster::MANAGER;

    fn conditions(status: &mut Self::Status) -> &mut Vec<Condition> {
        &mut status.conditions
    }

    fn refused(before: &[Condition], reason: &'static str, message: &str) -> Vec<Finding> {
        stuck(before, reason, message)
    }
}

impl Told for Queue {
    const MANAGER: &'static str = queue::MANAGER;

    fn conditions(status: &mut Self::Status) -> &mut Vec<Condition> {
        &mut status.conditions
    }
}

impl Told for ConsumerScaler {
    const MANAGER: &'static str = scaler::MANAGER;

    fn conditions(status: &mut Self::Status) -> &mut Vec<Condition> {
        &mut status.conditions
    }
}

/// Tells it. That it cannot be told stops nothing: it is refused again, and told then.
pub async fn tell<K: Told>(
    context: &Context,
    object: &K,
    (reason, message): (&'static str, String),
) {
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(context.client.clone(), &namespace);
    let mut status = object.status().cloned().unwrap_or_default();
    let conditions = K::conditions(&mut status);
    let findings = K::refused(conditions, reason, &message);
    let generation = object.meta().generation;
    *conditions = merge(conditions, &findings, generation, Timestamp::now());
    let written = write_status(&api, K::MANAGER, object, (object.status(), &status)).await;
    if let Err(error) = written
        && !is_conflict(&error)
    {
        warn!(%error, reason, "cannot write a condition");
    }
    let what = (reason, message);
    context.event(&object.object_ref(&()), true, what).await;
}
