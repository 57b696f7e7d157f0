//! The nodes of a cluster: which leads what, and what their logs say of a message.
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::Value;

use crate::kubectl::Kubectl;
use crate::manifests::HTTP_PORT;

/// The pods of a cluster.
pub fn pods(kubectl: &Kubectl, namespace: &str, cluster: &str) -> Result<Vec<Value>> {
    let label = format!("roadstead.dev/cluster={cluster}");
    kubectl.list(&["pods", "-n", namespace, "-l", &label])
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

/// The shards that a node leads and that were sent messages, as its own metrics show them.
pub fn leads_traffic(kubectl: &Kubectl, namespace: &str, pod: &str) -> Result<BTreeSet<u32>> {
    Ok(traffic_in(&metrics(kubectl, namespace, pod)?))
}

/// Messages, in the partitions that a node leads, that are neither settled nor delayed.
pub fn lag(kubectl: &Kubectl, namespace: &str, pod: &str) -> Result<u64> {
    Ok(lag_in(&metrics(kubectl, namespace, pod)?))
}

fn metrics(kubectl: &Kubectl, namespace: &str, pod: &str) -> Result<String> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{HTTP_PORT}/proxy/metrics");
    kubectl.run(&["get", "--raw", &path])
}

fn lag_in(metrics: &str) -> u64 {
    let lag = |line: &str| {
        let (_, value) = line
            .strip_prefix("roadstead_queue_lag{")?
            .split_once("} ")?;
        value.parse::<u64>().ok()
    };
    metrics.lines().filter_map(lag).sum()
}

/// A node shows the counts of the partitions that it leads, and of no others.
fn traffic_in(metrics: &str) -> BTreeSet<u32> {
    let sent = |line: &str| {
        let (labels, value) = line
            .strip_prefix("roadstead_queue_sent_total{")?
            .split_once("} ")?;
        let (_, shard) = labels.split_once("shard=\"")?;
        if value == "0" {
            None
        } else {
            shard.trim_end_matches('"').parse().ok()
        }
    };
    metrics.lines().filter_map(sent).collect()
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
    fn reads_which_shards_with_traffic_a_node_leads() {
        let metrics = r#"# TYPE roadstead_queue_sent counter
roadstead_queue_sent_total{namespace="shop",queue="orders",group="default",shard="2"} 449
roadstead_queue_sent_total{namespace="shop",queue="mails",group="default",shard="12"} 3
roadstead_queue_sent_total{namespace="shop",queue="mails",group="default",shard="2"} 5
roadstead_queue_sent_total{namespace="shop",queue="orders",group="default",shard="3"} 0
roadstead_raft_is_leader{shard="4"} 1
"#;
        assert_eq!(traffic_in(metrics), [2, 12].into());
    }

    #[test]
    fn adds_up_what_is_not_settled() {
        let metrics = r#"# TYPE roadstead_queue_lag gauge
roadstead_queue_lag{namespace="shop",queue="orders",group="default",shard="2"} 40
roadstead_queue_lag{namespace="shop",queue="mails",group="default",shard="12"} 2
roadstead_queue_depth{namespace="shop",queue="mails",group="default",shard="12"} 7
"#;
        assert_eq!(lag_in(metrics), 42);
    }
}
