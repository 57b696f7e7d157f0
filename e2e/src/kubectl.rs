//! The cluster under test, by its own kubectl.
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::command::{Background, Finished, Tool};
use crate::until::{Seen, until};

/// kubectl with the kubeconfig of the cluster that was made for the stories.
#[derive(Debug, Clone)]
pub struct Kubectl {
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// The cluster of `ROADSTEAD_E2E_KUBECONFIG`; `None` where that is not set. Fails for a cluster
    /// without the `ConfigMap` `kube-system/roadstead-e2e`: it may be somebody's, and stories break
    /// things.
    pub fn of_environment() -> Result<Option<Self>> {
        let Some(kubeconfig) = std::env::var_os("ROADSTEAD_E2E_KUBECONFIG") else {
            return Ok(None);
        };
        let kubectl = Self {
            kubeconfig: kubeconfig.into(),
        };
        let marker = [
            "-n",
            "kube-system",
            "get",
            "configmap",
            "roadstead-e2e",
            "-o",
            "name",
        ];
        kubectl.run(&marker).with_context(|| {
            format!(
                "the cluster of {} was not made by e2e/cluster, so no story is run against it",
                kubectl.kubeconfig.display()
            )
        })?;
        Ok(Some(kubectl))
    }

    /// The path of its kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A kubectl call to be completed by the caller.
    pub fn tool(&self, words: &[&str]) -> Tool {
        Tool::new("kubectl")
            .env("KUBECONFIG", &self.kubeconfig)
            .args(words)
    }

    /// What kubectl prints. Fails unless it succeeds.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        self.tool(words).output()
    }

    /// The object or list that `kubectl get WORDS` finds.
    pub fn get(&self, words: &[&str]) -> Result<Value> {
        let text = self.tool(&["get", "-o", "json"]).args(words).output()?;
        serde_json::from_str(&text).context("kubectl printed no JSON")
    }

    /// The items of the list that `kubectl get WORDS` finds.
    pub fn list(&self, words: &[&str]) -> Result<Vec<Value>> {
        match self.get(words)?["items"].take() {
            Value::Array(items) => Ok(items),
            _ => bail!("kubectl get {} is no list", words.join(" ")),
        }
    }

    /// The object, or `None` where it is not there.
    pub fn find(&self, words: &[&str]) -> Result<Option<Value>> {
        let text = self
            .tool(&["get", "-o", "json", "--ignore-not-found"])
            .args(words)
            .output()?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        serde_json::from_str(&text)
            .context("kubectl printed no JSON")
            .map(Some)
    }

    /// Applies objects, server-side.
    pub fn apply(&self, objects: &[Value]) -> Result<()> {
        let done = self.try_apply(objects)?;
        if !done.ok {
            bail!("kubectl apply: {}", done.stderr.trim());
        }
        Ok(())
    }

    /// Applies objects, and leaves it to the caller what a refusal means.
    pub fn try_apply(&self, objects: &[Value]) -> Result<Finished> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.tool(&[
            "apply",
            "--server-side",
            "--field-manager=roadstead-e2e",
            "-f",
            "-",
        ])
        .input(list.to_string())
        .finish()
    }

    /// Waits until the object that WORDS name has a condition with this status; the object.
    pub fn wait_for(
        &self,
        words: &[&str],
        condition: (&str, &str),
        limit: Duration,
    ) -> Result<Value> {
        let what = format!("{} with {}={}", words.join(" "), condition.0, condition.1);
        until(&what, limit, || {
            let Some(object) = self.find(words)? else {
                return Ok(Seen::Not("no such object".to_owned()));
            };
            let seen = condition_of(&object, condition.0);
            let is = seen.is_some_and(|c| c["status"] == condition.1);
            let what = format!("conditions {}", object["status"]["conditions"]);
            Ok(Seen::when(is, object, what))
        })
    }

    /// Forwards a local port to a port of a pod, which no `NetworkPolicy` is asked about.
    pub fn forward(&self, namespace: &str, pod: &str, port: u16) -> Result<Forward> {
        let local = free_port()?;
        let ports = format!("{local}:{port}");
        let words = [
            "-n",
            namespace,
            "port-forward",
            &format!("pod/{pod}"),
            &ports,
        ];
        let mut process = self.tool(&words).start(std::process::Stdio::null())?;
        until(
            &format!("port-forward to {pod}"),
            Duration::from_secs(20),
            || {
                if !process.runs() {
                    bail!("kubectl {} ended", words.join(" "));
                }
                let open = std::net::TcpStream::connect(("127.0.0.1", local)).is_ok();
                Ok(Seen::when(open, (), "refused"))
            },
        )?;
        Ok(Forward {
            port: local,
            _process: process,
        })
    }
}

/// A forwarded port, until this is dropped.
#[derive(Debug)]
pub struct Forward {
    /// The port on 127.0.0.1.
    pub port: u16,
    _process: Background,
}

/// The condition of this type of an object.
pub fn condition_of<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|c| c["type"] == kind)
}

/// The name of an object.
pub fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_condition_by_its_type() {
        let object = json!({"status": {"conditions": [
            {"type": "Accepted", "status": "True"},
            {"type": "Ready", "status": "False", "reason": "Waiting"},
        ]}});
        assert_eq!(condition_of(&object, "Ready").unwrap()["reason"], "Waiting");
        assert!(condition_of(&object, "Degraded").is_none());
        assert!(condition_of(&json!({}), "Ready").is_none());
    }
}
