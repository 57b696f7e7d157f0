//! Who this data directory belongs to, and how often it was started.
//!
//! One small file, `identity`, replaced as a whole: version, node id, whether the last stop was
//! orderly, the starts since the last that the cluster has noted, cluster id, CRC32C.

use std::io;
use std::sync::Arc;

use roadstead_core::catalog::Boot;
use thiserror::Error;

use super::codec::Take;
use super::disk::Disk;
use super::failure::Damage;
use crate::raft::types::NodeId;

const NAME: &str = "identity";
const NEW: &str = "identity.new";
const VERSION: u8 = 1;

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

#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    node: NodeId,
    boot: Boot,
    clean: bool,
    cluster: Option<String>,
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
            None => Identity {
                node: random.max(1),
                boot: Boot::default(),
                clean: true,
                cluster: None,
            },
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
        let save = || {
            let bytes = self.identity.encode();
            let file = self.disk.create(NEW)?;
            file.write_all_at(&bytes, 0)?;
            file.sync()?;
            self.disk.rename(NEW, NAME)?;
            self.disk.sync_dir("")
        };
        save().map_err(|source| io_error("writing", source))
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
            if journal.is_empty() {
                return Ok(None);
            }
            return Err(damage("it is missing beside a journal"));
        }
        opened => opened.map_err(|e| io_error("opening", e))?,
    };
    let length = file.len().map_err(|e| io_error("reading", e))?;
    let mut bytes = vec![0; length.min(4096) as usize];
    file.read_exact_at(&mut bytes, 0)
        .map_err(|e| io_error("reading", e))?;
    let identity = Identity::decode(&bytes);
    identity
        .map(Some)
        .ok_or_else(|| damage("its CRC32C or its contents are wrong"))
}

impl Identity {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.node.to_le_bytes());
        out.extend_from_slice(&[u8::from(self.clean), u8::from(self.cluster.is_some())]);
        out.extend_from_slice(&self.boot.first().to_le_bytes());
        out.push(self.boot.nonces().len() as u8);
        for nonce in self.boot.nonces() {
            out.extend_from_slice(&nonce.to_le_bytes());
        }
        out.extend_from_slice(self.cluster.as_deref().unwrap_or_default().as_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut take = Take(body);
        if take.u8()? != VERSION {
            return None;
        }
        let node = take.u64()?;
        let (clean, known) = (take.flag()?, take.flag()?);
        let (first, starts) = (take.u64()?, take.u8()?);
        let nonces = (0..starts).map(|_| take.u64()).collect::<Option<_>>()?;
        let cluster = std::str::from_utf8(take.0).ok()?.to_owned();
        Some(Self {
            node,
            boot: Boot::new(first, nonces),
            clean,
            cluster: known.then_some(cluster),
        })
    }
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
