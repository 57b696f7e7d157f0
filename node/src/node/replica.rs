//! A Raft group as the replica that serving a shard needs.

use std::io;

use bytes::Bytes;
use roadstead_core::kv::Kv;
use roadstead_core::shard::{Applied, PayloadRef, ShardMachine};

use crate::raft::types::{GroupId, Response};
use crate::raft::{Group, ProposeError};
use crate::runtime::Runtime;
use crate::shard::{Replica, Unapplied, View};

impl<R: Runtime> Replica for Group<R> {
    fn id(&self) -> GroupId {
        Group::id(self)
    }

    fn view(&self) -> View {
        self.leadership()
    }

    async fn view_changed(&self, epoch: u64) -> View {
        self.leadership_changed(epoch).await
    }

    async fn propose(&self, entry: Bytes) -> Result<Applied, Unapplied> {
        match Group::propose(self, entry).await {
            Ok(Response::Shard(applied)) => Ok(applied),
            Ok(other) => Err(Unapplied::Unknown(format!("a shard answered {other}"))),
            Err(ProposeError::NotLeader(leader)) => Err(Unapplied::NotLeader(leader)),
            Err(ProposeError::Unknown(why)) => Err(Unapplied::Unknown(why)),
        }
    }

    fn read<T>(&self, f: impl FnOnce(&ShardMachine, &dyn Kv) -> T) -> T {
        self.read_shard(f)
            .expect("a shard is served over a shard's group only")
    }

    async fn payloads(&self, refs: Vec<PayloadRef>) -> io::Result<Vec<Bytes>> {
        self.payloads_of(refs).await
    }

    fn cluster_time(&self) -> u64 {
        Group::cluster_time(self)
    }

    fn has_other_voters(&self) -> bool {
        Group::has_other_voters(self)
    }

    fn sends_allowed(&self) -> Result<(), String> {
        Group::sends_allowed(self)
    }
}
