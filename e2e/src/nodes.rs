//! The nodes of a cluster: which leads what, and what their logs say of a message.
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::kubectl::{Kubectl, name_of};
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

/// The pod that leads most, and the number of groups that it leads, as the status shows it.
pub fn busiest(cluster: &Value) -> Result<(String, u64)> {
    let members = cluster["status"]["members"]
        .as_object()
        .context("status has no members")?;
    members
        .iter()
        .map(|(pod, member)| (pod.clone(), member["leaders"].as_u64().unwrap_or(0)))
        .max_by_key(|(_, leaders)| *leaders)
        .context("no members")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
    fn the_busiest_node_leads_most() {
        let cluster = json!({"status": {"members": {
            "main-0": {"leaders": 2}, "main-1": {"leaders": 5}, "main-2": {"leaders": 1},
        }}});
        assert_eq!(busiest(&cluster).unwrap(), ("main-1".to_owned(), 5));
        assert!(busiest(&json!({"status": {}})).is_err());
    }
}
