//! The nodes of a cluster: which leads what, and what their logs say of a message.
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::Value;

use crate::kubectl::{Kubectl, name_of};
use crate::manifests::HTTP_PORT;
use crate::story::restarts;

/// The pods of a cluster.
pub fn pods(kubectl: &Kubectl, namespace: &str, cluster: &str) -> Result<Vec<Value>> {
    let label = format!("roadstead.dev/cluster={cluster}");
    kubectl.list(&["pods", "-n", namespace, "-l", &label])
}

/// Everything that the nodes of a cluster logged, also before their last crash.
pub fn logs(kubectl: &Kubectl, namespace: &str, cluster: &str) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for pod in pods(kubectl, namespace, cluster)? {
        let words = ["-n", namespace, "logs", name_of(&pod), "-c", "node"];
        all.push(kubectl.run(&words)?);
        if restarts(&pod, "node") > 0 {
            all.push(kubectl.tool(&words).args(["--previous"]).output()?);
        }
    }
    Ok(all)
}

/// For each of the message ids, the first line of the logs that names it.
pub fn explained<'a>(
    ids: &BTreeSet<String>,
    logs: impl IntoIterator<Item = &'a str>,
) -> BTreeMap<String, &'a str> {
    let mut found = BTreeMap::new();
    for line in logs.into_iter().flat_map(str::lines) {
        let words = line.split(|c: char| !c.is_ascii_digit() && c != '-');
        for id in words.filter(|word| ids.contains(*word)) {
            found.entry(id.to_owned()).or_insert(line);
        }
    }
    found
}

/// The shards that a node leads, the catalog not counted, as its own metrics show them.
pub fn led_by(kubectl: &Kubectl, namespace: &str, pod: &str) -> Result<Vec<u32>> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{HTTP_PORT}/proxy/metrics");
    Ok(led_in(&kubectl.run(&["get", "--raw", &path])?))
}

fn led_in(metrics: &str) -> Vec<u32> {
    let leads = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        let shard = name
            .strip_prefix(r#"roadstead_raft_is_leader{shard=""#)?
            .strip_suffix("\"}")?;
        if value == "1" {
            shard.parse().ok()
        } else {
            None
        }
    };
    metrics.lines().filter_map(leads).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_lines_that_name_a_message() {
        let ids = ["7-1-20", "7-1-2", "7-3-9"].map(str::to_owned).into();
        let logs = [
            "INFO lease expired message=7-1-20 deliveries=1\nINFO other message=17-1-2",
            r#"{"event":"session released","message":"7-3-9"}"#,
        ];
        let found = explained(&ids, logs);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["7-1-20", "7-3-9"]);
        assert!(found["7-1-20"].contains("lease expired"));
    }

    #[test]
    fn reads_who_leads_from_metrics() {
        let metrics = r#"# TYPE roadstead_raft_is_leader gauge
roadstead_raft_is_leader{shard="catalog"} 1
roadstead_raft_is_leader{shard="1"} 1
roadstead_raft_is_leader{shard="2"} 0
roadstead_raft_is_leader{shard="12"} 1
roadstead_raft_has_leader{shard="3"} 1
"#;
        assert_eq!(led_in(metrics), [1, 12]);
    }
}
