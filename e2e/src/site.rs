//! A cluster of a story's own, with its queues.
use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::{Timestamp, Unit};
use serde_json::Value;

use crate::kubectl::name_of;
use crate::manifests::{Client, endpoint, let_api_server_read, queue, queue_cluster};
use crate::nodes;
use crate::story::Story;
use crate::until::{Seen, until};

/// Far beyond the figure of 30 s: a test asserts that nothing hangs, and prints how fast it was.
const READY: Duration = Duration::from_mins(3);

/// A cluster of three nodes in the story's namespace.
pub struct Site<'a> {
    /// The story.
    pub story: &'a Story<'a>,
    /// Name of the cluster.
    pub cluster: String,
}

impl<'a> Site<'a> {
    /// Applies a cluster of three and waits until it is Ready; prints how long that took, from the
    /// reply to the apply to the API server's record of the status that says so.
    pub fn found(story: &'a Story<'a>, cluster: &str) -> Result<Self> {
        let object = queue_cluster(&story.namespace, cluster);
        let site = Self::apply(story, &object)?;
        let applied = Timestamp::now();
        site.ready()?;
        let seen = Timestamp::now();
        let writes = story.world.audit.records(|record| {
            record.is_about("queueclusters", &story.namespace, cluster)
                && record.subresource == "status"
                && record.writes()
        })?;
        let written = writes.iter().rev().find(|record| record.at <= seen);
        let written = written.context("the audit log has no write of the cluster's status")?;
        let seconds = (written.at - applied).total(Unit::Second)?;
        story.say(format!(
            "QueueCluster {cluster} of 3 Ready {seconds:.1} s after its apply"
        ));
        Ok(site)
    }

    /// Applies a cluster, and lets the story read the metrics of its nodes.
    pub fn apply(story: &'a Story<'a>, cluster: &Value) -> Result<Self> {
        story.world.installed()?;
        let name = name_of(cluster);
        let metrics = let_api_server_read(&story.namespace, name);
        story.kubectl().apply(&[metrics, cluster.clone()])?;
        Ok(Self {
            story,
            cluster: name.to_owned(),
        })
    }

    /// Waits until the cluster is Ready; the object.
    pub fn ready(&self) -> Result<Value> {
        let words = ["-n", &self.story.namespace, "queuecluster", &self.cluster];
        self.story
            .kubectl()
            .wait_for(&words, ("Ready", "True"), READY)
    }

    /// The cluster as an object.
    pub fn object(&self) -> Result<Value> {
        self.story
            .kubectl()
            .get(&["-n", &self.story.namespace, "queuecluster", &self.cluster])
    }

    /// Makes queues over all shards and waits until they are Ready.
    pub fn queues(&self, names: &[&str]) -> Result<()> {
        let namespace = &self.story.namespace;
        let queues: Vec<_> = names
            .iter()
            .map(|q| queue(namespace, q, &self.cluster))
            .collect();
        self.story.kubectl().apply(&queues)?;
        for name in names {
            self.queue_ready(name)?;
        }
        self.story
            .say(format!("Queues Ready: {}", names.join(", ")));
        Ok(())
    }

    /// Waits until a queue is Ready; the object.
    pub fn queue_ready(&self, name: &str) -> Result<Value> {
        let words = ["-n", &self.story.namespace, "queues.roadstead.dev", name];
        self.story
            .kubectl()
            .wait_for(&words, ("Ready", "True"), Duration::from_mins(1))
    }

    /// A client in pods of this namespace.
    pub fn client(&self, namespace: &str) -> Client {
        Client {
            namespace: namespace.to_owned(),
            cluster: self.cluster.clone(),
            endpoint: endpoint(&self.story.namespace, &self.cluster),
            queues: namespace.to_owned(),
            tls: true,
            token: true,
            certificate: false,
            image: self.story.world.image_name(),
        }
    }

    /// The names of the pods of the nodes.
    pub fn pods(&self) -> Result<Vec<String>> {
        let pods = nodes::pods(self.story.kubectl(), &self.story.namespace, &self.cluster)?;
        Ok(pods.iter().map(|pod| name_of(pod).to_owned()).collect())
    }

    /// Messages in all queues that are neither settled nor delayed.
    pub fn lag(&self) -> Result<u64> {
        let mut sum = 0;
        for pod in self.pods()? {
            sum += nodes::lag(self.story.kubectl(), &self.story.namespace, &pod)?;
        }
        Ok(sum)
    }

    /// The node that leads the most shards with traffic, and which.
    pub fn busiest(&self) -> Result<(String, BTreeSet<u32>)> {
        let mut busiest = (String::new(), BTreeSet::new());
        for pod in self.pods()? {
            let led = nodes::leads_traffic(self.story.kubectl(), &self.story.namespace, &pod)?;
            if led.len() > busiest.1.len() {
                busiest = (pod, led);
            }
        }
        ensure!(!busiest.1.is_empty(), "no node leads a shard with traffic");
        Ok(busiest)
    }

    /// Runs a pod to its end: whether it succeeded, and what it printed.
    pub fn run_pod(&self, pod: &Value) -> Result<(bool, String)> {
        let (name, namespace) = (name_of(pod), pod["metadata"]["namespace"].as_str());
        let namespace = namespace.context("a pod without namespace")?;
        let kubectl = self.story.kubectl();
        kubectl.apply(std::slice::from_ref(pod))?;
        let phase = until(&format!("pod {name} ends"), Duration::from_mins(2), || {
            let seen = kubectl.get(&["-n", namespace, "pod", name])?;
            let phase = seen["status"]["phase"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let ended = matches!(phase.as_str(), "Succeeded" | "Failed");
            Ok(Seen::when(ended, phase, seen["status"].to_string()))
        })?;
        let log = kubectl.run(&["-n", namespace, "logs", name])?;
        Ok((phase == "Succeeded", log))
    }

    /// Waits until a Job has succeeded; fails as soon as it has failed.
    pub fn job_done(&self, namespace: &str, name: &str, limit: Duration) -> Result<()> {
        until(&format!("job {name}"), limit, || {
            let job = self.story.kubectl().get(&["-n", namespace, "job", name])?;
            let count = |what: &str| job["status"][what].as_u64().unwrap_or(0);
            if count("failed") > 0 {
                bail!("a pod of job {namespace}/{name} failed");
            }
            let (done, wanted) = (count("succeeded"), job["spec"]["completions"].as_u64());
            Ok(Seen::when(
                Some(done) == wanted,
                (),
                format!("{done} of {wanted:?} pods are done"),
            ))
        })
    }
}
