//! What others made stays as it is, and what the operator is not given is out of its reach.
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use roadstead_crds::{ConsumerScaler, QueueCluster};
use roadstead_operator_core::conditions::is_true;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::operator::{create, gone, ready};
use crate::world::{SYSTEM, World, make, namespace, until};

/// The operator's Secrets of a namespace, and how many keys each cluster has in them.
const SECRETS: [(&str, usize); 2] = [("roadstead-tls", 6), ("roadstead-admin", 3)];

/// An object that a user made, and every byte of it.
struct Made<K> {
    api: Api<K>,
    name: String,
    bytes: Value,
}

impl<K> Made<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Serialize
        + DeserializeOwned
        + std::fmt::Debug,
{
    async fn new(client: &Client, space: &str, object: Value) -> Self {
        let (api, made) = make::<K>(client, space, object).await;
        Self {
            api,
            name: made.name_any(),
            bytes: json!(made),
        }
    }

    async fn stays(&self) {
        let live = self.api.get(&self.name).await.unwrap();
        assert_eq!(json!(live), self.bytes);
    }

    async fn free_the_name(&self) {
        let params = DeleteParams::default();
        self.api.delete(&self.name, &params).await.unwrap();
    }
}

fn service(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}})
}

fn ca_map() -> Value {
    json!({"metadata": {"name": "main-roadstead-ca"}, "data": {"mine": "yes"}})
}

fn budget() -> Value {
    json!({"metadata": {"name": "main"}, "spec": {"minAvailable": 7, "selector": {}}})
}

/// Waits until the cluster says that it cannot go on; returns whether it is Ready.
async fn stopped(api: &Api<QueueCluster>, name: &str, (reason, words): (&str, &str)) -> bool {
    until(&format!("{name} says {reason} {words}"), async || {
        let status = api.get(name).await.unwrap().status.unwrap_or_default();
        let stuck = status.conditions.iter().any(|c| {
            let stopped = c.type_ == "Progressing" && c.status == "False";
            stopped && c.reason == reason && c.message.contains(words)
        });
        if stuck {
            Ok(is_true(&status.conditions, "Ready"))
        } else {
            Err(format!("{:#?}", status.conditions))
        }
    })
    .await
}

/// How many keys of each cluster are in a Secret.
async fn keys(client: &Client, name: &str) -> BTreeMap<String, usize> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "queues");
    let data = secrets.get(name).await.unwrap().data;
    let mut keys = BTreeMap::new();
    for key in data.unwrap_or_default().keys() {
        *keys
            .entry(key.split('.').next().unwrap().to_owned())
            .or_default() += 1;
    }
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_made_stays() {
    let mut world = World::start().await;
    let client = world.client.clone();
    namespace(&client, "queues").await;
    let taken = Made::<Service>::new(&client, "queues", service("main")).await;
    let map = Made::<ConfigMap>::new(&client, "queues", ca_map()).await;
    let away = Made::<ConfigMap>::new(&client, "default", ca_map()).await;
    let budget = Made::<PodDisruptionBudget>::new(&client, "queues", budget()).await;
    let spec = json!({"replicas": 1, "queueNamespaces": {"from": "All"}});
    let api = create(&client, ("queues", "main"), spec).await;
    let conflict = |words| ("NameConflict", words);
    let ready_now = stopped(&api, "main", conflict("Service queues/main is there")).await;
    assert!(!ready_now, "it was never founded");
    events(&client).await;
    taken.stays().await;
    taken.free_the_name().await;
    stopped(&api, "main", conflict("ConfigMap queues/main-roadstead-ca")).await;
    map.stays().await;
    map.free_the_name().await;
    ready(&api).await;
    budget.stays().await;
    let three = Patch::Merge(json!({"spec": {"replicas": 3}}));
    let params = PatchParams::default();
    api.patch_scale("main", &params, &three).await.unwrap();
    let budget_taken = conflict("PodDisruptionBudget queues/main is there");
    let ready_now = stopped(&api, "main", budget_taken).await;
    assert!(ready_now, "what serves goes on serving");
    budget.stays().await;
    budget.free_the_name().await;
    ready(&api).await;
    neighbours(&client, &api).await;
    refused(&client).await;
    swept(&mut world, &api).await;
    away.stays().await;
    world.end().await;
}

/// The event comes a moment after the condition.
async fn events(client: &Client) {
    let events: Api<Event> = Api::namespaced(client.clone(), "queues");
    until("an event tells it too", async || {
        let all = events.list(&ListParams::default()).await.unwrap().items;
        let told = |event: &Event| event.reason.as_deref() == Some("NameConflict");
        if all.iter().any(told) {
            Ok(())
        } else {
            Err(format!("{all:#?}"))
        }
    })
    .await;
}

/// Two clusters of a namespace share its Secrets; each takes its own keys along.
async fn neighbours(client: &Client, api: &Api<QueueCluster>) {
    let taken = Made::<Service>::new(client, "queues", service("second")).await;
    create(client, ("queues", "second"), json!({})).await;
    stopped(api, "second", ("NameConflict", "Service queues/second")).await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "queues");
    for (name, count) in SECRETS {
        let both = [("main".to_owned(), count), ("second".to_owned(), count)];
        assert_eq!(keys(client, name).await, both.into());
        let secret = secrets.get(name).await.unwrap();
        assert_eq!(secret.owner_references().len(), 2);
    }
    api.delete("second", &DeleteParams::default())
        .await
        .unwrap();
    gone(api, "second").await;
    for (name, count) in SECRETS {
        let left = [("main".to_owned(), count)];
        assert_eq!(keys(client, name).await, left.into());
    }
    taken.stays().await;
}

/// What the operator cannot have, and what the API server will not take, is said.
async fn refused(client: &Client) {
    for (name, _) in SECRETS {
        let space = format!("taken-{name}");
        namespace(client, &space).await;
        let secret = json!({"metadata": {"name": name}, "stringData": {"mine": "yes"}});
        let secret = Made::<Secret>::new(client, &space, secret).await;
        let api = create(client, (&space, "third"), json!({})).await;
        let words = format!("Secret {space}/{name} is there");
        stopped(&api, "third", ("NameConflict", &words)).await;
        secret.stays().await;
    }

    namespace(client, "odd").await;
    let labels = json!({"pod": {"labels": {"no label": "x"}}});
    let api = create(client, ("odd", "odd"), labels).await;
    stopped(&api, "odd", ("Refused", "no label")).await;
    let scaler = json!({
        "apiVersion": "roadstead.dev/v1alpha1", "kind": "ConsumerScaler",
        "metadata": {"name": "odd"},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "roadstead.dev/v1alpha1", "kind": "QueueCluster", "name": "odd",
            },
            "sources": [{"queue": "orders"}],
            "objective": {"messagesPerReplica": 100}, "maxReplicas": 5,
        },
    });
    let scaler = Made::<ConsumerScaler>::new(client, "odd", scaler).await;
    until("the scaler says why it does nothing", async || {
        let status = scaler.api.get("odd").await.unwrap().status;
        let conditions = status.unwrap_or_default().conditions;
        let told = conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "False" && c.reason == "Refused");
        if told {
            Ok(())
        } else {
            Err(format!("{conditions:#?}"))
        }
    })
    .await;
}

/// The authority stays with retained volumes, and goes when nothing is left.
async fn swept(world: &mut World, api: &Api<QueueCluster>) {
    let client = world.client.clone();
    let id = api.get("main").await.unwrap().status.unwrap().cluster_id;
    api.delete("main", &DeleteParams::default()).await.unwrap();
    gone(api, "main").await;
    let claim = json!({
        "metadata": {"name": "data-main-0", "labels": {"roadstead.dev/cluster-id": id}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    Made::<PersistentVolumeClaim>::new(&client, "queues", claim).await;
    world.kill_operator().await;
    world.start_operator("one").await;
    let authorities: Api<Secret> = Api::namespaced(client, SYSTEM);
    until("the authority of the second cluster goes", async || {
        let second = authorities.get_opt("authority.queues.second").await;
        match second.unwrap() {
            None => Ok(()),
            Some(_) => Err("it is there".to_owned()),
        }
    })
    .await;
    let main = authorities.get_opt("authority.queues.main").await.unwrap();
    assert!(main.is_some(), "a volume may need it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_secrets_of_a_namespace_are_within_reach() {
    let world = World::start().await;
    namespace(&world.client, "shop").await;
    let secret = |name: &str| json!({"metadata": {"name": name}, "stringData": {"a": "b"}});
    let made = Made::<Secret>::new(&world.client, "shop", secret("password")).await;
    let operator = world.operator_client().await;
    let secrets: Api<Secret> = Api::namespaced(operator, "shop");
    let forbidden = |result: kube::Result<Secret>| match result {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 403, "{status:?}"),
        other => panic!("{other:?}"),
    };
    let params = PatchParams::apply("roadstead-tls-main");
    let apply = |name: &str| {
        let mut body = secret(name);
        body["apiVersion"] = json!("v1");
        body["kind"] = json!("Secret");
        Patch::Apply(body)
    };
    forbidden(secrets.patch("password", &params, &apply("password")).await);
    forbidden(secrets.patch("new", &params, &apply("new")).await);
    forbidden(secrets.get("password").await);
    let posted = serde_json::from_value(secret("new")).unwrap();
    forbidden(secrets.create(&PostParams::default(), &posted).await);
    for (own, _) in SECRETS {
        let made_by_apply = secrets.patch(own, &params, &apply(own)).await;
        assert_eq!(made_by_apply.unwrap().name_any(), own);
        forbidden(secrets.get(own).await);
    }
    made.stays().await;
    world.end().await;
}
