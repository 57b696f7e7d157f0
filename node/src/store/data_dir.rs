//! Who this data directory belongs to, and how often it was started.
//!
//! One small file, `identity`, replaced as a whole: version, node id, whether the last stop was
//! orderly, the starts since the last that the cluster has noted, cluster id, where other members
//! are, what is damaged, whose place this node takes, CRC32C.

mod identity;

use std::io;
use std::sync::Arc;

use roadstead_core::catalog::Boot;
use thiserror::Error;

use self::identity::Identity;
use super::disk::Disk;
use super::failure::Damage;
use crate::raft::types::NodeId;

/// The file.
pub const NAME: &str = "identity";
const NEW: &str = "identity.new";
/// Of the node that comes after this one, while its data is given up.
pub const SUCCESSOR: &str = "identity.successor";
/// Addresses of other members that are kept: any of them leads to all.
const MAX_MEMBERS: usize = 32;
/// Longest address or text that is kept, in bytes.
const MAX_TEXT: usize = 512;
/// More bytes than any identity has.
const MAX_BYTES: u64 = 64 << 10;

/// Why the identity of a data directory cannot be read or written.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// The file is not what was written.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The operating system refused a call.
    #[error("{what}: {source}; check the disk and its permissions")]
    Io {
        /// File and operation.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// It already belongs to a cluster.
    #[error("this data directory belongs to cluster {has}, not to {wanted}; use an empty one")]
    OtherCluster {
        /// The cluster it belongs to.
        has: String,
        /// The cluster that was asked for.
        wanted: String,
    },
}

/// The identity of a data directory, opened once per start.
pub struct DataDir {
    disk: Arc<dyn Disk>,
    identity: Identity,
    /// As this start is told to others, though it is noted by now.
    boot: Boot,
    was_clean: bool,
}

impl DataDir {
    /// Reads the identity, or mints the node id `random` (0 becomes 1) for an empty directory, and
    /// notes this start durably, with `random` as its nonce. A journal without an identity is
    /// damage, never a new node.
    pub fn open(disk: Arc<dyn Disk>, random: u64) -> Result<Self, DataDirError> {
        let found = read(&*disk)?;
        let was_clean = found.as_ref().is_none_or(|identity| identity.clean);
        let mut identity = match found {
            Some(identity) => identity,
            None => Identity::new(random.max(1)),
        };
        identity.boot = identity.boot.next(random);
        identity.clean = false;
        let boot = identity.boot.clone();
        let data_dir = Self {
            disk,
            identity,
            boot,
            was_clean,
        };
        data_dir.save()?;
        Ok(data_dir)
    }

    fn save(&self) -> Result<(), DataDirError> {
        self.write(&self.identity, NAME)
    }

    fn write(&self, identity: &Identity, name: &str) -> Result<(), DataDirError> {
        let write = || {
            let bytes = identity.encode();
            let file = self.disk.create(NEW)?;
            file.write_all_at(&bytes, 0)?;
            file.sync()?;
            self.disk.rename(NEW, name)?;
            self.disk.sync_dir("")
        };
        write().map_err(|source| io_error("writing", source))
    }

    /// The Raft id minted with this directory.
    pub fn node_id(&self) -> NodeId {
        self.identity.node
    }

    /// The cluster this node belongs to, once it is known.
    pub fn cluster_id(&self) -> Option<&str> {
        self.identity.cluster.as_deref()
    }

    /// Notes the cluster, durably, for ever. No error if it is the one already noted.
    pub fn set_cluster_id(&mut self, cluster: &str) -> Result<(), DataDirError> {
        match &self.identity.cluster {
            Some(has) if has == cluster => Ok(()),
            Some(has) => Err(DataDirError::OtherCluster {
                has: has.clone(),
                wanted: cluster.to_owned(),
            }),
            None => {
                self.identity.cluster = Some(cluster.to_owned());
                self.save()
            }
        }
    }

    /// This start. One that does not continue what the cluster knows means a restored or cloned
    /// volume.
    pub fn boot(&self) -> Boot {
        self.boot.clone()
    }

    /// The cluster has noted this start: those before it are forgotten.
    pub fn note_boot(&mut self) -> Result<(), DataDirError> {
        let noted = self.boot.noted();
        if self.identity.boot == noted {
            return Ok(());
        }
        self.identity.boot = noted;
        self.save()
    }

    /// Where other members listen for peers, as far as they are known: host:port each.
    pub fn members(&self) -> &[String] {
        &self.identity.members
    }

    /// Notes where other members listen, durably; in any order, so many that one will answer.
    pub fn note_members(&mut self, mut members: Vec<String>) -> Result<(), DataDirError> {
        members.retain(|address| !address.is_empty() && address.len() <= MAX_TEXT);
        members.sort_unstable();
        members.dedup();
        members.truncate(MAX_MEMBERS);
        if self.identity.members == members {
            return Ok(());
        }
        self.identity.members = members;
        self.save()
    }

    /// What was found damaged while the node ran, and is not mended yet.
    pub fn damage(&self) -> Option<&Damage> {
        self.identity.damage.as_ref()
    }

    /// Notes damage durably: the next start may not find it by itself. `None`: it is mended.
    pub fn note_damage(&mut self, damage: Option<Damage>) -> Result<(), DataDirError> {
        let cut = |text: &str| text.chars().take(MAX_TEXT / 4).collect();
        self.identity.damage = damage.map(|damage| Damage {
            file: cut(&damage.file),
            what: cut(&damage.what),
            ..damage
        });
        self.save()
    }

    /// The node whose data was given up here, until it is out of the cluster.
    pub fn replaces(&self) -> Option<NodeId> {
        self.identity.replaces
    }

    /// The node that was replaced is out of the cluster.
    pub fn note_replaced(&mut self) -> Result<(), DataDirError> {
        self.identity.replaces = None;
        self.save()
    }

    /// Writes down the node `random` (0 becomes 1) that comes in this one's place once its data is
    /// out of the way: it knows the cluster and whom it replaces.
    pub fn write_successor(&self, random: u64) -> Result<(), DataDirError> {
        let successor = Identity {
            cluster: self.identity.cluster.clone(),
            members: self.identity.members.clone(),
            replaces: Some(self.identity.node),
            ..Identity::new(random.max(1))
        };
        self.write(&successor, SUCCESSOR)
    }

    /// Whether the last stop was orderly; if not, check the data before LMDB is opened.
    pub fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// Notes an orderly stop. The last thing a node does, after the store is closed.
    pub fn mark_clean(&mut self) -> Result<(), DataDirError> {
        self.identity.clean = true;
        self.save()
    }
}

fn io_error(what: &str, source: io::Error) -> DataDirError {
    DataDirError::Io {
        what: format!("{what} {NAME}"),
        source,
    }
}

fn damage(what: &str) -> DataDirError {
    Damage {
        file: NAME.into(),
        offset: 0,
        what: what.into(),
    }
    .into()
}

fn read(disk: &dyn Disk) -> Result<Option<Identity>, DataDirError> {
    let file = match disk.open(NAME) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let journal = disk
                .list("journal")
                .map_err(|e| io_error("looking beside", e))?;
            if !journal.is_empty() {
                return Err(damage("it is missing beside a journal"));
            }
            match disk.rename(SUCCESSOR, NAME) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                renamed => renamed.map_err(|e| io_error("renaming", e))?,
            }
            disk.open(NAME).map_err(|e| io_error("opening", e))?
        }
        opened => opened.map_err(|e| io_error("opening", e))?,
    };
    let length = file.len().map_err(|e| io_error("reading", e))?;
    let mut bytes = vec![0; length.min(MAX_BYTES) as usize];
    file.read_exact_at(&mut bytes, 0)
        .map_err(|e| io_error("reading", e))?;
    let identity = Identity::decode(&bytes);
    identity
        .map(Some)
        .ok_or_else(|| damage("its CRC32C or its contents are wrong"))
}

#[cfg(test)]
mod tests {
    use super::super::disk::SimDisk;
    use super::*;

    fn open(disk: &SimDisk, random: u64) -> Result<DataDir, DataDirError> {
        DataDir::open(Arc::new(disk.clone()), random)
    }

    #[test]
    fn starts_are_remembered_until_the_cluster_has_noted_one() {
        let disk = SimDisk::new(3);
        let first = open(&disk, 77).unwrap().boot();
        assert_eq!(first, Boot::default().next(77));
        let mut second = open(&disk, 78).unwrap();
        assert_eq!(second.boot(), first.next(78));
        second.note_boot().unwrap();
        assert_eq!(second.boot().nonces(), [77, 78], "while it runs");
        disk.crash();
        let mut third = open(&disk, 79).unwrap();
        assert_eq!(third.boot(), second.boot().noted().next(79));
        third.note_boot().unwrap();
        third.mark_clean().unwrap();
        let fourth = open(&disk, 80).unwrap().boot();
        assert_eq!((fourth.number(), fourth.nonces()), (4, &[79, 80][..]));
    }

    #[test]
    fn an_id_is_minted_once() {
        let disk = SimDisk::new(1);
        let mut first = open(&disk, 77).unwrap();
        assert_eq!((first.node_id(), first.was_clean()), (77, true));
        first.set_cluster_id("c1").unwrap();
        disk.crash();
        let mut second = open(&disk, 78).unwrap();
        assert_eq!((second.node_id(), second.was_clean()), (77, false));
        assert_eq!(second.cluster_id(), Some("c1"));
        let error = second.set_cluster_id("c2").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("belongs to cluster c1, not to c2"),
            "{error}"
        );
        second.mark_clean().unwrap();
        assert!(open(&disk, 79).unwrap().was_clean());
    }

    #[test]
    fn a_successor_takes_over_when_the_data_is_out_of_the_way() {
        let disk = SimDisk::new(4);
        let mut old = open(&disk, 7).unwrap();
        old.set_cluster_id("c1").unwrap();
        let many = (0..100).map(|n| format!("node-{n}:7702")).collect();
        old.note_members(many).unwrap();
        let found = Damage {
            file: "journal/00000003".into(),
            offset: 4_096,
            what: "x".repeat(10_000),
        };
        old.note_damage(Some(found)).unwrap();
        disk.create("journal/00000003").unwrap();
        disk.sync_dir("journal").unwrap();
        disk.crash();
        let old = open(&disk, 8).unwrap();
        let known = old.damage().unwrap();
        assert_eq!(
            (known.file.as_str(), known.offset),
            ("journal/00000003", 4_096)
        );
        assert_eq!(old.members().len(), MAX_MEMBERS);
        old.write_successor(9).unwrap();
        disk.crash();
        assert_eq!(
            open(&disk, 10).unwrap().node_id(),
            7,
            "its data is still here"
        );
        disk.remove(NAME).unwrap();
        disk.sync_dir("").unwrap();
        assert!(open(&disk, 10).is_err(), "so is its journal");
        disk.remove("journal/00000003").unwrap();
        disk.sync_dir("journal").unwrap();
        let mut new = open(&disk, 10).unwrap();
        assert_eq!((new.node_id(), new.replaces()), (9, Some(7)));
        assert_eq!((new.cluster_id(), new.damage()), (Some("c1"), None));
        assert_eq!(new.members(), old.members());
        new.note_replaced().unwrap();
        disk.crash();
        assert_eq!(open(&disk, 11).unwrap().replaces(), None);
    }

    #[test]
    fn a_damaged_or_missing_identity_is_never_a_new_node() {
        let disk = SimDisk::new(2);
        open(&disk, 5).unwrap();
        disk.flip(NAME, 3, 1);
        assert!(matches!(open(&disk, 6), Err(DataDirError::Damage(_))));
        disk.remove(NAME).unwrap();
        disk.create("journal/00000000").unwrap();
        assert!(matches!(open(&disk, 6), Err(DataDirError::Damage(_))));
    }
}
