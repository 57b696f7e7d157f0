//! `roadstead cluster transfer-leader`

use clap::Args;
use roadstead_client::Client;
use roadstead_client::proto::{Member, TransferLeadershipRequest};
use serde_json::json;

use crate::exit::{Failure, Kind};
use crate::output::Output;

/// What to move, and where to.
#[derive(Debug, Args)]
pub struct TransferLeader {
    /// Move all that this node leads: name or id
    #[arg(long, value_name = "NODE", required_unless_present = "shard")]
    from: Option<String>,
    /// Move one shard; 0 is the catalog
    #[arg(long, conflicts_with = "from")]
    shard: Option<u32>,
    /// To this node: name or id; without it to any voter that has caught up
    #[arg(long, value_name = "NODE")]
    to: Option<String>,
}

impl TransferLeader {
    pub async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let members = client.members().await?.members;
        let find = |node: Option<&String>| node.map_or(Ok(0), |node| find(&members, node));
        let request = TransferLeadershipRequest {
            from_node: find(self.from.as_ref())?,
            shard: self.shard,
            to_node: find(self.to.as_ref())?,
            fence: 0,
            timeout: None,
        };
        let shards = client.transfer_leadership(request).await?;
        let value = json!({ "shards": shards });
        output.print(&value, || {
            format!("moved the lead of {} shards: {shards:?}", shards.len())
        })?;
        Ok(())
    }
}

fn find(members: &[Member], node: &str) -> anyhow::Result<u64> {
    let by_id = u64::from_str_radix(node, 16).ok();
    let is = |member: &&Member| member.name == node || Some(member.node_id) == by_id;
    if let Some(member) = members.iter().find(is) {
        return Ok(member.node_id);
    }
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let message = format!(
        "no member is called {node:?}; there are: {}",
        names.join(", ")
    );
    Err(Failure(Kind::NotFound, message).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_found_by_name_or_id() {
        let members = [Member {
            node_id: 0xab,
            name: "main-0".into(),
            ..Member::default()
        }];
        assert_eq!(find(&members, "main-0").unwrap(), 0xab);
        assert_eq!(find(&members, "00000000000000ab").unwrap(), 0xab);
        assert!(
            find(&members, "main-1")
                .unwrap_err()
                .to_string()
                .contains("main-0")
        );
    }
}
