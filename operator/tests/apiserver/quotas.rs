//! The quotas of namespaces: set and taken away as the object says, and told to whom they refuse.
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use roadstead_crds::{Queue, QueueCluster};
use serde_json::{Value, json};

use crate::workloads::{condition, queue};
use crate::world::{World, make, until};

async fn set(clusters: &Api<QueueCluster>, quotas: Value) {
    let patch = Patch::Merge(json!({"spec": {"namespaceQuotas": quotas}}));
    let params = PatchParams::default();
    clusters.patch("main", &params, &patch).await.unwrap();
}

/// Waits until so many orders were given that were about quotas; all of them.
async fn orders(world: &World, count: usize) -> Vec<String> {
    let given = || {
        let cluster = world.cluster.lock().unwrap();
        let all = cluster.orders.iter();
        let about = all.filter(|order| order.starts_with("quota "));
        about.cloned().collect::<Vec<_>>()
    };
    until("the quotas are ordered", async || {
        let given = given();
        (given.len() >= count)
            .then_some(())
            .ok_or(format!("{given:?}"))
    })
    .await;
    given()
}

/// Touches the cluster, and waits until it was looked at after that.
async fn look_again(clusters: &Api<QueueCluster>, world: &World) {
    let looks = || world.cluster.lock().unwrap().quota_looks;
    for n in 0..2 {
        let before = looks();
        let touch = json!({"metadata": {"annotations": {"look": format!("quotas {n}")}}});
        let params = PatchParams::default();
        let touch = Patch::Merge(touch);
        clusters.patch("main", &params, &touch).await.unwrap();
        until("it is looked at again", async || {
            (looks() > before).then_some(()).ok_or("not yet".to_owned())
        })
        .await;
    }
}

/// `shop` has the queue `orders` of at most 101 messages.
pub async fn quotas(world: &World, queues: &Api<Queue>, clusters: &Api<QueueCluster>) {
    let shop = |messages: u64| json!({"namespace": "shop", "maxMessages": messages});
    let all = json!({"namespace": "*", "maxQueues": 5, "maxBytes": "10Gi"});
    set(clusters, json!([shop(150), all])).await;
    let mut expected = vec!["quota * 5 0", "quota shop 0 150"];
    assert_eq!(orders(world, 2).await, expected);

    let limits = json!({"limits": {"maxMessages": 60}});
    let (_, more) = make::<Queue>(&world.client, "shop", queue("more", "Delete", &limits)).await;
    condition(queues, "more", "Accepted", "QuotaExceeded").await;
    let status = queues.get("more").await.unwrap().status.unwrap();
    let message = &status.conditions[0].message;
    assert!(
        message.contains("its quota of messages is 150"),
        "{message}"
    );
    drop(more);

    look_again(clusters, world).await;
    assert_eq!(orders(world, 2).await, expected, "nothing has changed");

    set(clusters, json!([shop(161)])).await;
    expected.extend(["quota shop 0 161", "quota * gone"]);
    assert_eq!(orders(world, 4).await, expected);
    let touch = Patch::Merge(json!({"metadata": {"annotations": {"look": "again"}}}));
    let params = PatchParams::default();
    queues.patch("more", &params, &touch).await.unwrap();
    condition(queues, "more", "Ready", "Serving").await;

    set(clusters, json!([])).await;
    expected.push("quota shop gone");
    assert_eq!(orders(world, 5).await, expected);
    queues
        .delete("more", &DeleteParams::default())
        .await
        .unwrap();
    until("the queue is gone", async || {
        let gone = queues.get_opt("more").await.unwrap().is_none();
        gone.then_some(()).ok_or("it is there".to_owned())
    })
    .await;
}
