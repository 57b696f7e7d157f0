//! A namespace with an operator that runs in this process under the chart's permissions, and what
//! plays kubelets and the StatefulSet controller.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use roadstead_operator::config::{Config, LogFormat};
use roadstead_operator_core::controls::Controls;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::manifests::{apply, checkout, install_definitions, objects};
use crate::server::ApiServer;
use crate::standin::{self, Shared};

/// Namespace of the operator.
pub const SYSTEM: &str = "roadstead-system";
type Places = Arc<Mutex<BTreeMap<String, String>>>;

/// Everything that runs.
pub struct World {
    /// May do everything.
    pub client: Client,
    /// What the nodes have in common.
    pub cluster: Shared,
    /// The most pods that were missing at a time, once all had been there.
    pub missing_max: Arc<Mutex<usize>>,
    stop: watch::Sender<bool>,
    operator: Option<JoinHandle<anyhow::Result<()>>>,
    kubelet: JoinHandle<()>,
    places: Places,
    server: ApiServer,
}

impl World {
    /// Starts it all.
    pub async fn start() -> Self {
        // Another test of this process may have chosen it already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let server = ApiServer::start().await;
        let client = server.client(None).await;
        install_definitions(&client).await;
        namespace(&client, SYSTEM).await;
        permissions(&client).await;
        let cluster = Shared::default();
        let places = Places::default();
        let missing_max = Arc::default();
        let kubelet = Kubelet {
            client: client.clone(),
            cluster: cluster.clone(),
            places: places.clone(),
            missing_max: Arc::clone(&missing_max),
            nodes: BTreeMap::new(),
            disks: BTreeMap::new(),
        };
        let kubelet = tokio::spawn(kubelet.run());
        let (stop, _) = watch::channel(false);
        let mut world = Self {
            client,
            cluster,
            missing_max,
            stop,
            operator: None,
            kubelet,
            places,
            server,
        };
        world.start_operator("one").await;
        world
    }

    /// A client with the permissions that the chart gives the operator.
    pub async fn operator_client(&self) -> Client {
        let user = format!("system:serviceaccount:{SYSTEM}:roadstead");
        self.server.client(Some(&user)).await
    }

    /// Where the peer and admin listener of a pod is.
    pub fn place(&self, pod: &str) -> String {
        format!("https://{}", self.places.lock().unwrap()[pod])
    }

    /// Starts an operator of this name with the permissions of the chart.
    pub async fn start_operator(&mut self, name: &str) {
        let client = self.operator_client().await;
        let config = Config {
            namespace: SYSTEM.into(),
            identity: name.into(),
            node_image: "roadstead:test".into(),
            token_review_role: "roadstead-node-tokenreview".into(),
            lease: "roadstead-operator".into(),
            http_listen: ([127, 0, 0, 1], 0).into(),
            concurrency: 4,
            log_format: LogFormat::Text,
            controls: Controls::default(),
        };
        let places = self.places.clone();
        let resolve = Arc::new(move |pod: &str, _: &str| {
            let place = places.lock().unwrap().get(pod).cloned();
            format!(
                "https://{}",
                place.unwrap_or_else(|| "127.0.0.1:9".to_owned())
            )
        });
        let stopped = self.stop.subscribe();
        self.operator = Some(tokio::spawn(roadstead_operator::run(
            client, config, resolve, stopped,
        )));
    }

    /// Ends the operator as SIGKILL would.
    pub async fn kill_operator(&mut self) {
        let operator = self.operator.take().unwrap();
        operator.abort();
        drop(operator.await);
    }

    /// Ends everything; an operator that ended by itself fails the test.
    pub async fn end(mut self) {
        let operator = self.operator.take().unwrap();
        assert!(
            !operator.is_finished(),
            "the operator ended: {:?}",
            operator.await
        );
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(Duration::from_secs(20), operator).await;
        ended.expect("the operator did not stop").unwrap().unwrap();
        self.kubelet.abort();
    }
}

/// Waits until `check` gives something; fails with its last objection after two minutes.
pub async fn until<T, F>(what: &str, mut check: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let begin = Instant::now();
    loop {
        match check().await {
            Ok(found) => return found,
            Err(why) => assert!(begin.elapsed() < Duration::from_mins(2), "{what}: {why}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Makes an object as a user would; what became of it.
pub async fn make<K>(client: &Client, space: &str, object: Value) -> (Api<K>, K)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), space);
    let object = serde_json::from_value(object).unwrap();
    let made = api.create(&PostParams::default(), &object).await.unwrap();
    (api, made)
}

/// Creates a namespace.
pub async fn namespace(client: &Client, name: &str) {
    let api: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    api.create(&PostParams::default(), &namespace)
        .await
        .unwrap();
}

/// Applies ServiceAccount and RBAC of the operator as helm renders them.
async fn permissions(client: &Client) {
    let text = std::fs::read_to_string(checkout("operator/tests/golden/chart.yaml")).unwrap();
    for object in objects(&text) {
        let kind = object.types.as_ref().unwrap().kind.as_str();
        if kind != "Deployment" {
            apply(client, &object, false).await.unwrap();
        }
    }
}

/// Plays the StatefulSet controller, the kubelets and the nodes.
struct Kubelet {
    client: Client,
    cluster: Shared,
    places: Places,
    missing_max: Arc<Mutex<usize>>,
    nodes: BTreeMap<String, (String, JoinHandle<()>)>,
    /// Node ids live on disks, which outlive pods.
    disks: BTreeMap<String, u64>,
}

impl Kubelet {
    async fn run(mut self) {
        loop {
            self.round().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn round(&mut self) {
        let sets: Api<StatefulSet> = Api::all(self.client.clone());
        for set in sets.list(&ListParams::default()).await.unwrap().items {
            let namespace = set.namespace().unwrap();
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
            let replicas = set
                .spec
                .as_ref()
                .and_then(|spec| spec.replicas)
                .unwrap_or(0);
            let live = pods.list(&ListParams::default()).await.unwrap().items;
            self.count(&live, usize::try_from(replicas).unwrap());
            for pod in &live {
                let name = pod.name_any();
                let ordinal: i32 = name.rsplit('-').next().unwrap().parse().unwrap();
                if ordinal >= replicas {
                    drop(
                        pods.delete(&name, &kube::api::DeleteParams::default())
                            .await,
                    );
                }
            }
            for ordinal in 0..replicas {
                let name = format!("{}-{ordinal}", set.name_any());
                if !live.iter().any(|pod| pod.name_any() == name) {
                    self.pod(&pods, &set, &name).await;
                }
            }
        }
    }

    fn count(&self, live: &[Pod], replicas: usize) {
        let founded = !self.cluster.lock().unwrap().members.is_empty();
        if founded && self.nodes.len() >= replicas {
            let mut most = self.missing_max.lock().unwrap();
            *most = (*most).max(replicas.saturating_sub(live.len()));
        }
    }

    /// A pod starts once its Secret is there, as on a kubelet.
    async fn pod(&mut self, pods: &Api<Pod>, set: &StatefulSet, name: &str) {
        let mut template = json!(set.spec.as_ref().unwrap().template);
        let Some(tls) = self.secret(&set.namespace().unwrap(), &template).await else {
            return;
        };
        template["metadata"]["name"] = json!(name);
        template["spec"]["volumes"]
            .as_array_mut()
            .unwrap()
            .push(json!({
                "name": "data", "emptyDir": {}
            }));
        let pod: Pod = serde_json::from_value(template).unwrap();
        let made = pods.create(&PostParams::default(), &pod).await.unwrap();
        let next = 1_000 + self.disks.len() as u64;
        let id = *self.disks.entry(name.to_owned()).or_insert(next);
        let (address, node) = standin::start(id, name, self.cluster.clone(), &tls).await;
        self.places
            .lock()
            .unwrap()
            .insert(name.to_owned(), address.to_string());
        if let Some((_, old)) = self
            .nodes
            .insert(name.to_owned(), (made.uid().unwrap(), node))
        {
            old.abort();
        }
        let now = jiff::Timestamp::now().to_string();
        let status = json!({"status": {
            "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
        }});
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
    }

    /// What a kubelet would put under `/tls`: the keys that the template names, as files.
    async fn secret(&self, namespace: &str, template: &Value) -> Option<BTreeMap<String, String>> {
        let volumes = template["spec"]["volumes"].as_array().unwrap();
        let tls = volumes.iter().find(|v| v["name"] == "tls").unwrap();
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let name = tls["secret"]["secretName"].as_str().unwrap();
        let data = secrets.get(name).await.ok()?.data?;
        let file = |item: &Value| {
            let bytes = data.get(item["key"].as_str().unwrap())?;
            let text = String::from_utf8(bytes.0.clone()).unwrap();
            Some((item["path"].as_str().unwrap().to_owned(), text))
        };
        let items = tls["secret"]["items"].as_array().unwrap();
        items.iter().map(file).collect()
    }
}
