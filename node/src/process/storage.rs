//! Opens what a node keeps on disk.

use std::sync::Arc;

use anyhow::Context;

use super::memory;
use crate::config::NodeConfig;
use crate::store::Store;
use crate::store::data_dir::DataDir;
use crate::store::disk::{Disk, FsDisk};
use crate::store::drivers::StoreThreads;
use crate::store::env::LmdbEnv;

/// An open data directory; its background threads run.
pub struct Storage {
    pub data_dir: DataDir,
    pub store: Store,
    pub threads: StoreThreads,
}

/// Least size of LMDB's map in bytes; it is address space, not memory or disk.
const MIN_MAP: u64 = 64 << 30;

impl Storage {
    /// Opens the directory of a node that may use `memory` bytes. Blocks while the journal is read.
    pub fn open(config: &NodeConfig, memory: u64) -> anyhow::Result<Self> {
        let disk = FsDisk::open(&config.data_dir)?;
        let root = disk.root().to_owned();
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let data_dir = DataDir::open(Arc::clone(&disk), rand::random())?;
        let space = disk
            .space()
            .context("the size of the volume cannot be found out")?;
        let map = usize::try_from(space.total.max(MIN_MAP)).unwrap_or(usize::MAX);
        let env = LmdbEnv::open(&root.join("lmdb"), map)?;
        let mut options = memory::store_options(memory, space.total, config.segment_size);
        options.nonce = rand::random();
        if let Some(reserve) = config.reserve {
            (options.reserve_bytes, options.reserve_percent) = (reserve, 0);
        }
        let (store, drivers) = Store::open(disk, Arc::new(env), &options)?;
        let threads = drivers
            .start_threads()
            .context("a thread of the store cannot start")?;
        Ok(Self {
            data_dir,
            store,
            threads,
        })
    }
}
