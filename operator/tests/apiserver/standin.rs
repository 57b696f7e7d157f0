//! Nodes, played in this process: they know who they are, who founded them and which queues they
//! have, and they speak the real interface over the real mutual TLS.
mod quota;
mod shapes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use roadstead_proto::v1;
use roadstead_proto::v1::admin_service_server::{AdminService, AdminServiceServer};
use roadstead_proto::v1::queue_service_server::{QueueService, QueueServiceServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::{IntervalStream, TcpListenerStream};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::unasked::unasked;
use shapes::{key, load, member};

/// What the nodes of one cluster have in common.
#[derive(Debug, Default)]
pub struct Cluster {
    /// Its id, once it is founded.
    pub id: String,
    /// Members by node id.
    pub members: BTreeMap<u64, v1::Member>,
    /// Who leads everything.
    pub leader: u64,
    /// Queues by namespace/name.
    pub queues: BTreeMap<String, v1::Queue>,
    /// Messages ready, by namespace/name.
    pub ready: BTreeMap<String, u64>,
    /// Quotas by namespace.
    pub quotas: BTreeMap<String, v1::Quota>,
    /// How often somebody looked at the quotas.
    pub quota_looks: u64,
    /// Every order that was given, in order.
    pub orders: Vec<String>,
    /// Fences that came with orders.
    pub fences: Vec<u64>,
}

/// Shared by the nodes and the test.
pub type Shared = Arc<Mutex<Cluster>>;

/// One node.
#[derive(Clone)]
pub struct Node {
    id: u64,
    pod: String,
    cluster: Shared,
}

/// Starts a node with these certificates; returns where it listens, and what ends it when dropped.
pub async fn start(
    id: u64,
    pod: &str,
    cluster: Shared,
    tls: &BTreeMap<String, String>,
) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = ServerTlsConfig::new()
        .identity(Identity::from_pem(&tls["tls.crt"], &tls["tls.key"]))
        .client_ca_root(Certificate::from_pem(&tls["ca.crt"]));
    let node = Node {
        id,
        pod: pod.to_owned(),
        cluster,
    };
    let server = Server::builder()
        .tls_config(config)
        .unwrap()
        .add_service(AdminServiceServer::new(node.clone()))
        .add_service(QueueServiceServer::new(node))
        .serve_with_incoming(TcpListenerStream::new(listener));
    (address, tokio::spawn(async move { drop(server.await) }))
}

impl Node {
    fn with<T>(&self, f: impl FnOnce(&mut Cluster) -> T) -> Response<T> {
        Response::new(f(&mut self.cluster.lock().unwrap()))
    }

    fn order(&self, text: String, fence: u64) {
        let mut cluster = self.cluster.lock().unwrap();
        cluster.orders.push(text);
        cluster.fences.push(fence);
    }
}

type Frames = Pin<Box<dyn Stream<Item = Result<v1::ConsumerLoadFrame, Status>> + Send>>;

#[tonic::async_trait]
impl AdminService for Node {
    type WatchConsumerLoadStream = Frames;

    async fn get_node(
        &self,
        _: Request<v1::GetNodeRequest>,
    ) -> Result<Response<v1::GetNodeResponse>, Status> {
        Ok(self.with(|cluster| {
            let member = cluster.members.contains_key(&self.id);
            v1::GetNodeResponse {
                node_id: self.id,
                name: self.pod.clone(),
                cluster_id: if member {
                    cluster.id.clone()
                } else {
                    String::new()
                },
                binary_version: "0.1.0".into(),
                ready: member,
                ..Default::default()
            }
        }))
    }

    async fn bootstrap(
        &self,
        request: Request<v1::BootstrapRequest>,
    ) -> Result<Response<v1::BootstrapResponse>, Status> {
        let request = request.into_inner();
        self.order(format!("bootstrap {} {}", self.pod, request.cluster_id), 0);
        if !request
            .founders
            .iter()
            .any(|founder| founder.node_id == self.id)
        {
            return Err(Status::failed_precondition("not a founder"));
        }
        Ok(self.with(|cluster| {
            let founded = cluster.id.is_empty();
            cluster.id = request.cluster_id;
            cluster.leader = if founded { self.id } else { cluster.leader };
            let founder = request
                .founders
                .iter()
                .find(|founder| founder.node_id == self.id);
            cluster
                .members
                .insert(self.id, member(self.id, &founder.unwrap().name));
            v1::BootstrapResponse { founded }
        }))
    }

    async fn list_members(
        &self,
        _: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersResponse>, Status> {
        Ok(self.with(|cluster| {
            let replicas: Vec<_> = cluster
                .members
                .keys()
                .map(|id| v1::Replica {
                    node_id: *id,
                    voter: true,
                    lag: Some(0),
                })
                .collect();
            let leader = cluster.leader;
            let shard = |shard| v1::ShardStatus {
                shard,
                leader,
                replicas: replicas.clone(),
                ..Default::default()
            };
            let mut members: Vec<_> = cluster.members.values().cloned().collect();
            for member in &mut members {
                member.leaders = if member.node_id == leader { 3 } else { 0 };
            }
            v1::ListMembersResponse {
                members,
                shards: (0..=8).map(shard).collect(),
            }
        }))
    }

    async fn add_member(
        &self,
        request: Request<v1::AddMemberRequest>,
    ) -> Result<Response<v1::AddMemberResponse>, Status> {
        let request = request.into_inner();
        let new = request.member.unwrap_or_default();
        self.order(format!("add {}", new.name), request.fence);
        Ok(self.with(|cluster| {
            cluster
                .members
                .insert(new.node_id, member(new.node_id, &new.name));
            v1::AddMemberResponse {}
        }))
    }

    async fn drain_member(
        &self,
        request: Request<v1::DrainMemberRequest>,
    ) -> Result<Response<v1::DrainMemberResponse>, Status> {
        let request = request.into_inner();
        self.order(format!("drain {}", request.node_id), request.fence);
        Ok(self.with(|cluster| {
            if let Some(member) = cluster.members.get_mut(&request.node_id) {
                let state = [v1::MemberState::Serving, v1::MemberState::Draining];
                member.state = state[usize::from(request.drain)] as i32;
                member.draining = request.drain;
                member.voters = if request.drain { 0 } else { 3 };
            }
            if cluster.leader == request.node_id {
                cluster.leader = *cluster.members.keys().find(|id| **id != self.id).unwrap();
            }
            v1::DrainMemberResponse {}
        }))
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        let request = request.into_inner();
        self.order(format!("remove {}", request.node_id), request.fence);
        Ok(self.with(|cluster| {
            cluster.members.remove(&request.node_id);
            v1::RemoveMemberResponse {}
        }))
    }

    async fn set_namespace_quota(
        &self,
        request: Request<v1::SetNamespaceQuotaRequest>,
    ) -> Result<Response<v1::SetNamespaceQuotaResponse>, Status> {
        let request = request.into_inner();
        self.order(quota::order(&request), request.fence);
        Ok(self.with(|cluster| {
            cluster.set_quota(request);
            v1::SetNamespaceQuotaResponse {}
        }))
    }

    async fn list_namespace_quotas(
        &self,
        _: Request<v1::ListNamespaceQuotasRequest>,
    ) -> Result<Response<v1::ListNamespaceQuotasResponse>, Status> {
        Ok(self.with(|cluster| {
            cluster.quota_looks += 1;
            cluster.list_quotas()
        }))
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        let request = request.into_inner();
        self.order(format!("transfer {}", request.from_node), request.fence);
        Ok(self.with(|cluster| {
            let heir = cluster.members.keys().find(|id| **id != request.from_node);
            cluster.leader = heir.copied().unwrap_or(cluster.leader);
            v1::TransferLeadershipResponse {
                shards: vec![0, 1, 2],
            }
        }))
    }

    async fn watch_consumer_load(
        &self,
        _: Request<v1::WatchConsumerLoadRequest>,
    ) -> Result<Response<Frames>, Status> {
        let node = self.clone();
        let ticks = IntervalStream::new(tokio::time::interval(Duration::from_millis(100)));
        let frames = ticks.map(move |_| {
            let cluster = node.cluster.lock().unwrap();
            let leads = cluster.leader == node.id;
            let loads = cluster
                .queues
                .values()
                .filter(|_| leads)
                .map(|queue| load(&cluster, queue));
            Ok(v1::ConsumerLoadFrame {
                full: true,
                node_id: node.id,
                loads: loads.collect(),
            })
        });
        Ok(Response::new(Box::pin(frames)))
    }
}

#[tonic::async_trait]
impl QueueService for Node {
    async fn create_queue(
        &self,
        request: Request<v1::CreateQueueRequest>,
    ) -> Result<Response<v1::CreateQueueResponse>, Status> {
        let request = request.into_inner();
        let named = request.queue.clone().unwrap_or_default();
        self.check_quota(&named, request.spec.as_ref())?;
        self.order(format!("create {}", key(&named)), 0);
        Ok(self.with(|cluster| {
            let id = cluster.queues.len() as u64 + 1;
            let queue = v1::Queue {
                queue: request.queue,
                spec: request.spec,
                id,
                ..Default::default()
            };
            cluster.queues.insert(key(&named), queue.clone());
            v1::CreateQueueResponse {
                queue: Some(queue),
                created: true,
            }
        }))
    }
    async fn update_queue(
        &self,
        request: Request<v1::UpdateQueueRequest>,
    ) -> Result<Response<v1::UpdateQueueResponse>, Status> {
        let request = request.into_inner();
        let named = request.queue.unwrap_or_default();
        self.check_quota(&named, request.spec.as_ref())?;
        self.order(format!("update {}", key(&named)), 0);
        Ok(self.with(|cluster| {
            let queue = cluster.queues.get_mut(&key(&named)).unwrap();
            queue.spec = request.spec;
            v1::UpdateQueueResponse {
                queue: Some(queue.clone()),
            }
        }))
    }
    async fn delete_queue(
        &self,
        request: Request<v1::DeleteQueueRequest>,
    ) -> Result<Response<v1::DeleteQueueResponse>, Status> {
        let request = request.into_inner();
        let named = request.queue.clone().unwrap_or_default();
        let name = key(&named);
        let ready = |cluster: &mut Cluster| cluster.ready.get(&name).copied().unwrap_or(0);
        let messages = self.with(ready).into_inner();
        let letters = |queue: &v1::Queue| queue.spec.clone()?.dead_letter.map(|to| to.queue);
        let feeds = |queue: &v1::Queue| letters(queue).as_ref() == Some(&named.name);
        let named_by = self.with(|cluster| cluster.queues.values().any(feeds));
        if named_by.into_inner() {
            return Err(Status::failed_precondition("another queue names it"));
        }
        if request.policy() != v1::DeletePolicy::Always && messages > 0 {
            return Err(Status::failed_precondition(format!(
                "it holds {messages} messages"
            )));
        }
        self.order(format!("delete {name}"), 0);
        Ok(self.with(|cluster| {
            cluster.queues.remove(&name);
            v1::DeleteQueueResponse { messages }
        }))
    }
    async fn get_queue(
        &self,
        request: Request<v1::GetQueueRequest>,
    ) -> Result<Response<v1::GetQueueResponse>, Status> {
        let named = request.into_inner().queue.unwrap_or_default();
        let found = self
            .cluster
            .lock()
            .unwrap()
            .queues
            .get(&key(&named))
            .cloned();
        let queue = found.ok_or_else(|| Status::not_found(key(&named)))?;
        Ok(Response::new(v1::GetQueueResponse { queue: Some(queue) }))
    }
    async fn get_queue_stats(
        &self,
        request: Request<v1::GetQueueStatsRequest>,
    ) -> Result<Response<v1::GetQueueStatsResponse>, Status> {
        let named = request.into_inner().queue.unwrap_or_default();
        Ok(self.with(|cluster| {
            let ready = cluster.ready.get(&key(&named)).copied().unwrap_or(0);
            let stats = v1::QueueStats {
                ready,
                messages: ready,
                ..Default::default()
            };
            v1::GetQueueStatsResponse { stats: Some(stats) }
        }))
    }
    unasked! {
        list_queues(v1::ListQueuesRequest) -> v1::ListQueuesResponse;
        purge_queue(v1::PurgeQueueRequest) -> v1::PurgeQueueResponse;
        peek_messages(v1::PeekMessagesRequest) -> v1::PeekMessagesResponse;
        delete_message(v1::DeleteMessageRequest) -> v1::DeleteMessageResponse;
        redrive_messages(v1::RedriveMessagesRequest) -> v1::RedriveMessagesResponse;
        redrive_message(v1::RedriveMessageRequest) -> v1::RedriveMessageResponse;
        seek_group(v1::SeekGroupRequest) -> v1::SeekGroupResponse;
        list_consumers(v1::ListConsumersRequest) -> v1::ListConsumersResponse;
        drain_consumers(v1::DrainConsumersRequest) -> v1::DrainConsumersResponse;
    }
}
