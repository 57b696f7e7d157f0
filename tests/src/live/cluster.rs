//! Several hosts with one cluster on them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use roadstead_node::auth::Principal;
use roadstead_node::controls::Controls;
use roadstead_node::raft::types::{GroupId, NodeId};
use roadstead_node::store::StoreOptions;
use roadstead_proto::v1::{
    AddMemberRequest, BootstrapRequest, CreateQueueRequest, DrainMemberRequest, Founder,
    GetClusterStatusRequest, GetClusterStatusResponse, GetQueueStatsRequest, ListMembersRequest,
    Member, QueueRef, QueueSpec, QueueStats, RemoveMemberRequest, TransferLeadershipRequest,
};
use tempfile::TempDir;

use super::host::LiveHost;
use super::net::LiveNet;

/// Shards of a cluster.
pub const SHARDS: u16 = 3;

/// Longest time that anything is waited for.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A cluster of this process, in a directory that goes with it. Its futures are boxed, so that
/// nodes are compiled into this crate, and not again into tests.
pub struct LiveCluster {
    /// The hosts; more may be added.
    pub hosts: Vec<LiveHost>,
    net: LiveNet,
    dir: TempDir,
    options: StoreOptions,
    controls: Controls,
}

impl LiveCluster {
    /// Starts so many nodes and founds a cluster of them, with replication factor 3.
    pub fn found(hosts: usize, options: StoreOptions) -> BoxFuture<'static, anyhow::Result<Self>> {
        Self::found_with(hosts, options, Controls::default())
    }

    /// The same of nodes that do without a protection.
    pub fn found_with(
        hosts: usize,
        options: StoreOptions,
        controls: Controls,
    ) -> BoxFuture<'static, anyhow::Result<Self>> {
        async move {
            let (net, dir) = (LiveNet::default(), TempDir::new()?);
            let mut cluster = Self {
                hosts: Vec::new(),
                net,
                dir,
                options,
                controls,
            };
            for _ in 0..hosts {
                cluster.add_host().await?;
            }
            let founders: Vec<Founder> = (0..hosts).map(|host| cluster.introduce(host)).collect();
            let request = BootstrapRequest {
                cluster_id: "live".to_owned(),
                founders,
                shards: u32::from(SHARDS),
                replication_factor: 3,
            };
            let orders = cluster.hosts.iter().map(|host| {
                let request = request.clone();
                host.run(move |node| async move {
                    node.admin().bootstrap(&Principal::Operator, request).await
                })
            });
            for order in futures_util::future::join_all(orders).await {
                order??;
            }
            cluster.until_ready().await?;
            Ok(cluster)
        }
        .boxed()
    }

    /// Starts one more node; it belongs to no cluster yet.
    pub fn add_host(&mut self) -> BoxFuture<'_, anyhow::Result<usize>> {
        async move {
            let dir = self.dir.path().join(format!("node-{}", self.hosts.len()));
            let index = self.add_host_over(dir);
            self.hosts[index].start().await?;
            Ok(index)
        }
        .boxed()
    }

    /// A host over a directory; nothing runs on it yet.
    pub fn add_host_over(&mut self, dir: PathBuf) -> usize {
        let index = self.hosts.len();
        let how = (self.options.clone(), self.controls);
        let host = LiveHost::new(index, dir, self.net.clone(), how);
        self.hosts.push(host);
        index
    }

    fn introduce(&self, host: usize) -> Founder {
        self.hosts[host]
            .node()
            .map_or_else(Founder::default, |node| Founder::from(&*node))
    }

    /// The id of the node that runs on a host.
    pub fn node_id(&self, host: usize) -> NodeId {
        self.hosts[host].node().map_or(0, |node| node.node_id())
    }

    /// A host that runs.
    pub fn some_host(&self) -> anyhow::Result<&LiveHost> {
        self.hosts
            .iter()
            .find(|host| host.node().is_some())
            .context("no host runs")
    }

    /// Waits until every node that runs is ready.
    pub fn until_ready(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        async move {
            until("every node to be ready", || {
                let mut nodes = self.hosts.iter().filter_map(LiveHost::node);
                nodes
                    .find_map(|node| node.readiness().err())
                    .map_or(Ok(()), Err)
            })
            .await
        }
        .boxed()
    }

    /// The host that leads a group, as it says itself.
    pub fn leader_of(&self, group: GroupId) -> Option<usize> {
        self.hosts.iter().find_map(|host| {
            let leads = host.node()?.groups().get(group)?.leadership().is_leader;
            leads.then_some(host.index)
        })
    }

    /// Waits until a group has a leader.
    pub fn until_led(&self, group: GroupId) -> BoxFuture<'_, anyhow::Result<usize>> {
        async move {
            until("a leader", || {
                self.leader_of(group)
                    .map(drop)
                    .ok_or_else(|| "none yet".to_owned())
            })
            .await?;
            self.leader_of(group).context("the leader has gone again")
        }
        .boxed()
    }

    /// Hands the leadership of a group over to somebody else.
    pub fn transfer(&self, group: GroupId) -> BoxFuture<'_, anyhow::Result<()>> {
        async move {
            let request = TransferLeadershipRequest {
                shard: Some(u32::from(group)),
                ..TransferLeadershipRequest::default()
            };
            let call = self.some_host()?.run(|node| async move {
                node.admin()
                    .transfer_leadership(&Principal::Operator, request)
                    .await
            });
            call.await??;
            Ok(())
        }
        .boxed()
    }

    /// Creates a queue.
    pub fn create<'a>(
        &'a self,
        queue: &'a str,
        spec: QueueSpec,
    ) -> BoxFuture<'a, anyhow::Result<()>> {
        async move {
            let request = CreateQueueRequest {
                queue: Some(queue_ref(queue)),
                spec: Some(spec),
            };
            let call = self.some_host()?.run(|node| async move {
                node.gateway()
                    .create_queue(&Principal::Anonymous, request)
                    .await
            });
            call.await??;
            Ok(())
        }
        .boxed()
    }

    /// The cluster, as the leader of the catalog tells it.
    pub fn status(&self) -> BoxFuture<'_, anyhow::Result<GetClusterStatusResponse>> {
        async move {
            let request = GetClusterStatusRequest {};
            let call = self.some_host()?.run(|node| async move {
                node.gateway()
                    .get_cluster_status(&Principal::Anonymous, request)
                    .await
            });
            Ok(call.await??)
        }
        .boxed()
    }

    /// Counts of a queue, complete ones only.
    pub fn stats<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, anyhow::Result<QueueStats>> {
        async move {
            let request = GetQueueStatsRequest {
                queue: Some(queue_ref(queue)),
                ..GetQueueStatsRequest::default()
            };
            let call = self.some_host()?.run(|node| async move {
                node.gateway()
                    .get_queue_stats(&Principal::Anonymous, request)
                    .await
            });
            let stats = call.await??.stats.context("an answer without stats")?;
            if stats.partitions_unavailable > 0 {
                bail!("{} partitions have no leader", stats.partitions_unavailable);
            }
            Ok(stats)
        }
        .boxed()
    }

    /// Waits until a queue holds nothing.
    pub fn until_empty<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, anyhow::Result<()>> {
        async move {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let stats = self.stats(queue).await;
                match &stats {
                    Ok(s) if s.ready + s.in_flight + s.delayed + s.blocked + s.outbox == 0 => {
                        return Ok(());
                    }
                    _ if Instant::now() > deadline => bail!("{queue} did not run empty: {stats:?}"),
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        }
        .boxed()
    }

    /// Lets a host's node join the cluster, and waits until it holds replicas.
    pub fn join(&self, host: usize) -> BoxFuture<'_, anyhow::Result<()>> {
        async move {
            let request = AddMemberRequest {
                member: Some(self.introduce(host)),
                fence: 0,
            };
            let call = self.hosts[0].run(|node| async move {
                node.admin().add_member(&Principal::Operator, request).await
            });
            call.await??;
            Ok(())
        }
        .boxed()
    }

    /// Drains a node and waits until it votes in no group.
    pub fn drain(&self, node_id: NodeId) -> BoxFuture<'_, anyhow::Result<()>> {
        async move {
            let request = DrainMemberRequest {
                node_id,
                drain: true,
                fence: 0,
            };
            let call = self.some_host()?.run(|node| async move {
                node.admin()
                    .drain_member(&Principal::Operator, request)
                    .await
            });
            call.await??;
            let deadline = Instant::now() + PATIENCE;
            loop {
                let members = self.members().await;
                match &members {
                    Ok(members) if voters(members, node_id) == Some(0) => return Ok(()),
                    _ if Instant::now() > deadline => bail!("{node_id:x} not drained: {members:?}"),
                    _ => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        }
        .boxed()
    }

    /// Removes a node that was drained; the catalog notes a moment after its groups that it was.
    pub fn remove(&self, node_id: NodeId) -> BoxFuture<'_, anyhow::Result<()>> {
        async move {
            let request = RemoveMemberRequest { node_id, fence: 0 };
            let deadline = Instant::now() + PATIENCE;
            loop {
                let call = self.some_host()?.run(|node| async move {
                    node.admin()
                        .remove_member(&Principal::Operator, request)
                        .await
                });
                match call.await? {
                    Err(error) if Instant::now() < deadline => drop(error),
                    removed => return Ok(removed.map(drop)?),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        .boxed()
    }

    /// The members of the cluster.
    pub fn members(&self) -> BoxFuture<'_, anyhow::Result<Vec<Member>>> {
        async move {
            let call = self.some_host()?.run(|node| async move {
                node.admin()
                    .list_members(&Principal::Operator, ListMembersRequest {})
                    .await
            });
            Ok(call.await??.members)
        }
        .boxed()
    }
}

fn voters(members: &[Member], node_id: NodeId) -> Option<u32> {
    members
        .iter()
        .find(|member| member.node_id == node_id)
        .map(|member| member.voters)
}

/// A queue of the namespace `default`.
pub fn queue_ref(name: &str) -> QueueRef {
    QueueRef {
        namespace: "default".to_owned(),
        name: name.to_owned(),
    }
}

/// Looks again and again until `look` is satisfied; the error says what it said last.
pub async fn until(what: &str, mut look: impl FnMut() -> Result<(), String>) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(()) => return Ok(()),
            Err(why) if Instant::now() > deadline => bail!("waited for {what} in vain: {why}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
