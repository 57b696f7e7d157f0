//! How what the catalog holds is stored: keys, and one codec per kind of row.
//!
//! | key                  | value                | changes             |
//! |----------------------|----------------------|---------------------|
//! | 0x01                 | cluster              | founded, finalized  |
//! | 0x02                 | counters             | with every queue    |
//! | 0x03 node (8)        | member               |                     |
//! | 0x04 group (2)       | placement            |                     |
//! | 0x05 queue id (8)    | queue                |                     |
//! | 0x06 namespace       | quota                |                     |

use bytes::Bytes;

use super::boot::Boot;
use super::groups::GroupIds;
use super::model::{Cluster, Member, NodeInfo, Placement, Queue, QueueName, QueueState};
use super::spec::QueueSpec;
use crate::codec::{Decoded, Put, Reader};
use crate::shard::{DeadLetterTarget, put_counts, read_counts};

/// Longest text anywhere in the catalog, in bytes.
pub(crate) const MAX_TEXT: usize = 512;

pub(crate) const CLUSTER: u8 = 1;
pub(crate) const COUNTERS: u8 = 2;
pub(crate) const MEMBER: u8 = 3;
pub(crate) const PLACEMENT: u8 = 4;
pub(crate) const QUEUE: u8 = 5;
pub(crate) const QUOTA: u8 = 6;

const VERSION: u8 = 1;

/// Counters of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counters {
    /// Cluster time of the newest entry, ms since 1970.
    pub(crate) time: u64,
    /// Highest queue id given.
    pub(crate) queue: u64,
    /// Highest revision given.
    pub(crate) revision: u64,
}

/// The key of a row that is there once.
pub(crate) fn single_key(kind: u8) -> [u8; 1] {
    [kind]
}

/// The key of a member or a queue.
pub(crate) fn id_key(kind: u8, id: u64) -> [u8; 9] {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

/// The key of the placement of a group.
pub(crate) fn placement_key(group: u16) -> [u8; 3] {
    let [high, low] = group.to_be_bytes();
    [PLACEMENT, high, low]
}

/// The key of the quota of a namespace.
pub(crate) fn quota_key(namespace: &str) -> Vec<u8> {
    [&[QUOTA], namespace.as_bytes()].concat()
}

/// The namespace in the key of its quota, behind the kind of row.
pub(crate) fn quota_namespace(r: &mut Reader<'_>) -> Decoded<String> {
    let namespace = r.bytes(r.remaining(), "namespace")?;
    match std::str::from_utf8(namespace) {
        Ok(namespace) => Ok(namespace.to_owned()),
        Err(_) => r.fail("namespace"),
    }
}

/// Encodes a row with its version byte.
pub(crate) fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = vec![VERSION];
    write(&mut out);
    out.into()
}

/// Reads a row that `encoded` wrote.
pub(crate) fn decoded<T>(
    value: &[u8],
    read: impl FnOnce(&mut Reader<'_>) -> Decoded<T>,
) -> Decoded<T> {
    let mut r = Reader::new(value);
    r.version(VERSION, "version of row")?;
    let read = read(&mut r)?;
    r.finish("end of row")?;
    Ok(read)
}

impl Counters {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.time);
        out.put_varint(self.queue);
        out.put_varint(self.revision);
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            time: r.varint("time")?,
            queue: r.varint("queue id")?,
            revision: r.varint("revision")?,
        })
    }
}

impl Cluster {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_prefixed(self.id.as_bytes());
        out.put_varint(u64::from(self.shards));
        out.push(self.replication_factor);
        out.put_varint(u64::from(self.version));
        out.put_varint(self.fence);
        out.put_varint(self.founded_at);
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            id: r.text(MAX_TEXT, "cluster id")?,
            shards: r.varint_u16("number of shards")?,
            replication_factor: r.u8("replication factor")?,
            version: r.varint_u32("command version")?,
            fence: r.varint("fence")?,
            founded_at: r.varint("time of founding")?,
        })
    }
}

impl NodeInfo {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.node_id);
        for text in [
            &self.name,
            &self.peer_address,
            &self.client_address,
            &self.zone,
            &self.binary_version,
        ] {
            out.put_prefixed(text.as_bytes());
        }
        out.put_varint(u64::from(self.command_version));
        self.boot.encode(out);
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            node_id: r.u64("node id")?,
            name: r.text(MAX_TEXT, "name of node")?,
            peer_address: r.text(MAX_TEXT, "peer address")?,
            client_address: r.text(MAX_TEXT, "client address")?,
            zone: r.text(MAX_TEXT, "zone")?,
            binary_version: r.text(MAX_TEXT, "binary version")?,
            command_version: r.varint_u32("command version")?,
            boot: Boot::decode(r)?,
        })
    }
}

impl Member {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.node.encode(out);
        out.push(u8::from(self.draining) | u8::from(self.lost) << 1);
        out.put_varint(self.joined_at);
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let node = NodeInfo::decode(r)?;
        let (draining, lost) = match r.u8("draining")? {
            0 => (false, false),
            1 => (true, false),
            3 => (true, true),
            _ => return r.fail("draining"),
        };
        Ok(Self {
            node,
            draining,
            lost,
            joined_at: r.varint("time of joining")?,
        })
    }
}

impl Placement {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for nodes in [&self.voters, &self.learners] {
            out.put_varint(nodes.len() as u64);
            for node in nodes {
                out.put_u64(*node);
            }
        }
        out.push(u8::from(self.founding));
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        let mut read = |what| {
            let count = r.count(8, what)?;
            (0..count)
                .map(|_| r.u64("node id"))
                .collect::<Decoded<Vec<_>>>()
        };
        Ok(Self {
            voters: read("number of voters")?,
            learners: read("number of learners")?,
            founding: match r.u8("founding")? {
                0 => false,
                1 => true,
                _ => return r.fail("founding"),
            },
        })
    }
}

impl QueueName {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_prefixed(self.namespace.as_bytes());
        out.put_prefixed(self.name.as_bytes());
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            namespace: r.text(MAX_TEXT, "namespace")?,
            name: r.text(MAX_TEXT, "name of queue")?,
        })
    }
}

impl Queue {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.id);
        self.name.encode(out);
        self.spec.encode(out);
        out.put_varint(self.generation);
        out.put_varint(self.revision);
        out.put_varint(self.created_at);
        out.push(match self.state {
            QueueState::Active => 0,
            QueueState::Deleting => 1,
        });
        match self.dead_letter {
            None => out.put_varint(0),
            Some(target) => {
                out.put_varint(u64::from(target.partitions));
                out.put_varint(target.queue);
            }
        }
        out.put_varint(self.shards.len() as u64);
        for shard in &self.shards {
            out.put_varint(u64::from(*shard));
        }
        self.group_ids.encode(out);
        put_counts(out, &self.earlier);
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            id: r.varint("queue id")?,
            name: QueueName::decode(r)?,
            spec: QueueSpec::decode(r)?,
            generation: r.varint("generation")?,
            revision: r.varint("revision")?,
            created_at: r.varint("time of creation")?,
            state: match r.u8("state of queue")? {
                0 => QueueState::Active,
                1 => QueueState::Deleting,
                _ => return r.fail("state of queue"),
            },
            dead_letter: match r.varint_u32("dead-letter partitions")? {
                0 => None,
                partitions => Some(DeadLetterTarget {
                    queue: r.varint("dead-letter queue")?,
                    partitions,
                }),
            },
            shards: {
                let count = r.count(1, "number of partitions")?;
                (0..count)
                    .map(|_| r.varint_u16("shard"))
                    .collect::<Decoded<_>>()?
            },
            group_ids: GroupIds::decode(r)?,
            earlier: read_counts(r)?,
        })
    }
}
