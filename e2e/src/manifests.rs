//! The objects that stories apply, as a user would write them.
use serde_json::{Value, json};

/// Port of the listener for clients.
pub const CLIENT_PORT: u16 = 7701;
/// Port of the listener for peers and administrators.
pub const PEER_PORT: u16 = 7702;
/// Port of the HTTP listener.
pub const HTTP_PORT: u16 = 7703;
/// The addresses of pods, with both providers.
const POD_ADDRESSES: &str = "10.244.0.0/16";
/// The audience of the tokens that clients show.
pub const AUDIENCE: &str = "roadstead";
/// The image with shell tools that every node has.
pub const BUSYBOX: &str = "local.test/busybox:1";

/// Where a pod that has it finds the certificate of the nodes.
const NODE_TLS: &str = "/etc/roadstead-node";

/// The label of pods whose output is a ledger.
pub const LOAD_LABEL: &str = "roadstead-e2e/load";

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

/// Where the clients of a cluster connect.
pub fn endpoint(namespace: &str, cluster: &str) -> String {
    format!("{cluster}.{namespace}.svc:{CLIENT_PORT}")
}

/// A client of a cluster in pods.
#[derive(Debug, Clone)]
pub struct Client {
    /// Namespace of the pods.
    pub namespace: String,
    /// Name of the cluster.
    pub cluster: String,
    /// Where it connects.
    pub endpoint: String,
    /// Namespace of the queues that it uses.
    pub queues: String,
    /// Whether it speaks TLS, and trusts the cluster's CA.
    pub tls: bool,
    /// Whether it shows a token.
    pub token: bool,
    /// Whether it shows the certificate of the cluster's nodes.
    pub certificate: bool,
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
                // One that fails is not tried again, and does not take the others with it.
                "completionMode": "Indexed",
                "backoffLimitPerIndex": 0,
                "template": self.template(name, "Never", words),
            },
        })
    }

    /// A pod that runs `roadstead WORDS` once.
    pub fn pod(&self, name: &str, words: &[&str]) -> Value {
        let mut pod = self.template(name, "Never", words);
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["namespace"] = json!(self.namespace);
        pod
    }

    fn template(&self, name: &str, restart: &str, words: &[&str]) -> Value {
        let mut container = self.container(words);
        container["volumeMounts"] = json!([
            {"name": "token", "mountPath": "/var/run/roadstead", "readOnly": true},
            {"name": "ca", "mountPath": "/etc/roadstead", "readOnly": true},
        ]);
        let token = json!({"serviceAccountToken": {"path": "token", "audience": AUDIENCE}});
        let mut volumes = vec![
            json!({"name": "token", "projected": {"sources": [token]}}),
            json!({"name": "ca", "configMap": {"name": format!("{}-roadstead-ca", self.cluster)}}),
        ];
        if self.certificate {
            let mount = json!({"name": "node", "mountPath": NODE_TLS, "readOnly": true});
            container["volumeMounts"]
                .as_array_mut()
                .into_iter()
                .for_each(|mounts| mounts.push(mount.clone()));
            let item = |file| json!({"key": format!("{}.node.{file}", self.cluster), "path": file});
            let items = ["ca.crt", "tls.crt", "tls.key"].map(item);
            let secret = json!({"secretName": "roadstead-tls", "items": items});
            volumes.push(json!({"name": "node", "secret": secret}));
        }
        json!({
            "metadata": {"labels": {"app": name, LOAD_LABEL: "true"}},
            "spec": {
                "restartPolicy": restart,
                "terminationGracePeriodSeconds": 20,
                "securityContext": restricted_pod(),
                "containers": [container],
                "volumes": volumes,
            },
        })
    }

    fn container(&self, words: &[&str]) -> Value {
        let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
        let mut env = vec![
            json!({"name": "POD_NAME", "valueFrom": field("metadata.name")}),
            json!({"name": "POD_UID", "valueFrom": field("metadata.uid")}),
            json!({"name": "ROADSTEAD_ENDPOINT", "value": self.endpoint}),
            json!({"name": "ROADSTEAD_NAMESPACE", "value": self.queues}),
        ];
        if self.tls {
            let file = "/etc/roadstead/ca.crt";
            env.push(json!({"name": "ROADSTEAD_CA_FILE", "value": file}));
        }
        if self.token {
            let file = "/var/run/roadstead/token";
            env.push(json!({"name": "ROADSTEAD_TOKEN_FILE", "value": file}));
        }
        if self.certificate {
            for (name, file) in [("CERT", "tls.crt"), ("KEY", "tls.key")] {
                let (name, file) = (
                    format!("ROADSTEAD_{name}_FILE"),
                    format!("{NODE_TLS}/{file}"),
                );
                env.push(json!({"name": name, "value": file}));
            }
        }
        json!({
            "name": "roadstead",
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["/usr/local/bin/roadstead"],
            "args": words,
            "env": env,
            "securityContext": restricted_container(),
        })
    }
}

/// Takes every `NetworkPolicy` out of the way of the pods of a cluster: policies add up.
pub fn let_everybody_in(namespace: &str, cluster: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "let-everybody-in", "namespace": namespace},
        "spec": {
            "podSelector": {"matchLabels": {"roadstead.dev/cluster": cluster}},
            "policyTypes": ["Ingress"],
            "ingress": [{}],
        },
    })
}

/// Lets who is no pod read the metrics of a cluster's pods: the stories do it by way of the API
/// server, whose address is that of a machine.
pub fn let_api_server_read(namespace: &str, cluster: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": format!("{cluster}-metrics"), "namespace": namespace},
        "spec": {
            "podSelector": {"matchLabels": {"roadstead.dev/cluster": cluster}},
            "policyTypes": ["Ingress"],
            "ingress": [{
                "from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [POD_ADDRESSES]}}],
                "ports": [{"port": HTTP_PORT}],
            }],
        },
    })
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
            endpoint: endpoint("queues", "main"),
            queues: "shop".to_owned(),
            tls: true,
            token: true,
            certificate: false,
            image: "roadstead:1".to_owned(),
        };
        let job = client.job("producer", 4, &["load", "produce"]);
        let pod = &job["spec"]["template"]["spec"];
        let env = pod["containers"][0]["env"].as_array().unwrap();
        let endpoint = env
            .iter()
            .find(|e| e["name"] == "ROADSTEAD_ENDPOINT")
            .unwrap();
        assert_eq!(endpoint["value"], "main.queues.svc:7701");
        let token = &pod["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"];
        assert_eq!(token["audience"], AUDIENCE);
        assert_eq!(pod["volumes"][1]["configMap"]["name"], "main-roadstead-ca");
        assert_eq!(job["spec"]["completions"], 4);
    }
}
