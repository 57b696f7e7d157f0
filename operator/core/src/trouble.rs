//! Why a pod does not run, in the words of Kubernetes.
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodStatus};

/// What holds a pod up; empty where it says nothing.
pub fn trouble(pod: &Pod) -> String {
    let Some(status) = &pod.status else {
        return String::new();
    };
    let mut containers = status.container_statuses.iter().flatten();
    let found = containers
        .find_map(waiting)
        .or_else(|| unscheduled(status))
        .or_else(|| join(status.reason.as_deref(), status.message.as_deref()));
    found.unwrap_or_default()
}

/// A container that waits for more than its turn.
fn waiting(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref();
    let message = waiting.message.as_deref();
    let begins = matches!(reason, Some("ContainerCreating" | "PodInitializing"));
    if begins && message.is_none_or(str::is_empty) {
        return None;
    }
    let text = join(reason, message)?;
    let last = container.last_state.as_ref();
    Some(match last.and_then(|last| last.terminated.as_ref()) {
        Some(end) => format!("{text}; {}", ended(end)),
        None => text,
    })
}

fn ended(end: &ContainerStateTerminated) -> String {
    let reason = end.reason.as_deref().unwrap_or("Error");
    format!("it ended last with {reason}, exit code {}", end.exit_code)
}

fn unscheduled(status: &PodStatus) -> Option<String> {
    let mut conditions = status.conditions.iter().flatten();
    let found = conditions.find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    join(found.reason.as_deref(), found.message.as_deref())
}

fn join(reason: Option<&str>, message: Option<&str>) -> Option<String> {
    let parts = [reason, message].into_iter().flatten();
    let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(": "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(status: &Value) -> String {
        let pod = json!({"metadata": {"name": "main-0"}, "status": status});
        trouble(&serde_json::from_value(pod).unwrap())
    }

    fn container(state: &Value, last: &Value) -> Value {
        json!({"containerStatuses": [{
            "name": "node", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": state, "lastState": last,
        }]})
    }

    #[test]
    fn a_container_says_what_it_waits_for() {
        let waits = |reason: &str, message: &str| {
            let waiting = json!({"reason": reason, "message": message});
            json!({ "waiting": waiting })
        };
        for (reason, message, said) in [
            ("ImagePullBackOff", "no x:1", "ImagePullBackOff: no x:1"),
            (
                "CreateContainerError",
                "no such file",
                "CreateContainerError: no such file",
            ),
            (
                "CreateContainerConfigError",
                "",
                "CreateContainerConfigError",
            ),
            ("ContainerCreating", "", ""),
            ("PodInitializing", "", ""),
        ] {
            assert_eq!(of(&container(&waits(reason, message), &json!({}))), said);
        }
        let killed = json!({"terminated": {"reason": "OOMKilled", "exitCode": 137}});
        assert_eq!(
            of(&container(&waits("CrashLoopBackOff", "back-off"), &killed)),
            "CrashLoopBackOff: back-off; it ended last with OOMKilled, exit code 137"
        );
    }

    #[test]
    fn a_pod_says_why_it_has_no_place() {
        let scheduled = |status: &str, message: &str| {
            json!({"conditions": [{
                "type": "PodScheduled", "status": status, "reason": "Unschedulable",
                "message": message,
            }]})
        };
        let class = "storageclass.storage.k8s.io \"fast\" not found";
        let said = format!("Unschedulable: {class}");
        assert_eq!(of(&scheduled("False", class)), said);
        assert_eq!(of(&scheduled("True", "")), "");
        assert_eq!(
            of(&json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"})),
            "Evicted: low on memory"
        );
    }

    #[test]
    fn a_pod_that_runs_says_nothing() {
        let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        assert_eq!(of(&container(&running, &json!({}))), "");
        assert_eq!(of(&json!({})), "");
    }
}
