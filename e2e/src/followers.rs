//! Follows the output of pods into files, for as long as each of them runs.
//!
//! A pod's log goes with the pod, and all but the last two of a container's with its restarts: what
//! is to be read at the end of a story is taken along.
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use crate::command::Background;
use crate::kubectl::{Kubectl, name_of};

/// One `kubectl logs --follow` for every run of a container of the pods with certain labels.
pub struct Followers {
    kubectl: Kubectl,
    namespace: String,
    /// A label, `KEY=VALUE` or a key alone, and the folder for the output of pods that have it.
    folders: Vec<(String, PathBuf)>,
    /// By the name of its file.
    followed: BTreeMap<String, Background>,
}

impl Followers {
    /// Nothing is followed before the first look.
    pub fn new(kubectl: &Kubectl, namespace: &str, folders: Vec<(String, PathBuf)>) -> Self {
        Self {
            kubectl: kubectl.clone(),
            namespace: namespace.to_owned(),
            folders,
            followed: BTreeMap::new(),
        }
    }

    /// Looks for containers that have begun, and follows those that are not followed.
    pub fn look(&mut self) -> Result<()> {
        for pod in self.kubectl.list(&["pods", "-n", &self.namespace])? {
            let Some(folder) = self.folder_of(&pod) else {
                continue;
            };
            let run = run_of(&pod);
            let lost = match self.followed.get_mut(&run) {
                None => has_begun(&pod),
                // kubectl ends when the container does; before that, the connection was lost.
                Some(follower) => !follower.runs() && is_running(&pod),
            };
            if lost {
                self.follow(name_of(&pod), &folder, run)?;
            }
        }
        Ok(())
    }

    fn folder_of(&self, pod: &Value) -> Option<PathBuf> {
        let has = |label: &str| {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            let found = &pod["metadata"]["labels"][key];
            found
                .as_str()
                .is_some_and(|is| value.is_empty() || is == value)
        };
        let mut folders = self.folders.iter();
        folders
            .find(|(label, _)| has(label))
            .map(|(_, folder)| folder.clone())
    }

    /// From the beginning, also when it was followed before.
    fn follow(&mut self, pod: &str, folder: &Path, run: String) -> Result<()> {
        let words = ["-n", &self.namespace, "logs", "--follow"];
        let file = File::create(folder.join(format!("{run}.log")))?;
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
