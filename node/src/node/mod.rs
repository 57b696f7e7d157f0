//! One node: its groups, its links, and the tasks that keep them.

mod admin;
mod admission;
mod calls;
mod cluster;
mod directory;
mod groups;
mod hand_over;
mod load;
mod mending;
mod notes;
mod orders;
mod placement;
mod readiness;
mod recycle;
mod replica;
mod reporter;
mod serve;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use roadstead_proto::v1::PeerHello;

pub use admin::Admin;
pub use directory::Directory;
pub use groups::Groups;
pub use readiness::Ending;
pub use reporter::report_group;

use self::cluster::ClusterView;
use self::readiness::Standing;
use crate::catalog::{CatalogService, CatalogView, steward};
use crate::controls::Controls;
use crate::gateway::route::Router;
use crate::gateway::shards::Queues;
use crate::gateway::{Gateway, QueueCache};
use crate::peers::codec::boot_to_wire;
use crate::peers::{Peers, inbound};
use crate::raft::Group;
use crate::raft::group::Shared;
use crate::raft::snapshot::Receiving;
use crate::raft::timing::Timing;
use crate::raft::types::{CATALOG, GroupId, NodeId};
use crate::runtime::Runtime;
use crate::scope::{Clock, NodeScope};
use crate::shard::{ShardOptions, ShardService};
use crate::store::data_dir::DataDir;
use crate::store::{Store, StoreFailure};
use crate::transport::{Link, Transport};

/// How a node calls itself and where it is reached.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// Shown to people; the pod's name on Kubernetes.
    pub name: String,
    /// Failure domain; empty when unknown.
    pub zone: String,
    /// host:port under which peers reach its peer and admin listener.
    pub peer_address: String,
    /// host:port under which clients reach its client listener.
    pub client_address: String,
}

/// What a node is made of.
pub struct NodeParts<R: Runtime> {
    /// Its name and addresses.
    pub identity: Identity,
    /// Election and heartbeat times.
    pub timing: Timing,
    /// Who it is.
    pub data_dir: DataDir,
    /// Journal and rows; its drivers run.
    pub store: Store,
    /// How peers are reached.
    pub transport: Arc<dyn Transport>,
    /// Its clocks.
    pub clock: Arc<dyn Clock>,
    /// Where its tasks are spawned.
    pub scope: NodeScope<R>,
    /// Limits of a shard.
    pub shard_options: ShardOptions,
    /// What it does without, in a control run.
    pub controls: Controls,
}

/// Serves one shard over its Raft group.
pub type Shard<R> = ShardService<R, Group<R>>;

/// A running node.
pub struct Node<R: Runtime> {
    config: Identity,
    shared: Shared<R>,
    data_dir: Mutex<DataDir>,
    groups: Groups<R>,
    directory: Directory<R>,
    catalog: CatalogView<R>,
    catalog_service: Arc<CatalogService<R>>,
    queues: Arc<dyn Queues>,
    gateway: Arc<Gateway<R>>,
    shards: Mutex<BTreeMap<GroupId, Arc<Shard<R>>>>,
    receiving: Receiving,
    shard_options: ShardOptions,
    controls: Controls,
    standing: Standing,
}

impl<R: Runtime> Node<R> {
    /// Starts the catalog's group and what keeps the node. Shards start as the catalog places them.
    pub async fn start(parts: NodeParts<R>) -> io::Result<Arc<Self>> {
        let NodeParts {
            identity,
            timing,
            data_dir,
            store,
            transport,
            ..
        } = parts;
        let (clock, scope) = (parts.clock, parts.scope);
        let (shard_options, controls) = (parts.shard_options, parts.controls);
        let hello = introduction(&data_dir);
        let node_id = hello.node_id;
        let peers = Peers::new(transport, scope.clone(), clock.clone(), hello);
        let shared = Shared {
            node_id,
            store,
            peers,
            clock,
            scope,
            timing,
        };
        let (groups, group) = catalog_alone(&shared).await?;
        let catalog = CatalogView::new(group, shared.peers.clone(), controls);
        let directory = Directory::new(
            node_id,
            groups.clone(),
            shared.peers.clone(),
            shared.clock.clone(),
        );
        let queues: Arc<dyn Queues> = Arc::new(QueueCache::new(Arc::new(catalog.clone())));
        let cluster = ClusterView {
            catalog: catalog.clone(),
            directory: directory.clone(),
            groups: groups.clone(),
        };
        let gateway = Gateway::new(
            node_id,
            Arc::new(directory.clone()),
            queues.clone(),
            Arc::new(cluster),
            shared.scope.clone(),
        );
        let router = gateway.router().clone();
        let catalog_service = Arc::new(CatalogService::new(
            catalog.clone(),
            directory.clone(),
            router,
        ));
        let node = Arc::new(Self {
            config: identity,
            data_dir: Mutex::new(data_dir),
            groups,
            directory,
            catalog,
            catalog_service,
            queues,
            gateway,
            shards: Mutex::default(),
            receiving: Receiving::default(),
            shard_options,
            controls,
            standing: Standing::default(),
            shared,
        });
        node.directory.set_node(&node);
        node.spawn_tasks();
        Ok(node)
    }

    fn spawn_tasks(self: &Arc<Self>) {
        let scope = &self.shared.scope;
        scope.spawn(steward::run(self.catalog_service.clone()));
        scope.spawn(reporter::run(self.clone()));
        scope.spawn(placement::run(self.clone()));
        scope.spawn(admission::run(self.clone()));
        recycle::start(self);
        self.resign_when_it_ends(self.catalog.group());
        let node = self.clone();
        scope.spawn(async move {
            let failure = node.shared.store.failure().wait().await;
            if let StoreFailure::Damage(damage) = &failure {
                node.note_damage(damage.clone());
            }
            node.fence(&failure.to_string());
        });
        let node = self.clone();
        scope.spawn(async move {
            let why = node.shared.peers.until_disowned().await;
            node.fence(&why);
        });
    }

    /// What clients may ask.
    pub fn gateway(&self) -> &Arc<Gateway<R>> {
        &self.gateway
    }

    /// Calls to the leaders of groups.
    pub fn router(&self) -> &Arc<Router<R>> {
        self.gateway.router()
    }

    /// What operators may ask.
    pub fn admin(self: &Arc<Self>) -> Admin<R> {
        Admin::new(self.clone())
    }

    /// Serves a link that a peer has dialled; whoever accepted it has checked its certificate.
    pub fn accept(self: &Arc<Self>, link: Link) {
        let served = Arc::new(self.clone());
        let scope = self.shared.scope.clone();
        self.shared
            .scope
            .spawn(inbound::serve::<R>(link, served, scope));
    }

    /// This node's id.
    pub fn node_id(&self) -> NodeId {
        self.shared.node_id
    }

    /// Its name and addresses.
    pub fn config(&self) -> &Identity {
        &self.config
    }

    /// The cluster it belongs to; empty before it does.
    pub fn cluster_id(&self) -> String {
        self.shared.peers.hello().cluster_id
    }

    /// Its groups.
    pub fn groups(&self) -> &Groups<R> {
        &self.groups
    }

    /// Who leads what.
    pub fn directory(&self) -> &Directory<R> {
        &self.directory
    }

    /// The catalog, as applied here.
    pub fn catalog(&self) -> &CatalogView<R> {
        &self.catalog
    }

    /// Journal and rows.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Shards that this node serves while it leads them.
    pub fn shards(&self) -> Vec<Arc<Shard<R>>> {
        lock(&self.shards).values().cloned().collect()
    }

    /// The service of one shard, if the shard runs here.
    pub fn shard(&self, group: GroupId) -> Option<Arc<Shard<R>>> {
        lock(&self.shards).get(&group).cloned()
    }

    pub(crate) fn peers(&self) -> &Peers<R> {
        &self.shared.peers
    }

    pub(crate) fn shared(&self) -> &Shared<R> {
        &self.shared
    }

    pub(crate) fn receiving(&self) -> &Receiving {
        &self.receiving
    }

    /// Tells the links where the members are and which start of each is its latest, as the catalog
    /// has it here; gives the ids of the others.
    fn meet_members(&self) -> BTreeSet<NodeId> {
        let members: Vec<_> = self.catalog.read(|catalog| {
            let members = catalog.members().values();
            members.map(|member| member.node.clone()).collect()
        });
        for member in &members {
            let peers = self.peers();
            peers.set_address(member.node_id, &member.peer_address);
            peers.learn_boot(member.node_id, &member.boot);
        }
        let others = members.iter().filter(|one| one.node_id != self.node_id());
        self.note_members(others.clone().map(|one| one.peer_address.clone()).collect());
        others.map(|one| one.node_id).collect()
    }

    /// Whether the catalog still names a group's founders as its voters.
    pub(crate) fn is_founding(&self, group: GroupId) -> bool {
        self.catalog.read(|catalog| {
            catalog
                .placements()
                .get(&group)
                .is_some_and(|place| place.founding)
        })
    }

    pub(crate) fn add_shard(self: &Arc<Self>, group: Arc<Group<R>>) {
        let service = ShardService::start(
            group.clone(),
            self.queues.clone(),
            self.router().clone(),
            group.scope().clone(),
            self.shard_options,
        );
        lock(&self.shards).insert(group.id(), service);
        self.resign_when_it_ends(&group);
        self.groups.insert(group);
    }

    /// A replica whose Raft has ended votes, stores and answers no more, and nothing but a restart
    /// brings it back.
    fn resign_when_it_ends(self: &Arc<Self>, group: &Arc<Group<R>>) {
        let (node, watched) = (self.clone(), group.clone());
        group.scope().spawn(async move {
            let why = watched.ended().await;
            // A replica that is let go stops its tasks first, and then its Raft.
            if watched.scope().is_stopped() {
                return;
            }
            node.resign(&format!("group {} has ended: {why}", watched.id()));
        });
    }

    pub(crate) async fn remove_shard(&self, group: GroupId) {
        lock(&self.shards).remove(&group);
        if let Some(group) = self.groups.remove(group) {
            group.stop().await;
        }
    }
}

/// The groups of a node that has started nothing but the catalog's.
async fn catalog_alone<R: Runtime>(shared: &Shared<R>) -> io::Result<(Groups<R>, Arc<Group<R>>)> {
    let groups = Groups::default();
    let group = Group::start(CATALOG, shared.clone()).await?;
    groups.insert(group.clone());
    Ok((groups, group))
}

/// How a node introduces itself to its peers.
fn introduction(data_dir: &DataDir) -> PeerHello {
    PeerHello {
        cluster_id: data_dir.cluster_id().unwrap_or_default().to_owned(),
        node_id: data_dir.node_id(),
        boot: Some(boot_to_wire(&data_dir.boot())),
        binary_version: env!("CARGO_PKG_VERSION").to_owned(),
        command_version: roadstead_core::catalog::COMMAND_VERSION,
        wall_ms: 0,
        to_node_id: 0,
        disowns: String::new(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
