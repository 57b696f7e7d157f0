//! Follows the output of pods into files, for as long as each of them runs.
//!
//! A pod's log goes with the pod, and all but the last two of a container's with its restarts: what
//! is to be read at the end of a story is taken along.
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::Value;

use crate::command::Background;
use crate::kubectl::{Kubectl, name_of};

/// One `kubectl logs --follow` for every run of a container of the pods with a label.
pub struct Followers {
    kubectl: Kubectl,
    namespace: String,
    label: String,
    folder: PathBuf,
    /// By the name of its file.
    followed: BTreeMap<String, Background>,
}

impl Followers {
    /// Nothing is followed before the first look.
    pub fn new(kubectl: &Kubectl, namespace: &str, label: &str, folder: PathBuf) -> Self {
        Self {
            kubectl: kubectl.clone(),
            namespace: namespace.to_owned(),
            label: label.to_owned(),
            folder,
            followed: BTreeMap::new(),
        }
    }

    /// Looks for containers that have begun, and follows those that are not followed.
    pub fn look(&mut self) -> Result<()> {
        let words = ["pods", "-n", &self.namespace, "-l", &self.label];
        for pod in self.kubectl.list(&words)? {
            let run = run_of(&pod);
            let lost = match self.followed.get_mut(&run) {
                None => has_begun(&pod),
                // kubectl ends when the container does; before that, the connection was lost.
                Some(follower) => !follower.runs() && is_running(&pod),
            };
            if lost {
                self.follow(name_of(&pod), run)?;
            }
        }
        Ok(())
    }

    /// From the beginning, also when it was followed before.
    fn follow(&mut self, pod: &str, run: String) -> Result<()> {
        let words = ["-n", &self.namespace, "logs", "--follow", "--timestamps"];
        let file = File::create(self.folder.join(format!("{run}.log")))?;
        let follower = self.kubectl.tool(&words).args([pod]).start(file)?;
        self.followed.insert(run, follower);
        Ok(())
    }
}

/// A name for this run of a pod's container: no other has it.
fn run_of(pod: &Value) -> String {
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let uid = uid.split('-').next().unwrap_or_default();
    let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
    format!("{}.{uid}.{}", name_of(pod), restarts.as_u64().unwrap_or(0))
}

fn state(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]
}

fn is_running(pod: &Value) -> bool {
    state(pod)["running"].is_object()
}

fn has_begun(pod: &Value) -> bool {
    is_running(pod) || state(pod)["terminated"].is_object()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_run_of_a_container_has_a_file_of_its_own() {
        let pod = |uid: &str, restarts: u64| {
            run_of(&json!({
                "metadata": {"name": "main-0", "uid": uid},
                "status": {"containerStatuses": [{"restartCount": restarts}]},
            }))
        };
        assert_eq!(pod("a1-b2", 0), "main-0.a1.0");
        assert_ne!(pod("a1-b2", 0), pod("a1-b2", 1));
        assert_ne!(pod("a1-b2", 0), pod("c3-b2", 0));
    }

    #[test]
    fn a_pod_has_begun_when_its_container_has() {
        let pod = |state: Value| json!({"status": {"containerStatuses": [{"state": state}]}});
        assert!(!has_begun(&json!({"status": {}})));
        assert!(!has_begun(&pod(
            json!({"waiting": {"reason": "ContainerCreating"}})
        )));
        assert!(has_begun(&pod(json!({"running": {}}))));
        assert!(has_begun(&pod(json!({"terminated": {"exitCode": 0}}))));
        assert!(!is_running(&pod(json!({"terminated": {"exitCode": 0}}))));
    }
}
