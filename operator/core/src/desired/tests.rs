use roadstead_crds::{ListenerConnections, NamespacesFrom, QueueCluster, TlsMode};
use serde_json::{Value, json};

use super::fixtures::cluster;
use super::*;
use crate::observed::fixtures::ID;

fn around() -> Surroundings {
    Surroundings {
        operator_namespace: "roadstead-system".into(),
        image: "roadstead:1".into(),
        replicas: 3,
    }
}

fn build(cluster: &QueueCluster) -> Desired {
    desired(cluster, ID, &around())
}

fn pod(desired: &Desired) -> Value {
    serde_json::to_value(&desired.statefulset).unwrap()["spec"]["template"].clone()
}

#[test]
fn pods_meet_the_restricted_standard() {
    let pod = &pod(&build(&cluster()))["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    for container in pod["containers"].as_array().unwrap() {
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
    }
    for volume in pod["volumes"].as_array().unwrap() {
        assert!(volume.get("hostPath").is_none());
    }
}

#[test]
fn nodes_are_told_where_they_are() {
    let pod = pod(&build(&cluster()));
    let arguments = pod["spec"]["containers"][0]["args"]
        .as_array()
        .unwrap()
        .clone();
    let host = "$(POD_NAME).main-nodes.queues.svc";
    for wanted in [
        "--data-dir=/data".to_owned(),
        format!("--advertise-peer={host}:7702"),
        format!("--advertise-client={host}:7701"),
        "--client-auth=service-account".to_owned(),
        "--client-tls-dir=/client-tls".to_owned(),
    ] {
        assert!(
            arguments.contains(&json!(wanted)),
            "{wanted} is not in {arguments:?}"
        );
    }
    let zone = &pod["spec"]["containers"][0]["env"][1];
    assert_eq!(zone["name"], "ROADSTEAD_ZONE");
    let path = &zone["valueFrom"]["fieldRef"]["fieldPath"];
    assert_eq!(path, "metadata.labels['topology.kubernetes.io/zone']");
}

#[test]
fn nodes_are_told_how_many_connections_they_take_where_the_cluster_says() {
    let arguments =
        |cluster: &QueueCluster| pod(&build(cluster))["spec"]["containers"][0]["args"].to_string();
    let mut cluster = cluster();
    assert!(!arguments(&cluster).contains("connections"));
    cluster.spec.listeners[0].connections = ListenerConnections {
        max: Some(500),
        max_per_service_account: Some(50),
    };
    let told = arguments(&cluster);
    assert!(told.contains("\"--client-max-connections=500\""), "{told}");
    assert!(
        told.contains("\"--client-max-connections-per-account=50\""),
        "{told}"
    );
}

#[test]
fn without_client_tls_nothing_is_mounted() {
    let mut cluster = cluster();
    cluster.spec.listeners[0].tls.mode = TlsMode::Disabled;
    let text = pod(&build(&cluster)).to_string();
    assert!(!text.contains("client-tls"), "{text}");
    let secret = tls_secret(&cluster, &certificate("node"), &certificate("client"));
    assert_eq!(secret.data.unwrap().len(), 3);
}

fn certificate(name: &str) -> Certificate {
    Certificate {
        ca: format!("{name} ca"),
        certificate: format!("{name} certificate"),
        key: format!("{name} key"),
    }
}

/// Two clusters of a namespace share a Secret, and not a key of it.
#[test]
fn a_pod_sees_its_own_certificates_under_the_usual_names() {
    let mut other = cluster();
    other.metadata.name = Some("main2".into());
    other.metadata.uid = Some("u-2".into());
    let secret = |cluster: &QueueCluster| {
        let secret = tls_secret(cluster, &certificate("node"), &certificate("client"));
        assert_eq!(secret.metadata.name.as_deref(), Some("roadstead-tls"));
        let owners = secret.metadata.owner_references.unwrap();
        assert_eq!((owners.len(), owners[0].controller), (1, None));
        secret.data.unwrap()
    };
    let (data, others) = (secret(&cluster()), secret(&other));
    assert_eq!(data.len(), 6);
    assert!(others.keys().all(|key| !data.contains_key(key)));
    let pod = pod(&build(&cluster()));
    for (volume, listener) in [(0, "node"), (1, "client")] {
        let source = &pod["spec"]["volumes"][volume]["secret"];
        assert_eq!(source["secretName"], "roadstead-tls");
        let files: Vec<_> = source["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| {
                let bytes = &data[item["key"].as_str().unwrap()];
                let text = String::from_utf8(bytes.0.clone()).unwrap();
                (item["path"].as_str().unwrap().to_owned(), text)
            })
            .collect();
        let wanted = [
            ("ca.crt".to_owned(), format!("{listener} ca")),
            ("tls.crt".to_owned(), format!("{listener} certificate")),
            ("tls.key".to_owned(), format!("{listener} key")),
        ];
        assert_eq!(files, wanted);
    }
}

/// Pods do not mount it, and who reads it sees no key of a node.
#[test]
fn people_have_a_secret_of_their_own() {
    let secret = admin_secret(&cluster(), &certificate("admin"));
    assert_eq!(secret.metadata.name.as_deref(), Some("roadstead-admin"));
    let data = secret.data.unwrap();
    let keys: Vec<_> = data.keys().map(String::as_str).collect();
    assert_eq!(keys, ["main.ca.crt", "main.tls.crt", "main.tls.key"]);
    assert_eq!(data["main.tls.key"].0, b"admin key");
    let pod = pod(&build(&cluster())).to_string();
    assert!(!pod.contains("roadstead-admin"), "{pod}");
}

#[test]
fn a_statefulset_rolls_only_when_told() {
    let desired = build(&cluster());
    let spec = desired.statefulset.spec.unwrap();
    assert_eq!(
        spec.update_strategy.unwrap().type_.as_deref(),
        Some("OnDelete")
    );
    assert_eq!(spec.pod_management_policy.as_deref(), Some("Parallel"));
    let claim = &spec.volume_claim_templates.unwrap()[0];
    assert_eq!(claim.metadata.labels.as_ref().unwrap()[CLUSTER_ID], ID);
}

#[test]
fn a_single_node_has_no_disruption_budget() {
    let mut cluster = cluster();
    let desired = build(&cluster);
    assert!(desired.has_disruption_budget);
    let budget = desired.disruption_budget.spec.unwrap();
    assert_eq!(
        budget.unhealthy_pod_eviction_policy.as_deref(),
        Some("AlwaysAllow")
    );
    cluster.spec.replicas = 1;
    assert!(!build(&cluster).has_disruption_budget);
}

#[test]
fn each_port_is_open_to_those_it_is_for() {
    let mut cluster = cluster();
    let rules = |cluster: &QueueCluster| {
        let policy = serde_json::to_value(build(cluster).network_policy).unwrap();
        policy["spec"]["ingress"].clone()
    };
    let peer = &rules(&cluster)[0];
    assert_eq!(peer["ports"][0]["port"], 7702);
    assert_eq!(peer["from"].as_array().unwrap().len(), 2);
    assert_eq!(
        peer["from"][1]["namespaceSelector"]["matchLabels"],
        json!({"kubernetes.io/metadata.name": "roadstead-system"})
    );
    assert_eq!(rules(&cluster)[1]["from"][0], json!({"podSelector": {}}));
    let metrics = &rules(&cluster)[2];
    assert_eq!(metrics["ports"][0]["port"], 7703);
    let label = json!({"matchLabels": {"roadstead.dev/metrics": "allow"}});
    let readers = json!([{"podSelector": {}}, {"namespaceSelector": label}]);
    assert_eq!(metrics["from"], readers);
    cluster.spec.queue_namespaces.from = NamespacesFrom::All;
    assert!(rules(&cluster)[1].get("from").is_none());
}

#[test]
fn the_revision_follows_settings_and_nothing_else() {
    let base = cluster();
    let mut other = base.clone();
    other.spec.replicas = 5;
    other.spec.queue_namespaces.from = NamespacesFrom::All;
    assert_eq!(revision(&base, "i:1"), revision(&other, "i:1"));
    assert_ne!(revision(&base, "i:1"), revision(&base, "i:2"));
    other.spec.pod.labels.insert("team".into(), "a".into());
    assert_ne!(revision(&base, "i:1"), revision(&other, "i:1"));
    let mut again = base.clone();
    again.metadata.annotations = Some([(RESTARTED_AT.to_owned(), "now".to_owned())].into());
    assert_ne!(revision(&base, "i:1"), revision(&again, "i:1"));
}
