//! Whose an object is that has a name the operator wants to use.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::names::{CLUSTER_ID, CLUSTER_NAMESPACE};

/// Whose an object is that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It may be written over.
    Ours,
    /// It is on its way out: it goes by itself, and then the name is free.
    Leaving,
    /// Somebody else made it: nothing of it may change.
    Foreign,
}

/// Whose `live` is, for an operator that wants to apply `wanted` under its name.
///
/// It is ours when it has our owner, or none but the id of our cluster. What was lent to this
/// namespace by a cluster of another one gives way to what belongs here.
pub fn claim(wanted: &ObjectMeta, live: &ObjectMeta) -> Claim {
    let owners = |meta: &ObjectMeta| meta.owner_references.clone().unwrap_or_default();
    let (owner, live_owners) = (owners(wanted).into_iter().next(), owners(live));
    let same = |one: &OwnerReference| owner.as_ref().is_some_and(|owner| owner.uid == one.uid);
    let id = label(wanted, CLUSTER_ID);
    let lent = label(live, CLUSTER_NAMESPACE)
        .is_some_and(|from| Some(from) != wanted.namespace.as_deref());
    let unowned = live_owners.is_empty();
    if live_owners.iter().any(same)
        || unowned && id.is_some() && id == label(live, CLUSTER_ID)
        || unowned && lent && owner.is_some()
    {
        return Claim::Ours;
    }
    let former = |one: &OwnerReference| {
        owner
            .as_ref()
            .is_some_and(|owner| owner.kind == one.kind && owner.name == one.name)
    };
    if live.deletion_timestamp.is_some() || live_owners.iter().any(former) {
        return Claim::Leaving;
    }
    Claim::Foreign
}

fn label<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(name).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn meta(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    fn owner(uid: &str, name: &str) -> Value {
        json!([{"apiVersion": "roadstead.dev/v1alpha1", "kind": "QueueCluster",
            "name": name, "uid": uid}])
    }

    #[test]
    fn only_what_is_ours_is_written_over() {
        let id = |id: &str| json!({ CLUSTER_ID: id });
        let lent = json!({CLUSTER_ID: "other", CLUSTER_NAMESPACE: "elsewhere"});
        let cases = [
            ("a user's", json!({}), Claim::Foreign, Claim::Foreign),
            (
                "ours by its owner",
                json!({"ownerReferences": owner("u-1", "main")}),
                Claim::Ours,
                Claim::Foreign,
            ),
            (
                "another cluster's",
                json!({"ownerReferences": owner("u-9", "other"), "labels": id("me")}),
                Claim::Foreign,
                Claim::Foreign,
            ),
            (
                "orphaned, or never owned",
                json!({"labels": id("me")}),
                Claim::Ours,
                Claim::Ours,
            ),
            (
                "of another cluster id",
                json!({"labels": id("other")}),
                Claim::Foreign,
                Claim::Foreign,
            ),
            (
                "of a cluster that is gone",
                json!({"ownerReferences": owner("u-0", "main"), "labels": id("me")}),
                Claim::Leaving,
                Claim::Foreign,
            ),
            (
                "being deleted",
                json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
                Claim::Leaving,
                Claim::Leaving,
            ),
            (
                "lent by a cluster of another namespace",
                json!({"labels": lent}),
                Claim::Ours,
                Claim::Foreign,
            ),
        ];
        let base = json!({"name": "x", "namespace": "queues", "labels": id("me")});
        let mut owned = base.clone();
        owned["ownerReferences"] = owner("u-1", "main");
        let (owned, unowned) = (meta(owned), meta(base));
        for (what, live, with_owner, without) in cases {
            let live = meta(live);
            assert_eq!(claim(&owned, &live), with_owner, "{what}");
            assert_eq!(claim(&unowned, &live), without, "{what}, we without owner");
        }
    }

    #[test]
    fn no_id_is_not_the_same_id() {
        assert_eq!(
            claim(&ObjectMeta::default(), &ObjectMeta::default()),
            Claim::Foreign
        );
    }
}
