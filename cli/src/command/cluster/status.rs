//! `roadstead cluster status`

use std::collections::BTreeMap;

use clap::Args;
use roadstead_client::Client;
use roadstead_client::proto::{GetClusterStatusResponse, ShardStatus};
use serde_json::{Value, json};

use super::members;
use crate::output::{Output, table};

/// No options.
#[derive(Debug, Args)]
pub struct Status {}

impl Status {
    pub async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let status = client.cluster_status().await?;
        output.print(&json(&status), || text(&status))?;
        Ok(())
    }
}

fn json(status: &GetClusterStatusResponse) -> Value {
    let shard = |shard: &ShardStatus| {
        let replicas = shard.replicas.iter().map(|replica| {
            json!({
                "node": members::node_id(replica.node_id),
                "voter": replica.voter,
                "lag": replica.lag,
            })
        });
        json!({
            "shard": shard.shard,
            "leader": (shard.leader != 0).then(|| members::node_id(shard.leader)),
            "term": shard.term,
            "committedIndex": shard.committed_index,
            "appliedIndex": shard.applied_index,
            "replicas": replicas.collect::<Vec<_>>(),
        })
    };
    json!({
        "clusterId": status.cluster_id,
        "clusterVersion": status.cluster_version,
        "binaryVersion": status.binary_version,
        "members": members::json(&status.members),
        "shards": status.shards.iter().map(shard).collect::<Vec<_>>(),
    })
}

fn text(status: &GetClusterStatusResponse) -> String {
    let names: BTreeMap<u64, &str> = status
        .members
        .iter()
        .map(|member| (member.node_id, member.name.as_str()))
        .collect();
    let name = |id: u64| {
        names
            .get(&id)
            .map_or_else(|| members::node_id(id), |name| (*name).to_owned())
    };
    let row = |shard: &ShardStatus| {
        let replicas = shard.replicas.iter().map(|replica| {
            let role = if replica.voter { "" } else { " (learner)" };
            match replica.lag {
                Some(lag) if lag > 0 => format!("{}{role} -{lag}", name(replica.node_id)),
                _ => format!("{}{role}", name(replica.node_id)),
            }
        });
        [
            if shard.shard == 0 {
                "catalog".into()
            } else {
                shard.shard.to_string()
            },
            if shard.leader == 0 {
                "none".into()
            } else {
                name(shard.leader)
            },
            shard.term.to_string(),
            shard.committed_index.to_string(),
            replicas.collect::<Vec<_>>().join(", "),
        ]
    };
    let shards = table(
        ["SHARD", "LEADER", "TERM", "COMMITTED", "REPLICAS"],
        status.shards.iter().map(row),
    );
    format!(
        "cluster {}, version {}\n\n{}\n\n{shards}",
        status.cluster_id,
        status.cluster_version,
        members::text(&status.members),
    )
}

#[cfg(test)]
mod tests {
    use roadstead_client::proto::{Member, Replica};

    use super::*;

    #[test]
    fn a_status_names_nodes_and_says_what_is_missing() {
        let status = GetClusterStatusResponse {
            cluster_id: "c-1".into(),
            members: vec![Member {
                node_id: 7,
                name: "main-0".into(),
                ..Member::default()
            }],
            shards: vec![
                ShardStatus {
                    leader: 7,
                    replicas: vec![Replica {
                        node_id: 7,
                        voter: true,
                        lag: Some(3),
                    }],
                    ..ShardStatus::default()
                },
                ShardStatus {
                    shard: 1,
                    ..ShardStatus::default()
                },
            ],
            ..GetClusterStatusResponse::default()
        };
        let text = text(&status);
        assert!(text.contains("catalog  main-0"), "{text}");
        assert!(text.contains("main-0 -3"), "{text}");
        assert!(text.lines().last().unwrap().contains("none"), "{text}");
        assert_eq!(json(&status)["shards"][1]["leader"], Value::Null);
    }
}
