//! One story: a namespace of its own, a voice, and what it leaves behind when it fails.
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::kubectl::{Kubectl, name_of};
use crate::world::{SYSTEM, World};

/// What a story is given.
pub struct Story<'a> {
    /// Its name.
    pub name: &'static str,
    /// What it shares with the others.
    pub world: &'a World,
    /// A namespace that was made for it, with the restricted Pod Security Standard enforced.
    pub namespace: String,
}

impl<'a> Story<'a> {
    /// Makes the story's namespace.
    pub fn begin(name: &'static str, world: &'a World) -> Result<Self> {
        let unique = std::process::id() % 100_000;
        let namespace = format!("{}-{unique}", name.replace('_', "-"));
        let story = Self {
            name,
            world,
            namespace,
        };
        story.make_namespace(&story.namespace)?;
        Ok(story)
    }

    /// Makes a namespace that goes with the story's own.
    pub fn make_namespace(&self, name: &str) -> Result<()> {
        self.kubectl().apply(&[json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": name,
                "labels": {
                    "pod-security.kubernetes.io/enforce": "restricted",
                    "roadstead-e2e/story": self.namespace,
                },
            },
        })])
    }

    /// The cluster.
    pub fn kubectl(&self) -> &Kubectl {
        &self.world.kubectl
    }

    /// Prints one line.
    pub fn say(&self, what: impl AsRef<str>) {
        self.world.say(self.name, what.as_ref());
    }

    /// The folder for what the story leaves behind; made when missing.
    pub fn folder(&self) -> Result<PathBuf> {
        let folder = self.world.root.join("target/e2e-logs").join(self.name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Removes the story's namespaces, without waiting for it.
    pub fn end(&self) {
        if std::env::var_os("ROADSTEAD_E2E_KEEP").is_some() {
            self.say(format!("namespace {} is kept", self.namespace));
            return;
        }
        let label = format!("roadstead-e2e/story={}", self.namespace);
        let words = ["delete", "namespace", "-l", &label, "--wait=false"];
        if let Err(error) = self.kubectl().run(&words) {
            self.say(format!("namespaces are left behind: {error:#}"));
        }
    }

    /// Writes down what a person needs to see why it failed; the folder.
    pub fn keep_evidence(&self) -> Result<PathBuf> {
        let folder = self.folder()?;
        let label = format!("roadstead-e2e/story={}", self.namespace);
        let mut namespaces = vec![SYSTEM.to_owned()];
        let found = self.kubectl().list(&["namespace", "-l", &label])?;
        namespaces.extend(found.iter().map(|namespace| name_of(namespace).to_owned()));
        for namespace in namespaces {
            self.keep_namespace(&folder.join(&namespace), &namespace)?;
        }
        Ok(folder)
    }

    fn keep_namespace(&self, folder: &Path, namespace: &str) -> Result<()> {
        fs::create_dir_all(folder)?;
        let keep = |file: &str, words: &[&str]| -> Result<()> {
            let done = self
                .kubectl()
                .tool(&["-n", namespace])
                .args(words)
                .finish()?;
            Ok(fs::write(folder.join(file), done.stdout + &done.stderr)?)
        };
        keep(
            "objects.txt",
            &["get", "all,pvc,networkpolicy,roadstead", "-o", "wide"],
        )?;
        keep("roadstead.yaml", &["get", "roadstead", "-o", "yaml"])?;
        keep("events.txt", &["get", "events", "--sort-by=.lastTimestamp"])?;
        keep("describe.txt", &["describe", "pods"])?;
        for pod in self.kubectl().list(&["pods", "-n", namespace])? {
            let pod_name = name_of(&pod);
            for container in containers(&pod) {
                let logs = ["logs", pod_name, "-c", container];
                keep(&format!("{pod_name}.{container}.log"), &logs)?;
                if restarts(&pod, container) > 0 {
                    let before = ["logs", pod_name, "-c", container, "--previous"];
                    keep(&format!("{pod_name}.{container}.previous.log"), &before)?;
                }
            }
        }
        Ok(())
    }

    /// Waits until a Deployment or `StatefulSet` has all its replicas ready.
    pub fn rolled_out(&self, what: &str, limit: Duration) -> Result<()> {
        let timeout = format!("--timeout={}s", limit.as_secs());
        let words = ["-n", &self.namespace, "rollout", "status", what, &timeout];
        self.kubectl()
            .tool(&words)
            .limit(limit + Duration::from_secs(10))
            .output()
            .map(drop)
    }
}

fn containers(pod: &Value) -> Vec<&str> {
    let containers = pod["spec"]["containers"].as_array();
    containers
        .into_iter()
        .flatten()
        .filter_map(|c| c["name"].as_str())
        .collect()
}

/// How often a container of a pod was started again.
pub fn restarts(pod: &Value, container: &str) -> u64 {
    let statuses = pod["status"]["containerStatuses"].as_array();
    let status = statuses
        .into_iter()
        .flatten()
        .find(|status| status["name"] == container);
    status
        .and_then(|status| status["restartCount"].as_u64())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_containers_and_restarts() {
        let pod = json!({
            "spec": {"containers": [{"name": "node"}, {"name": "box"}]},
            "status": {"containerStatuses": [{"name": "box", "restartCount": 2}]},
        });
        assert_eq!(containers(&pod), ["node", "box"]);
        assert_eq!((restarts(&pod, "box"), restarts(&pod, "node")), (2, 0));
    }
}
