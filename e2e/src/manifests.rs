//! The objects that stories apply, as a user would write them.
use serde_json::{Value, json};

/// Port of the listener for clients.
pub const CLIENT_PORT: u16 = 7701;
/// Port of the listener for peers and administrators.
pub const PEER_PORT: u16 = 7702;
/// Port of the HTTP listener.
pub const HTTP_PORT: u16 = 7703;
/// The audience of the tokens that clients show.
pub const AUDIENCE: &str = "roadstead";
/// The image with shell tools that every node has.
pub const BUSYBOX: &str = "local.test/busybox:1";

/// A cluster of three nodes with eight shards, for queues of every namespace.
pub fn queue_cluster(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "roadstead.dev/v1alpha1",
        "kind": "QueueCluster",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 3,
            "shards": 8,
            "storage": {"size": "2Gi", "reclaim": {"onDelete": "Retain"}},
            "queueNamespaces": {"from": "All"},
        },
    })
}

/// A queue over all shards, in the cluster of the same namespace.
pub fn queue(namespace: &str, name: &str, cluster: &str) -> Value {
    json!({
        "apiVersion": "roadstead.dev/v1alpha1",
        "kind": "Queue",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "clusterRef": {"name": cluster},
            "partitions": 8,
            "lease": "10s",
            "deletionPolicy": "Retain",
        },
    })
}

/// A client of a cluster in pods.
#[derive(Debug, Clone)]
pub struct Client {
    /// Namespace of the pods, and of their queues.
    pub namespace: String,
    /// Name of the cluster.
    pub cluster: String,
    /// Namespace of the cluster.
    pub cluster_namespace: String,
    /// Image with the command line in it.
    pub image: String,
}

impl Client {
    /// A Deployment of pods that run `roadstead WORDS`.
    pub fn deployment(&self, name: &str, replicas: u32, words: &[&str]) -> Value {
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": name}},
                "template": self.template(name, "Always", words),
            },
        })
    }

    /// A Job of `pods` pods, all at once, that run `roadstead WORDS`.
    pub fn job(&self, name: &str, pods: u32, words: &[&str]) -> Value {
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "parallelism": pods,
                "completions": pods,
                "backoffLimit": 0,
                "template": self.template(name, "Never", words),
            },
        })
    }

    fn template(&self, name: &str, restart: &str, words: &[&str]) -> Value {
        let mut container = self.container(words);
        container["volumeMounts"] = json!([
            {"name": "token", "mountPath": "/var/run/roadstead", "readOnly": true},
            {"name": "ca", "mountPath": "/etc/roadstead", "readOnly": true},
        ]);
        let token = json!({"serviceAccountToken": {"path": "token", "audience": AUDIENCE}});
        json!({
            "metadata": {"labels": {"app": name}},
            "spec": {
                "restartPolicy": restart,
                "terminationGracePeriodSeconds": 20,
                "securityContext": restricted_pod(),
                "containers": [container],
                "volumes": [
                    {"name": "token", "projected": {"sources": [token]}},
                    {"name": "ca", "configMap": {"name": format!("{}-roadstead-ca", self.cluster)}},
                ],
            },
        })
    }

    fn container(&self, words: &[&str]) -> Value {
        let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
        let endpoint = format!(
            "https://{}.{}.svc:{CLIENT_PORT}",
            self.cluster, self.cluster_namespace
        );
        json!({
            "name": "roadstead",
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["/usr/local/bin/roadstead"],
            "args": words,
            "env": [
                {"name": "POD_NAME", "valueFrom": field("metadata.name")},
                {"name": "POD_UID", "valueFrom": field("metadata.uid")},
                {"name": "ROADSTEAD_ENDPOINT", "value": endpoint},
                {"name": "ROADSTEAD_NAMESPACE", "value": self.namespace},
                {"name": "ROADSTEAD_TOKEN_FILE", "value": "/var/run/roadstead/token"},
                {"name": "ROADSTEAD_CA_FILE", "value": "/etc/roadstead/ca.crt"},
            ],
            "securityContext": restricted_container(),
        })
    }
}

/// A pod with shell tools that runs until it is deleted.
pub fn toolbox(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": restricted_pod(),
            "containers": [{
                "name": "box",
                "image": BUSYBOX,
                "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/busybox", "sleep", "3600"],
                "securityContext": restricted_container(),
            }],
        },
    })
}

/// Security settings of a pod that the restricted standard accepts.
pub fn restricted_pod() -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// Security settings of a container that the restricted standard accepts.
pub fn restricted_container() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_pods_know_their_cluster_and_hold_a_token_for_it() {
        let client = Client {
            namespace: "shop".to_owned(),
            cluster: "main".to_owned(),
            cluster_namespace: "queues".to_owned(),
            image: "roadstead:1".to_owned(),
        };
        let job = client.job("producer", 4, &["load", "produce"]);
        let pod = &job["spec"]["template"]["spec"];
        let env = pod["containers"][0]["env"].as_array().unwrap();
        let endpoint = env
            .iter()
            .find(|e| e["name"] == "ROADSTEAD_ENDPOINT")
            .unwrap();
        assert_eq!(endpoint["value"], "https://main.queues.svc:7701");
        let token = &pod["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"];
        assert_eq!(token["audience"], AUDIENCE);
        assert_eq!(pod["volumes"][1]["configMap"]["name"], "main-roadstead-ca");
        assert_eq!(job["spec"]["completions"], 4);
    }
}
