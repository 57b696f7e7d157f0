//! The life of a cluster: founded once, rolled one by one, scaled, deleted.
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use roadstead_crds::QueueCluster;
use roadstead_operator::nodes::Node;
use roadstead_operator_core::conditions::is_true;
use roadstead_operator_core::desired::Certificate;
use roadstead_proto::v1::GetNodeRequest;
use serde_json::{Value, json};

use crate::world::{SYSTEM, World, make, namespace, until};

/// Creates a `QueueCluster`.
pub async fn create(
    client: &Client,
    (space, name): (&str, &str),
    spec: Value,
) -> Api<QueueCluster> {
    let cluster = json!({
        "apiVersion": "roadstead.dev/v1alpha1", "kind": "QueueCluster",
        "metadata": {"name": name}, "spec": spec,
    });
    make(client, space, cluster).await.0
}

/// Waits until the cluster is Ready and at rest.
pub async fn ready(api: &Api<QueueCluster>) -> QueueCluster {
    until("the cluster gets Ready", async || {
        let cluster = api.get("main").await.unwrap();
        let status = cluster.status.clone().unwrap_or_default();
        let settled = is_true(&status.conditions, "Ready")
            && status.plan.is_empty()
            && status.observed_generation == cluster.metadata.generation;
        if settled {
            Ok(cluster)
        } else {
            Err(format!("{status:#?}"))
        }
    })
    .await
}

/// Waits until a cluster that is being deleted is gone.
pub async fn gone(api: &Api<QueueCluster>, name: &str) {
    until("the object goes", async || {
        let there = api.get_opt(name).await.unwrap();
        if there.is_none() {
            Ok(())
        } else {
            Err("it is there".to_owned())
        }
    })
    .await;
}

fn orders(world: &World, start: &str) -> Vec<String> {
    let cluster = world.cluster.lock().unwrap();
    cluster
        .orders
        .iter()
        .filter(|order| order.starts_with(start))
        .cloned()
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_lives() {
    let mut world = World::start().await;
    namespace(&world.client, "queues").await;
    let api = create(
        &world.client,
        ("queues", "main"),
        json!({"queueNamespaces": {"from": "All"}}),
    )
    .await;
    let cluster = ready(&api).await;
    let id = cluster.status.as_ref().unwrap().cluster_id.clone().unwrap();
    let founded: Vec<_> = (0..3).map(|n| format!("bootstrap main-{n} {id}")).collect();
    assert_eq!(orders(&world, "bootstrap"), founded, "each founder once");
    everything_is_there(&world.client).await;

    administrate(&world, &id).await;
    narrowed(&world.client, &api).await;
    moved(&world.client, &api).await;

    world.kill_operator().await;
    forget_administrators(&world.client).await;
    world.start_operator("one").await;
    reissued(&world, &id).await;
    roll(&world, &api).await;
    resize(&world, &api).await;
    assert_eq!(orders(&world, "bootstrap"), founded, "never again");
    assert!(
        world
            .cluster
            .lock()
            .unwrap()
            .fences
            .iter()
            .all(|fence| *fence <= 1)
    );
    remove(&world, &api).await;
    world.end().await;
}

async fn everything_is_there(client: &Client) {
    macro_rules! there {
        ($kind:ty, $($name:literal),+) => {$(
            let api: Api<$kind> = Api::namespaced(client.clone(), "queues");
            let found = api.get($name).await.unwrap();
            assert_eq!(found.owner_references().len(), 1, "{} has no owner", $name);
        )+};
    }
    there!(StatefulSet, "main");
    there!(Service, "main", "main-nodes");
    there!(ServiceAccount, "main-node");
    there!(Secret, "roadstead-tls", "roadstead-admin");
    there!(ConfigMap, "main-roadstead-ca");
    there!(NetworkPolicy, "main");
    there!(PodDisruptionBudget, "main");
    let elsewhere: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let map = elsewhere.get("main-roadstead-ca").await.unwrap();
    assert!(
        map.owner_references().is_empty(),
        "an owner of another namespace would delete it"
    );
    let authority: Api<Secret> = Api::namespaced(client.clone(), SYSTEM);
    let keys = authority
        .get("authority.queues.main")
        .await
        .unwrap()
        .data
        .unwrap();
    assert!(keys.contains_key("ca.key"));
}

/// A namespace that is no longer let in loses the CA; the cluster's own keeps it.
async fn narrowed(client: &Client, api: &Api<QueueCluster>) {
    namespace(client, "guest").await;
    let spaces: Api<Namespace> = Api::all(client.clone());
    let label = |value: Value| Patch::Merge(json!({"metadata": {"labels": {"queues": value}}}));
    let params = PatchParams::default();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "guest");
    let has = async |space: &str, wanted: bool| {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), space);
        until(&format!("{space} has the CA: {wanted}"), async || {
            let there = maps.get_opt("main-roadstead-ca").await.unwrap();
            if there.is_some() == wanted {
                Ok(())
            } else {
                Err(format!("{there:?}"))
            }
        })
        .await;
    };
    has("guest", true).await;
    let yes = label(json!("yes"));
    spaces.patch("guest", &params, &yes).await.unwrap();
    let selector = json!({"matchLabels": {"queues": "yes"}});
    let narrow = json!({"spec": {"queueNamespaces": {"from": "Selector", "selector": selector}}});
    api.patch("main", &params, &Patch::Merge(narrow))
        .await
        .unwrap();
    has("default", false).await;
    has("guest", true).await;
    let mine = json!({"metadata": {"name": "mine"}, "data": {"mine": "yes"}});
    let mine = serde_json::from_value(mine).unwrap();
    maps.create(&PostParams::default(), &mine).await.unwrap();
    let no = label(Value::Null);
    spaces.patch("guest", &params, &no).await.unwrap();
    has("guest", false).await;
    has("queues", true).await;
    assert!(maps.get_opt("mine").await.unwrap().is_some());
    let open = json!({"spec": {"queueNamespaces": {"from": "All", "selector": null}}});
    api.patch("main", &params, &Patch::Merge(open))
        .await
        .unwrap();
    has("default", true).await;
}

/// A pod that comes to another zone is shown there.
async fn moved(client: &Client, api: &Api<QueueCluster>) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "queues");
    let params = PatchParams::default();
    for zone in ["zone-a", "zone-b"] {
        let labels = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}});
        pods.patch("main-0", &params, &Patch::Merge(labels))
            .await
            .unwrap();
        let look = json!({"metadata": {"annotations": {"look": zone}}});
        api.patch("main", &params, &Patch::Merge(look))
            .await
            .unwrap();
        until(&format!("main-0 is in {zone}"), async || {
            let status = api.get("main").await.unwrap().status.unwrap();
            let shown = status.members["main-0"].zone.clone();
            if shown == zone { Ok(()) } else { Err(shown) }
        })
        .await;
    }
}

/// A person who may read one Secret of the namespace is let in by the nodes.
async fn administrate(world: &World, id: &str) {
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), "queues");
    let data = secrets.get("roadstead-admin").await.unwrap().data.unwrap();
    let file = |name: &str| String::from_utf8(data[name].0.clone()).unwrap();
    let certificate = Certificate {
        ca: file("main.ca.crt"),
        certificate: file("main.tls.crt"),
        key: file("main.tls.key"),
    };
    let node = Node::new("main-0", &world.place("main-0"), id, &certificate).unwrap();
    let answer = node.admin().get_node(GetNodeRequest::default()).await;
    assert_eq!(answer.unwrap().into_inner().cluster_id, id);
}

/// As an operator left it that issued nothing for people.
async fn forget_administrators(client: &Client) {
    let older = Patch::Merge(json!({"data": {"admin.crt": null, "admin.key": null}}));
    let params = PatchParams::default();
    let authority: Api<Secret> = Api::namespaced(client.clone(), SYSTEM);
    let name = "authority.queues.main";
    authority.patch(name, &params, &older).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "queues");
    let params = DeleteParams::default();
    secrets.delete("roadstead-admin", &params).await.unwrap();
}

async fn reissued(world: &World, id: &str) {
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), "queues");
    until("people have a certificate again", async || {
        match secrets.get_opt("roadstead-admin").await.unwrap() {
            Some(_) => Ok(()),
            None => Err("the Secret is not there".to_owned()),
        }
    })
    .await;
    administrate(world, id).await;
}

/// A changed label restarts every pod, one at a time, the leader after its hand-over.
async fn roll(world: &World, api: &Api<QueueCluster>) {
    let uids = |pods: Vec<Pod>| {
        pods.iter()
            .map(|pod| pod.uid().unwrap())
            .collect::<Vec<_>>()
    };
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), "queues");
    let before = uids(pods.list(&ListParams::default()).await.unwrap().items);
    *world.missing_max.lock().unwrap() = 0;
    let leader = world.cluster.lock().unwrap().leader;
    let label = json!({"spec": {"pod": {"labels": {"team": "a"}}}});
    api.patch("main", &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();
    until("every pod is new", async || {
        let after = pods.list(&ListParams::default()).await.unwrap().items;
        let labelled = after
            .iter()
            .filter(|pod| pod.labels().get("team").is_some())
            .count();
        let new = uids(after).iter().all(|uid| !before.contains(uid));
        if labelled == 3 && new {
            Ok(())
        } else {
            Err(format!("{labelled} of 3"))
        }
    })
    .await;
    ready(api).await;
    let transfers = orders(world, "transfer");
    assert_eq!(
        transfers.first(),
        Some(&format!("transfer {leader}")),
        "the leader hands over"
    );
    assert!(
        *world.missing_max.lock().unwrap() <= 1,
        "two pods were gone at a time"
    );
}

/// 3 → 4 → 3: joined; drained, removed, and only then without a pod.
async fn resize(world: &World, api: &Api<QueueCluster>) {
    let replicas = |n: i32| Patch::Merge(json!({"spec": {"replicas": n}}));
    api.patch_scale("main", &PatchParams::default(), &replicas(4))
        .await
        .unwrap();
    ready(api).await;
    assert_eq!(orders(world, "add"), ["add main-3"]);
    api.patch_scale("main", &PatchParams::default(), &replicas(3))
        .await
        .unwrap();
    ready(api).await;
    let id = 1_003;
    assert_eq!(orders(world, "drain"), [format!("drain {id}")]);
    assert_eq!(orders(world, "remove"), [format!("remove {id}")]);
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), "queues");
    until("the pod goes", async || {
        let count = pods.list(&ListParams::default()).await.unwrap().items.len();
        if count == 3 {
            Ok(())
        } else {
            Err(format!("{count} pods"))
        }
    })
    .await;
}

/// What lies outside of the namespace goes; the CA stays with the volumes.
async fn remove(world: &World, api: &Api<QueueCluster>) {
    api.delete("main", &DeleteParams::default()).await.unwrap();
    gone(api, "main").await;
    let bindings: Api<ClusterRoleBinding> = Api::all(world.client.clone());
    assert!(
        bindings
            .get_opt("roadstead:queues:main")
            .await
            .unwrap()
            .is_none()
    );
    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), "default");
    assert!(maps.get_opt("main-roadstead-ca").await.unwrap().is_none());
    let authority: Api<Secret> = Api::namespaced(world.client.clone(), SYSTEM);
    assert!(
        authority
            .get_opt("authority.queues.main")
            .await
            .unwrap()
            .is_some()
    );
}
