//! `roadstead cluster members`

use clap::Args;
use roadstead_client::Client;
use roadstead_client::proto::{Member, MemberState};
use serde_json::{Value, json};

use crate::output::{Output, table};

/// No options.
#[derive(Debug, Args)]
pub struct Members {}

impl Members {
    pub async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let members = client.members().await?.members;
        output.print(&json(&members), || text(&members))?;
        Ok(())
    }
}

/// A node's id as it is written everywhere.
pub fn node_id(id: u64) -> String {
    format!("{id:016x}")
}

fn state(member: &Member) -> &'static str {
    if member.lost {
        return "Lost";
    }
    match member.state() {
        MemberState::Unspecified => "?",
        MemberState::Joining => "Joining",
        MemberState::Serving => "Serving",
        MemberState::Draining => "Draining",
        MemberState::Unreachable => "Unreachable",
    }
}

/// Members for programs.
pub fn json(members: &[Member]) -> Value {
    let member = |member: &Member| {
        json!({
            "id": node_id(member.node_id),
            "name": member.name,
            "state": state(member),
            "zone": member.zone,
            "voters": member.voters,
            "leaders": member.leaders,
            "caughtUp": member.caught_up,
            "clientAddress": member.client_address,
            "peerAddress": member.peer_address,
            "binaryVersion": member.binary_version,
            "commandVersion": member.command_version,
        })
    };
    Value::Array(members.iter().map(member).collect())
}

/// Members for people.
pub fn text(members: &[Member]) -> String {
    let header = [
        "NAME",
        "ID",
        "STATE",
        "ZONE",
        "LEADS",
        "VOTES IN",
        "CAUGHT UP",
        "ADDRESS",
        "VERSION",
    ];
    let row = |member: &Member| {
        let dash = |text: &str| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text.to_owned()
            }
        };
        [
            member.name.clone(),
            node_id(member.node_id),
            state(member).to_owned(),
            dash(&member.zone),
            member.leaders.to_string(),
            member.voters.to_string(),
            if member.caught_up { "yes" } else { "no" }.to_owned(),
            dash(&member.client_address),
            dash(&member.binary_version),
        ]
    };
    table(header, members.iter().map(row))
}
