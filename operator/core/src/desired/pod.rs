//! One node's pod. It meets the restricted Pod Security Standard.
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, KeyToPath,
    ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, SeccompProfile,
    SecretVolumeSource, SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use roadstead_crds::{Authentication, Listener, TlsMode};

use super::{Build, revision};
use crate::names::{DATA_VOLUME, HTTP_PORT, PEER_PORT, REVISION, TLS_FILES, TLS_SECRET};
use crate::validate::memory_limit;
use crate::zone::ZONE;

const USER: i64 = 65_532;
/// Leaderships move and connections end well within it.
const GRACE_SECONDS: i64 = 30;

pub(super) fn template(build: &Build<'_>) -> PodTemplateSpec {
    let settings = &build.cluster.spec.pod;
    let mut labels = settings.labels.clone();
    labels.extend(build.names.labels());
    let revision = revision(build.cluster, &build.around.image);
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some([(REVISION.to_owned(), revision)].into()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(build.names.service_account()),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            security_context: Some(pod_security()),
            containers: vec![container(build)],
            volumes: Some(volumes(build)),
            node_selector: some(settings.node_selector.clone(), BTreeMap::is_empty),
            tolerations: some(settings.tolerations.clone(), Vec::is_empty),
            affinity: settings.affinity.clone(),
            topology_spread_constraints: Some(spread(build)),
            priority_class_name: settings.priority_class_name.clone(),
            image_pull_secrets: some(settings.image_pull_secrets.clone(), Vec::is_empty),
            ..PodSpec::default()
        }),
    }
}

fn some<T>(value: T, empty: impl Fn(&T) -> bool) -> Option<T> {
    (!empty(&value)).then_some(value)
}

fn container(build: &Build<'_>) -> Container {
    let listeners = &build.cluster.spec.listeners;
    let mut ports: Vec<_> = listeners.iter().map(|l| port(&l.name, l.port)).collect();
    ports.extend([port("peer", PEER_PORT), port("http", HTTP_PORT)]);
    Container {
        name: "node".to_owned(),
        image: Some(build.around.image.clone()),
        command: Some(vec!["/usr/local/bin/roadstead-node".to_owned()]),
        args: Some(arguments(build)),
        env: Some(vec![
            of_pod("POD_NAME", "metadata.name"),
            // Kubernetes 1.35 and later labels pods with their zone; empty before.
            of_pod("ROADSTEAD_ZONE", &format!("metadata.labels['{ZONE}']")),
        ]),
        ports: Some(ports),
        resources: build.cluster.spec.resources.clone(),
        startup_probe: Some(probe("/livez", 2, 150)),
        liveness_probe: Some(probe("/livez", 10, 6)),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        security_context: Some(container_security()),
        volume_mounts: Some(mounts(build)),
        ..Container::default()
    }
}

/// A variable that holds what Kubernetes knows of the pod.
fn of_pod(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: path.to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn arguments(build: &Build<'_>) -> Vec<String> {
    let host = build.names.pod_host("$(POD_NAME)");
    let mut arguments = vec![
        "--data-dir=/data".to_owned(),
        "--name=$(POD_NAME)".to_owned(),
        format!("--peer-listen=0.0.0.0:{PEER_PORT}"),
        format!("--advertise-peer={host}:{PEER_PORT}"),
        format!("--http-listen=0.0.0.0:{HTTP_PORT}"),
        "--tls-dir=/tls".to_owned(),
    ];
    if let Some(listener) = build.cluster.spec.listeners.first() {
        let client_auth = match listener.authentication.first() {
            Some(Authentication::Anonymous) => "anonymous",
            Some(Authentication::ServiceAccount) | None => "service-account",
        };
        arguments.extend([
            format!("--client-listen=0.0.0.0:{}", listener.port),
            format!("--advertise-client={host}:{}", listener.port),
            format!("--client-auth={client_auth}"),
        ]);
        if managed(listener) {
            arguments.push("--client-tls-dir=/client-tls".to_owned());
        }
        if let Some(most) = listener.connections.max {
            arguments.push(format!("--client-max-connections={most}"));
        }
        if let Some(most) = listener.connections.max_per_service_account {
            arguments.push(format!("--client-max-connections-per-account={most}"));
        }
    }
    if let Some(bytes) = memory_limit(&build.cluster.spec) {
        arguments.push(format!("--memory-limit={bytes}"));
    }
    arguments
}

pub(super) fn managed(listener: &Listener) -> bool {
    listener.tls.mode == TlsMode::Managed
}

fn client_tls(build: &Build<'_>) -> bool {
    build.cluster.spec.listeners.iter().any(managed)
}

fn mounts(build: &Build<'_>) -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let mut mounts = vec![
        mount(DATA_VOLUME, "/data", false),
        mount("tls", "/tls", true),
    ];
    if client_tls(build) {
        mounts.push(mount("client-tls", "/client-tls", true));
    }
    mounts
}

fn volumes(build: &Build<'_>) -> Vec<Volume> {
    let mut volumes = vec![certificate("tls", |file| build.names.node_tls(file))];
    if client_tls(build) {
        volumes.push(certificate("client-tls", |file| {
            build.names.client_tls(file)
        }));
    }
    volumes
}

/// The cluster's own keys of the namespace's Secret, and no other cluster's.
fn certificate(name: &str, key: impl Fn(&str) -> String) -> Volume {
    let items = TLS_FILES.map(|file| KeyToPath {
        key: key(file),
        path: file.to_owned(),
        ..KeyToPath::default()
    });
    Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(TLS_SECRET.to_owned()),
            items: Some(items.into()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// Over zones and over nodes, without refusing a small cluster that has too few of them.
fn spread(build: &Build<'_>) -> Vec<TopologySpreadConstraint> {
    let own = &build.cluster.spec.pod.topology_spread_constraints;
    if !own.is_empty() {
        return own.clone();
    }
    [ZONE, "kubernetes.io/hostname"]
        .map(|key| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: key.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(LabelSelector {
                match_labels: Some(build.names.selector()),
                ..LabelSelector::default()
            }),
            ..TopologySpreadConstraint::default()
        })
        .into()
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(HTTP_PORT),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(2),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            ..Capabilities::default()
        }),
        ..SecurityContext::default()
    }
}
