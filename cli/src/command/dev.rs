//! `roadstead dev`: a cluster on this machine.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, value_parser};
use roadstead_client::{Client, terminated};
use serde_json::json;

use crate::connection::Connection;
use crate::embedded::{Cluster, Options, manifests};
use crate::output::{Output, note, program};

/// What kind of cluster.
#[derive(Debug, Args)]
pub struct Dev {
    /// Nodes: one, or three and more
    #[arg(long, default_value_t = 1, value_parser = nodes, allow_negative_numbers = true)]
    nodes: u16,
    /// Apply the Queue manifests in this file or folder (.yaml, .yml, .json), as kubectl would
    #[arg(long, short, value_name = "PATH")]
    file: Vec<PathBuf>,
    /// Keep the data here; without it, in a temporary folder that goes at the end
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Port of the first node's client listener; 0: any
    #[arg(long, default_value_t = 7701, allow_negative_numbers = true)]
    port: u16,
    /// Raft groups that partitions are spread over, 1..256; default: those of the data, else 8
    #[arg(long, value_parser = value_parser!(u32).range(1..=256), allow_negative_numbers = true)]
    shards: Option<u32>,
}

/// A number of nodes that a cluster can have.
fn nodes(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(0 | 2) => {
            Err("a cluster has one node, or three and more: two bear no failure".to_owned())
        }
        Ok(nodes) => Ok(nodes),
        Err(error) => Err(error.to_string()),
    }
}

impl Dev {
    pub async fn run(self, connection: &Connection, output: &Output) -> anyhow::Result<()> {
        let manifests = manifests::read(&self.file, &connection.namespace)?;
        for object in &manifests.passed_over {
            note(&format!("passed over: {object} (dev has no operator)"));
        }
        let queues = manifests.queues;
        let options = Options {
            nodes: self.nodes,
            shards: self.shards,
            data_dir: self.data_dir,
            port: self.port,
        };
        let mut stop = Box::pin(terminated());
        let mut cluster = tokio::select! {
            cluster = Cluster::start(&options) => cluster?,
            () = &mut stop => return Ok(()),
        };
        let client = Client::builder()
            .endpoints(cluster.endpoints())
            .connect()
            .await?;
        manifests::apply(&client, &queues).await?;
        let names: Vec<&str> = queues.iter().map(|queue| queue.name.as_str()).collect();
        print(&cluster, &names, output)?;
        let failure = tokio::select! {
            why = cluster.failed() => Some(why),
            () = &mut stop => None,
        };
        note("stopping ...");
        cluster.stop().await;
        failure.map_or(Ok(()), |why| bail!(why))
    }
}

fn print(cluster: &Cluster, queues: &[&str], output: &Output) -> anyhow::Result<()> {
    let nodes = cluster.nodes.iter().map(|node| {
        json!({
            "name": node.name,
            "client": node.client.to_string(),
            "admin": node.peer.to_string(),
            "http": node.http.to_string(),
        })
    });
    let value = json!({
        "clusterId": cluster.id,
        "nodes": nodes.collect::<Vec<_>>(),
        "queues": queues,
        "adminTls": cluster.admin_tls.display().to_string(),
    });
    output.print(&value, || {
        let mut lines = vec![format!("cluster {}", cluster.id)];
        for node in &cluster.nodes {
            let (name, client, http) = (&node.name, node.client, node.http);
            lines.push(format!(
                "{name}  clients {client}  metrics http://{http}/metrics"
            ));
        }
        for queue in queues {
            lines.push(format!("queue {queue}"));
        }
        let endpoint = &cluster.nodes[0].client;
        lines.push("clients are anonymous: whoever reaches these ports may use every queue".into());
        let (admin, id, dir) = (
            cluster.nodes[0].peer,
            &cluster.id,
            cluster.admin_tls.display(),
        );
        lines.push(format!(
            "administration needs its certificate:\n  {} cluster members --endpoint {admin} \
             --server-name {id} --ca-file {dir}/ca.crt --cert-file {dir}/tls.crt --key-file \
             {dir}/tls.key",
            program()
        ));
        lines.push(format!(
            "\nexport ROADSTEAD_ENDPOINT={endpoint}\nCtrl-C stops it"
        ));
        lines.join("\n")
    })?;
    Ok(())
}
