//! What an operator may ask of a node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::impls::BasicNode;
use roadstead_core::catalog::{Bootstrap, Op, encode_entry};
use roadstead_proto::v1::{
    AddMemberRequest, AddMemberResponse, BootstrapRequest, BootstrapResponse, ConsumerLoadFrame,
    DrainMemberRequest, DrainMemberResponse, Founder, GetClusterStatusResponse, GetNodeResponse,
    ListMembersRequest, ListMembersResponse, ListNamespaceQuotasRequest,
    ListNamespaceQuotasResponse, RemoveMemberRequest, RemoveMemberResponse,
    SetNamespaceQuotaRequest, SetNamespaceQuotaResponse, ShardCall, ShardReply, ShardTransfer,
    TransferLeadershipRequest, TransferLeadershipResponse, shard_call::Call, shard_reply::Reply,
};
use tokio::sync::mpsc;
use tonic::Code;

use super::{Node, orders};
use crate::auth::{Action, Principal, authorize};
use crate::gateway::ApiError;
use crate::gateway::route::Again;
use crate::peers::codec::boot_from_wire;
use crate::raft::types::{CATALOG, GroupId, NodeId};
use crate::runtime::Runtime;

/// Time for a call that goes to the catalog's leader.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time for founding a cluster: the other founders may be starting.
const FOUNDING: Duration = Duration::from_mins(1);

/// Pause between two looks at a cluster that is being founded.
const POLL: Duration = Duration::from_millis(20);

/// What an operator may ask of this node.
pub struct Admin<R: Runtime> {
    node: Arc<Node<R>>,
}

impl<R: Runtime> Admin<R> {
    pub(super) fn new(node: Arc<Node<R>>) -> Self {
        Self { node }
    }

    /// This node, as it sees itself; answers also before it belongs to a cluster.
    pub fn get_node(&self, principal: &Principal) -> Result<GetNodeResponse, ApiError> {
        authorize(principal, Action::GetNode, None)?;
        let hello = self.node.peers().hello();
        let config = self.node.config();
        let readiness = self.node.readiness();
        Ok(GetNodeResponse {
            node_id: hello.node_id,
            name: config.name.clone(),
            cluster_id: hello.cluster_id,
            boot: boot_from_wire(hello.boot.as_ref()).number(),
            binary_version: hello.binary_version,
            peer_address: config.peer_address.clone(),
            client_address: config.client_address.clone(),
            ready: readiness.is_ok(),
            reason: readiness.err().unwrap_or_default(),
        })
    }

    /// Founds the cluster; said again with the same cluster id it does nothing.
    pub async fn bootstrap(
        &self,
        principal: &Principal,
        request: BootstrapRequest,
    ) -> Result<BootstrapResponse, ApiError> {
        authorize(principal, Action::Bootstrap, None)?;
        let order = founding_order(&request)?;
        let me = self.node.node_id();
        if !request.founders.iter().any(|founder| founder.node_id == me) {
            return Err(ApiError::new(
                Code::FailedPrecondition,
                format!("node {me:016x} is not among the founders; name it, or ask one that is"),
            ));
        }
        self.node
            .join_cluster(&request.cluster_id)
            .map_err(|why| ApiError::new(Code::FailedPrecondition, why))?;
        for founder in &request.founders {
            self.node
                .peers()
                .set_address(founder.node_id, &founder.peer_address);
        }
        let voters = catalog_voters(&request);
        if voters.contains_key(&me) {
            let group = self.node.catalog().group();
            group.found(voters).await.map_err(ApiError::unavailable)?;
        }
        R::timeout(FOUNDING, self.founded(order))
            .await
            .unwrap_or_else(|_| {
                Err(ApiError::unavailable(
                    "the cluster has no majority of its founders yet; start them and ask again",
                ))
            })
    }

    /// Waits until the catalog is founded; whoever leads it says so in its log.
    async fn founded(&self, order: Bootstrap) -> Result<BootstrapResponse, ApiError> {
        let catalog = self.node.catalog();
        let mut founded = false;
        loop {
            if catalog.read(|catalog| catalog.cluster().is_some()) {
                return Ok(BootstrapResponse { founded });
            }
            let group = catalog.group();
            if group.leadership().is_leader {
                let op = Op::Bootstrap(order.clone());
                let entry = encode_entry(group.cluster_time(), &[op]);
                founded = group.propose(entry).await.is_ok();
            }
            R::sleep(POLL).await;
        }
    }

    /// The members and groups of the cluster.
    pub async fn list_members(
        &self,
        principal: &Principal,
        _: ListMembersRequest,
    ) -> Result<ListMembersResponse, ApiError> {
        authorize(principal, Action::ListMembers, None)?;
        let status = self.status(principal).await?;
        Ok(ListMembersResponse {
            members: status.members,
            shards: status.shards,
        })
    }

    async fn status(&self, principal: &Principal) -> Result<GetClusterStatusResponse, ApiError> {
        match self.ask_catalog(principal, Call::Status(true)).await?.reply {
            Some(Reply::Status(status)) => Ok(status),
            _ => Err(ApiError::unavailable(
                "the catalog's leader answered another way",
            )),
        }
    }

    /// Lets a node join.
    pub async fn add_member(
        &self,
        principal: &Principal,
        request: AddMemberRequest,
    ) -> Result<AddMemberResponse, ApiError> {
        authorize(principal, Action::AddMember, None)?;
        orders::member(&request)?;
        self.ask_catalog(principal, Call::AddMember(request))
            .await?;
        Ok(AddMemberResponse {})
    }

    /// Drains a member, or takes that back.
    pub async fn drain_member(
        &self,
        principal: &Principal,
        request: DrainMemberRequest,
    ) -> Result<DrainMemberResponse, ApiError> {
        authorize(principal, Action::DrainMember, None)?;
        orders::node("node_id", request.node_id)?;
        self.ask_catalog(principal, Call::DrainMember(request))
            .await?;
        Ok(DrainMemberResponse {})
    }

    /// Removes a member that holds no replica any more.
    pub async fn remove_member(
        &self,
        principal: &Principal,
        request: RemoveMemberRequest,
    ) -> Result<RemoveMemberResponse, ApiError> {
        authorize(principal, Action::RemoveMember, None)?;
        orders::node("node_id", request.node_id)?;
        self.ask_catalog(principal, Call::RemoveMember(request))
            .await?;
        Ok(RemoveMemberResponse {})
    }

    /// Says what the queues of a namespace may ask for together.
    pub async fn set_namespace_quota(
        &self,
        principal: &Principal,
        request: SetNamespaceQuotaRequest,
    ) -> Result<SetNamespaceQuotaResponse, ApiError> {
        authorize(principal, Action::SetNamespaceQuota, None)?;
        self.ask_catalog(principal, Call::SetQuota(request)).await?;
        Ok(SetNamespaceQuotaResponse {})
    }

    /// The quotas of namespaces, with what is taken of them.
    pub async fn list_namespace_quotas(
        &self,
        principal: &Principal,
        request: ListNamespaceQuotasRequest,
    ) -> Result<ListNamespaceQuotasResponse, ApiError> {
        authorize(principal, Action::ListNamespaceQuotas, None)?;
        let asked = self.ask_catalog(principal, Call::ListQuotas(request));
        match asked.await?.reply {
            Some(Reply::Quotas(quotas)) => Ok(quotas),
            _ => Err(ApiError::unavailable(
                "the catalog's leader answered another way",
            )),
        }
    }

    /// Moves leadership of one group, or of all that a node leads.
    pub async fn transfer_leadership(
        &self,
        principal: &Principal,
        request: TransferLeadershipRequest,
    ) -> Result<TransferLeadershipResponse, ApiError> {
        authorize(principal, Action::TransferLeadership, None)?;
        let groups: Vec<GroupId> = match request.shard {
            Some(shard) => vec![self.group_of(shard)?],
            None => self.led_by(principal, request.from_node).await?,
        };
        let patience = orders::timeout(request.timeout.as_ref(), PATIENCE)?;
        self.check_member(request.to_node)?;
        let call = Call::Transfer(ShardTransfer {
            to_node: request.to_node,
        });
        let here = Principal::Node(self.node.node_id()).to_info();
        let call = ShardCall {
            principal: Some(here),
            call: Some(call),
        };
        let mut shards = Vec::new();
        for group in groups {
            let router = self.node.router();
            router
                .call(group, call.clone(), patience, Again::Unsafe)
                .await?;
            shards.push(u32::from(group));
        }
        Ok(TransferLeadershipResponse { shards })
    }

    /// The load of consumer groups whose partitions this node leads: full frames, every second and
    /// at once when a group without consumers gets something to do.
    pub fn watch_consumer_load(
        &self,
        principal: &Principal,
    ) -> Result<mpsc::Receiver<ConsumerLoadFrame>, ApiError> {
        authorize(principal, Action::WatchConsumerLoad, None)?;
        Ok(super::load::watch(&self.node))
    }

    /// 0 stands for any.
    fn check_member(&self, node: NodeId) -> Result<(), ApiError> {
        let catalog = self.node.catalog();
        if node == 0 || catalog.read(|catalog| catalog.members().contains_key(&node)) {
            return Ok(());
        }
        let message = format!("node {node:016x} is not a member; `cluster members` lists them");
        Err(ApiError::new(Code::NotFound, message))
    }

    fn group_of(&self, shard: u32) -> Result<GroupId, ApiError> {
        let placed = |group: &GroupId| {
            let catalog = self.node.catalog();
            catalog.read(|catalog| catalog.placements().contains_key(group))
        };
        let group = GroupId::try_from(shard).ok().filter(placed);
        group.ok_or_else(|| {
            let message = format!("there is no shard {shard}; `cluster status` lists them");
            ApiError::new(Code::NotFound, message)
        })
    }

    async fn led_by(&self, principal: &Principal, node: NodeId) -> Result<Vec<GroupId>, ApiError> {
        if node == 0 {
            return Err(ApiError::invalid(
                "from_node",
                "say which shard, or which node shall hand over all that it leads",
            ));
        }
        let status = self.status(principal).await?;
        let led = status.shards.iter().filter(|shard| shard.leader == node);
        Ok(led
            .filter_map(|shard| GroupId::try_from(shard.shard).ok())
            .collect())
    }

    async fn ask_catalog(&self, principal: &Principal, call: Call) -> Result<ShardReply, ApiError> {
        let call = ShardCall {
            principal: Some(principal.to_info()),
            call: Some(call),
        };
        self.node
            .router()
            .call(CATALOG, call, PATIENCE, Again::Safe)
            .await
    }
}

/// The catalog's first voters: as many founders as it has voters, those with the lowest ids, so
/// that every founder names the same.
fn catalog_voters(request: &BootstrapRequest) -> BTreeMap<NodeId, BasicNode> {
    let all: BTreeMap<NodeId, BasicNode> = request
        .founders
        .iter()
        .map(|founder| (founder.node_id, BasicNode::new(&founder.peer_address)))
        .collect();
    let voters = request.replication_factor as usize;
    all.into_iter().take(voters).collect()
}

fn founding_order(request: &BootstrapRequest) -> Result<Bootstrap, ApiError> {
    let invalid = |field: &str, message: &str| Err(ApiError::invalid(field, message));
    let Some(shards) = u16::try_from(request.shards)
        .ok()
        .filter(|n| (1..=256).contains(n))
    else {
        return invalid("shards", "shards must be 1 to 256");
    };
    let factor = match request.replication_factor {
        1 => 1,
        3 => 3,
        5 => 5,
        _ => return invalid("replication_factor", "replication_factor must be 1, 3 or 5"),
    };
    if request.cluster_id.is_empty() || request.cluster_id.len() > 64 {
        return invalid("cluster_id", "cluster_id must have 1 to 64 bytes");
    }
    let founders = request.founders.len();
    if founders != 1 && founders < usize::from(factor) {
        return invalid(
            "founders",
            "founders must be one, or as many as the replication factor",
        );
    }
    Ok(Bootstrap {
        cluster_id: request.cluster_id.clone(),
        founders: request
            .founders
            .iter()
            .map(crate::catalog::node_info)
            .collect(),
        shards,
        replication_factor: factor,
    })
}

/// How this node introduces itself to who founds a cluster.
impl<R: Runtime> From<&Node<R>> for Founder {
    fn from(node: &Node<R>) -> Self {
        let config = node.config();
        Self {
            node_id: node.node_id(),
            name: config.name.clone(),
            peer_address: config.peer_address.clone(),
            client_address: config.client_address.clone(),
            zone: config.zone.clone(),
        }
    }
}
