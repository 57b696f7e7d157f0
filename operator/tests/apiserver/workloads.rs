//! Queues and scalers over a cluster that is there.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use roadstead_crds::{ConsumerScaler, Queue};
use roadstead_operator_core::conditions::is_true;
use serde_json::{Value, json};

use crate::operator::{create, ready};
use crate::quotas::quotas;
use crate::standin::Cluster;
use crate::world::{World, make, namespace, until};

/// A Queue of the cluster `main` of `queues`.
pub fn queue(name: &str, policy: &str, more: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "roadstead.dev/v1alpha1", "kind": "Queue", "metadata": {"name": name},
        "spec": {"clusterRef": {"name": "main", "namespace": "queues"}, "deletionPolicy": policy},
    });
    let spec = object["spec"].as_object_mut().unwrap();
    spec.extend(more.as_object().unwrap().clone());
    object
}

/// Waits until a condition of a Queue has this reason.
pub async fn condition(api: &Api<Queue>, name: &str, kind: &str, reason: &str) {
    until(&format!("{name} says {kind} {reason}"), async || {
        let status = api.get(name).await.unwrap().status.unwrap_or_default();
        let found = status
            .conditions
            .iter()
            .any(|c| c.type_ == kind && c.reason == reason);
        if found {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_and_scalers_follow_their_objects() {
    let world = World::start().await;
    let client = world.client.clone();
    namespace(&client, "shop").await;
    namespace(&client, "queues").await;
    let clusters = create(&client, ("queues", "main"), json!({"replicas": 1})).await;
    ready(&clusters).await;
    let (queues, _) = make::<Queue>(&client, "shop", queue("orders", "Delete", &json!({}))).await;
    condition(&queues, "orders", "Accepted", "NamespaceNotAllowed").await;
    let open = json!({"spec": {"queueNamespaces": {"from": "All"}}});
    clusters
        .patch("main", &PatchParams::default(), &Patch::Merge(open))
        .await
        .unwrap();
    let touch = json!({"spec": {"lease": "45s"}});
    queues
        .patch("orders", &PatchParams::default(), &Patch::Merge(touch))
        .await
        .unwrap();
    condition(&queues, "orders", "Ready", "Serving").await;
    let lease = world.cluster.lock().unwrap().queues["shop/orders"]
        .spec
        .clone()
        .unwrap()
        .lease;
    assert_eq!(lease.unwrap().seconds, 45);
    overflow(&world, &queues).await;
    refusals(&world, &queues).await;
    quotas(&world, &queues, &clusters).await;
    scaling(&world).await;
    deletions(&world, &queues).await;
    world.end().await;
}

async fn overflow(world: &World, queues: &Api<Queue>) {
    condition(queues, "orders", "Overflowing", "WithinLimits").await;
    for (ready, limit, reason) in [(100, 100, "MaxMessages"), (0, 101, "WithinLimits")] {
        let hold = |cluster: &mut Cluster| cluster.ready.insert("shop/orders".into(), ready);
        hold(&mut world.cluster.lock().unwrap());
        let limits = Patch::Merge(json!({"spec": {"limits": {"maxMessages": limit}}}));
        let params = PatchParams::default();
        queues.patch("orders", &params, &limits).await.unwrap();
        condition(queues, "orders", "Overflowing", reason).await;
    }
}

async fn refusals(world: &World, queues: &Api<Queue>) {
    let twin = queue("twin", "Delete", &json!({"queueName": "orders"}));
    make::<Queue>(&world.client, "shop", twin).await;
    condition(queues, "twin", "Accepted", "NameConflict").await;
    let lost = json!({"deadLetter": {"queueRef": {"name": "nowhere"}}});
    make::<Queue>(&world.client, "shop", queue("lost", "Delete", &lost)).await;
    condition(queues, "lost", "Accepted", "InvalidSpecification").await;
    let stray = json!({"clusterRef": {"name": "none"}});
    make::<Queue>(&world.client, "shop", queue("stray", "Delete", &stray)).await;
    condition(queues, "stray", "Accepted", "ClusterMissing").await;
}

/// A Deployment at zero and the scaler that follows `orders`.
async fn workers(client: &Client) -> (Api<Deployment>, Api<ConsumerScaler>) {
    let (deployments, _) = make::<Deployment>(
        client,
        "shop",
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "worker"},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app": "w"}},
                "template": {
                    "metadata": {"labels": {"app": "w"}},
                    "spec": {"containers": [{"name": "w", "image": "w"}]},
                },
            },
        }),
    )
    .await;
    let (scalers, _) = make::<ConsumerScaler>(
        client,
        "shop",
        json!({
            "apiVersion": "roadstead.dev/v1alpha1", "kind": "ConsumerScaler",
            "metadata": {"name": "worker"},
            "spec": {
                "scaleTargetRef": {"name": "worker"}, "sources": [{"queue": "orders"}],
                "objective": {"messagesPerReplica": 100}, "maxReplicas": 5,
                "scaleDown": {"stabilization": "1s", "toZeroAfter": "1s"},
            },
        }),
    )
    .await;
    (deployments, scalers)
}

/// 0 → 5 → 0 with the backlog.
async fn scaling(world: &World) {
    let (deployments, scalers) = workers(&world.client).await;
    until("it is Ready", async || {
        let status = scalers
            .get("worker")
            .await
            .unwrap()
            .status
            .unwrap_or_default();
        if is_true(&status.conditions, "Ready") {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    for (ready, replicas) in [(150, 2), (5_000, 5), (0, 0)] {
        world
            .cluster
            .lock()
            .unwrap()
            .ready
            .insert("shop/orders".into(), ready);
        until(
            &format!("{ready} messages want {replicas} replicas"),
            async || {
                let now = deployments
                    .get("worker")
                    .await
                    .unwrap()
                    .spec
                    .unwrap()
                    .replicas
                    .unwrap_or(0);
                if now == replicas {
                    Ok(())
                } else {
                    Err(format!("{now} replicas"))
                }
            },
        )
        .await;
    }
    let deployment = deployments.get("worker").await.unwrap();
    let managers = deployment.metadata.managed_fields.unwrap();
    let ours = managers
        .iter()
        .find(|m| m.manager.as_deref() == Some("roadstead-scaler"))
        .unwrap();
    let owned = serde_json::to_string(&ours.fields_v1).unwrap();
    assert_eq!(
        owned, r#"{"f:spec":{"f:replicas":{}}}"#,
        "it owns the replicas and nothing else"
    );
    let status = scalers.get("worker").await.unwrap().status.unwrap();
    assert_eq!(status.original_replicas, Some(0));
    assert!(status.decisions.len() >= 3, "{:?}", status.decisions);
    rivals(&scalers, &deployments).await;
}

/// A second scaler leaves the target alone until the first is gone.
async fn rivals(scalers: &Api<ConsumerScaler>, deployments: &Api<Deployment>) {
    let wait = async |reason: &str| {
        until(&format!("the later scaler is {reason}"), async || {
            let late = scalers.get("late").await.unwrap();
            let conditions = late.status.unwrap_or_default().conditions;
            let ready = conditions.iter().find(|c| c.type_ == "Ready");
            if ready.is_some_and(|c| c.reason == reason) {
                Ok(conditions)
            } else {
                Err(format!("{conditions:#?}"))
            }
        })
        .await
    };
    let mut late = scalers.get("worker").await.unwrap();
    late.metadata = serde_json::from_value(json!({"name": "late", "namespace": "shop"})).unwrap();
    late.spec.min_replicas = 4;
    late.status = None;
    let params = PostParams::default();
    // Creation times have whole seconds, and `late` comes first by name.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    scalers.create(&params, &late).await.unwrap();
    let conditions = wait("Conflict").await;
    let conflict = conditions.iter().find(|c| c.type_ == "Conflict").unwrap();
    assert!(conflict.message.contains("ConsumerScaler worker"));
    let replicas = async || {
        let deployment = deployments.get("worker").await.unwrap();
        deployment.spec.unwrap().replicas
    };
    assert_eq!(replicas().await, Some(0), "it left the target alone");
    let params = DeleteParams::default();
    scalers.delete("worker", &params).await.unwrap();
    wait("Scaling").await;
    assert_eq!(replicas().await, Some(4));
}

async fn deletions(world: &World, queues: &Api<Queue>) {
    for (name, policy, messages, stays) in [
        ("kept", "Retain", 0, true),
        ("full", "DeleteIfEmpty", 3, true),
        ("empty", "DeleteIfEmpty", 0, false),
        ("gone", "Delete", 3, false),
    ] {
        make::<Queue>(&world.client, "shop", queue(name, policy, &json!({}))).await;
        condition(queues, name, "Ready", "Serving").await;
        let key = format!("shop/{name}");
        world
            .cluster
            .lock()
            .unwrap()
            .ready
            .insert(key.clone(), messages);
        queues.delete(name, &DeleteParams::default()).await.unwrap();
        until(&format!("{name} goes"), async || {
            let there = queues.get_opt(name).await.unwrap();
            if there.is_none() {
                Ok(())
            } else {
                Err("it is there".to_owned())
            }
        })
        .await;
        let left = world.cluster.lock().unwrap().queues.contains_key(&key);
        assert_eq!(left, stays, "{name}");
    }
    dead_letters_last(world, queues).await;
}

/// A queue that takes dead letters goes after those that send them, whatever goes first.
async fn dead_letters_last(world: &World, queues: &Api<Queue>) {
    make::<Queue>(
        &world.client,
        "shop",
        queue("letters", "Delete", &json!({})),
    )
    .await;
    condition(queues, "letters", "Ready", "Serving").await;
    let more = json!({"deadLetter": {"queueRef": {"name": "letters"}}});
    make::<Queue>(&world.client, "shop", queue("source", "Delete", &more)).await;
    condition(queues, "source", "Ready", "Serving").await;
    queues
        .delete("letters", &DeleteParams::default())
        .await
        .unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert!(
        queues.get_opt("letters").await.unwrap().is_some(),
        "it waits"
    );
    queues
        .delete("source", &DeleteParams::default())
        .await
        .unwrap();
    until("both go", async || {
        let left = queues.get_opt("letters").await.unwrap();
        left.map_or(Ok(()), |left| Err(format!("{:?}", left.metadata)))
    })
    .await;
    let cluster = world.cluster.lock().unwrap();
    assert!(
        !cluster.queues.contains_key("shop/letters") && !cluster.queues.contains_key("shop/source")
    );
}
