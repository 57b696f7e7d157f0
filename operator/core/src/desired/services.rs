//! How the pods are reached, and by whom.
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use roadstead_crds::{NamespacesFrom, ServiceType};

use super::Build;
use crate::names::{HTTP_PORT, METRICS, PEER_PORT};

/// Gives each pod its name, also before it is ready: nodes have to find each other to get ready.
pub(super) fn headless(build: &Build<'_>) -> Service {
    let mut ports = listener_ports(build);
    ports.push(port("peer", PEER_PORT));
    ports.push(port("http", HTTP_PORT));
    Service {
        metadata: build.metadata(&build.names.headless()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(build.names.selector()),
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

pub(super) fn client(build: &Build<'_>) -> Service {
    let kind = build
        .cluster
        .spec
        .listeners
        .first()
        .map(|listener| listener.service.kind);
    let kind = match kind.unwrap_or_default() {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    Service {
        metadata: build.metadata(&build.names.cluster),
        spec: Some(ServiceSpec {
            type_: Some(kind.to_owned()),
            selector: Some(build.names.selector()),
            ports: Some(listener_ports(build)),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn listener_ports(build: &Build<'_>) -> Vec<ServicePort> {
    build
        .cluster
        .spec
        .listeners
        .iter()
        .map(|l| port(&l.name, l.port))
        .collect()
}

fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(number)),
        ..ServicePort::default()
    }
}

/// One pod at a time; pods that are not ready may always go.
pub(super) fn disruption_budget(build: &Build<'_>) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: build.metadata(&build.names.cluster),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(pods(build)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}

/// Peers and the operator reach the peer port, the allowed namespaces the listeners; the metrics,
/// which name every queue, are for this namespace and those that carry a label. The health checks
/// come from the pod's own host, which no policy keeps out.
pub(super) fn network_policy(build: &Build<'_>) -> NetworkPolicy {
    let spec = &build.cluster.spec;
    let outside = spec
        .listeners
        .iter()
        .any(|l| l.service.kind != ServiceType::ClusterIP);
    let clients = if outside { None } else { client_peers(build) };
    let listeners = spec
        .listeners
        .iter()
        .map(|listener| policy_port(listener.port))
        .collect();
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(labelled(
            "kubernetes.io/metadata.name",
            &build.around.operator_namespace,
        )),
        pod_selector: Some(labelled("app.kubernetes.io/name", "roadstead-operator")),
        ..NetworkPolicyPeer::default()
    };
    let peers = NetworkPolicyPeer {
        pod_selector: Some(pods(build)),
        ..Default::default()
    };
    NetworkPolicy {
        metadata: build.metadata(&build.names.cluster),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pods(build)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                rule(
                    Some(vec![peers.clone(), operator]),
                    vec![policy_port(PEER_PORT)],
                ),
                rule(
                    clients.map(|clients| [clients, vec![peers]].concat()),
                    listeners,
                ),
                rule(Some(metrics_readers()), vec![policy_port(HTTP_PORT)]),
            ]),
            ..NetworkPolicySpec::default()
        }),
    }
}

fn own_namespace() -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    }
}

fn metrics_readers() -> Vec<NetworkPolicyPeer> {
    let labelled = NetworkPolicyPeer {
        namespace_selector: Some(labelled(METRICS, "allow")),
        ..NetworkPolicyPeer::default()
    };
    vec![own_namespace(), labelled]
}

fn client_peers(build: &Build<'_>) -> Option<Vec<NetworkPolicyPeer>> {
    let own = own_namespace();
    let namespaces = &build.cluster.spec.queue_namespaces;
    match namespaces.from {
        NamespacesFrom::All => None,
        NamespacesFrom::Same => Some(vec![own]),
        NamespacesFrom::Selector => Some(vec![
            own,
            NetworkPolicyPeer {
                namespace_selector: Some(namespaces.selector.clone().unwrap_or_default()),
                ..NetworkPolicyPeer::default()
            },
        ]),
    }
}

fn rule(
    from: Option<Vec<NetworkPolicyPeer>>,
    ports: Vec<NetworkPolicyPort>,
) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from,
        ports: Some(ports),
    }
}

fn policy_port(number: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(number)),
        protocol: Some("TCP".to_owned()),
        ..NetworkPolicyPort::default()
    }
}

fn pods(build: &Build<'_>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(build.names.selector()),
        ..LabelSelector::default()
    }
}

fn labelled(label: &str, value: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some([(label.to_owned(), value.to_owned())].into()),
        ..LabelSelector::default()
    }
}
