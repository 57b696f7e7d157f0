//! Follows the output of pods into files, for as long as each of them runs.
use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::Value;

use crate::command::Background;
use crate::kubectl::{Kubectl, name_of};
use crate::load::file;
use crate::manifests::LOAD_LABEL;

/// One `kubectl logs --follow` per pod with load.
pub struct Followers {
    kubectl: Kubectl,
    namespace: String,
    folder: PathBuf,
    followed: BTreeMap<String, Background>,
}

impl Followers {
    /// Nothing is followed before the first look.
    pub fn new(kubectl: &Kubectl, namespace: &str, folder: PathBuf) -> Self {
        Self {
            kubectl: kubectl.clone(),
            namespace: namespace.to_owned(),
            folder,
            followed: BTreeMap::new(),
        }
    }

    /// Looks for pods that have begun, and follows those that are not followed.
    pub fn look(&mut self) -> Result<()> {
        for pod in self
            .kubectl
            .list(&["pods", "-n", &self.namespace, "-l", LOAD_LABEL])?
        {
            let name = name_of(&pod);
            let lost = match self.followed.get_mut(name) {
                None => has_begun(&pod),
                // kubectl ends when the container does; before that, the connection was lost.
                Some(follower) => !follower.runs() && is_running(&pod),
            };
            if lost {
                self.follow(name)?;
            }
        }
        Ok(())
    }

    /// From the beginning, also when it was followed before.
    fn follow(&mut self, pod: &str) -> Result<()> {
        let words = [
            "-n",
            &self.namespace,
            "logs",
            "--follow",
            "--timestamps",
            pod,
        ];
        let follower = self.kubectl.tool(&words).start(file(&self.folder, pod)?)?;
        self.followed.insert(pod.to_owned(), follower);
        Ok(())
    }
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
