//! Several hosts with one cluster on them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft_rt::AsyncRuntime as _;
use roadstead_core::shard::ShardMachine;
use roadstead_node::auth::Principal;
use roadstead_node::raft::types::{GroupId, NodeId};
use roadstead_proto::v1::{BootstrapRequest, Founder, TransferLeadershipRequest};

use super::context::note;
use super::control::Control;
use super::host::{Host, Running};
use super::net::{Net, within};
use super::process::Process;
use super::runtime::Sim;

/// Shards of a simulated cluster.
pub const SHARDS: u16 = 2;

/// A cluster; it belongs to the run.
pub struct Cluster {
    /// The machines.
    pub hosts: Vec<Arc<Host>>,
    /// The network between them.
    pub net: Net,
}

impl Cluster {
    /// Boots so many hosts and founds a cluster on all of them.
    pub async fn found(hosts: usize, control: Control) -> Result<Arc<Self>, String> {
        let net = Net::default();
        let hosts: Vec<_> = (0..hosts)
            .map(|n| Arc::new(Host::new(n, net.clone(), control)))
            .collect();
        let cluster = Arc::new(Self { hosts, net });
        for host in &cluster.hosts {
            host.boot().await?;
        }
        let founders: Vec<Founder> = cluster
            .running()
            .iter()
            .map(|(_, running)| Founder::from(&*running.node))
            .collect();
        let request = BootstrapRequest {
            cluster_id: "simulated".to_owned(),
            founders,
            shards: u32::from(SHARDS),
            replication_factor: 3,
        };
        let mut orders = Vec::new();
        for (_, running) in cluster.running() {
            let (node, request) = (running.node.clone(), request.clone());
            orders.push(
                running.process.spawn(async move {
                    node.admin().bootstrap(&Principal::Operator, request).await
                }),
            );
        }
        for order in orders {
            match order.await {
                Ok(Ok(Ok(_))) => {}
                Ok(Ok(Err(error))) => return Err(format!("the cluster was not founded: {error}")),
                _ => return Err("the founding was cut off".to_owned()),
            }
        }
        cluster.until_ready(Duration::from_secs(30)).await?;
        note(format_args!("founded"));
        Ok(cluster)
    }

    /// The hosts that run, with what runs on them.
    pub fn running(&self) -> Vec<(usize, Running)> {
        self.hosts
            .iter()
            .filter_map(|host| Some((host.index, host.running()?)))
            .collect()
    }

    /// Waits until every node that runs says that it is ready.
    pub async fn until_ready(&self, patience: Duration) -> Result<(), String> {
        let ready = async {
            while self.unready().is_some() {
                Sim::sleep(Duration::from_millis(20)).await;
            }
        };
        match within(patience, ready).await {
            Some(()) => Ok(()),
            None => Err(format!(
                "not ready after {patience:?}: {:?}",
                self.unready()
            )),
        }
    }

    fn unready(&self) -> Option<String> {
        self.running().into_iter().find_map(|(index, running)| {
            let why = running.node.readiness().err()?;
            Some(format!("host {index}: {why}"))
        })
    }

    /// The host that leads a group, as it says itself.
    pub fn leader_of(&self, group: GroupId) -> Option<usize> {
        self.running().into_iter().find_map(|(index, running)| {
            let leads = running.node.groups().get(group)?.leadership().is_leader;
            leads.then_some(index)
        })
    }

    /// Asks the leader of a group to hand it over to somebody; whether it did.
    pub async fn transfer(&self, group: GroupId) -> bool {
        let Some((_, running)) = self.running().into_iter().next() else {
            return false;
        };
        let request = TransferLeadershipRequest {
            shard: Some(u32::from(group)),
            timeout: Some(prost_types::Duration {
                seconds: 5,
                nanos: 0,
            }),
            ..TransferLeadershipRequest::default()
        };
        let node = running.node.clone();
        let asked = running.process.spawn(async move {
            node.admin()
                .transfer_leadership(&Principal::Operator, request)
                .await
        });
        matches!(asked.await, Ok(Ok(Ok(_))))
    }

    /// Ends every process.
    pub fn stop(&self) {
        for host in &self.hosts {
            host.crash();
        }
    }

    /// The digests of the replicas of a group, by host, with the index they were taken at; nothing
    /// while their indexes differ.
    pub fn digests(&self, group: GroupId) -> Option<BTreeMap<usize, (u64, u64)>> {
        let mut digests = BTreeMap::new();
        for (index, running) in self.running() {
            let Some(replica) = running.node.groups().get(group) else {
                continue;
            };
            let digest = ShardMachine::digest(&replica.state().lock().rows);
            digests.insert(index, (replica.applied_index(), digest.unwrap_or_default()));
        }
        let mut indexes: Vec<u64> = digests.values().map(|(index, _)| *index).collect();
        indexes.dedup();
        (indexes.len() == 1 && digests.len() == self.hosts.len()).then_some(digests)
    }

    /// Node ids by host, for reports.
    pub fn node_ids(&self) -> BTreeMap<usize, NodeId> {
        self.running()
            .into_iter()
            .map(|(index, running)| (index, running.node.node_id()))
            .collect()
    }

    /// A process that runs, by host.
    pub fn process(&self, host: usize) -> Option<Process> {
        self.hosts
            .get(host)?
            .running()
            .map(|running| running.process)
    }
}
