//! A simulated machine: its disk and clock outlive the processes that boot on it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roadstead_node::controls::Controls;
use roadstead_node::node::{Identity, Node, NodeParts};
use roadstead_node::raft::timing::Timing;
use roadstead_node::scope::{Clock, NodeScope};
use roadstead_node::shard::ShardOptions;
use roadstead_node::store::data_dir::DataDir;
use roadstead_node::store::disk::{Disk, SimDisk, SimFaults};
use roadstead_node::store::env::MemoryEnv;
use roadstead_node::store::scrub::ScrubOptions;
use roadstead_node::store::{Store, StoreOptions};

use super::context::{self, below, note};
use super::control::{Control, LyingDisk};
use super::net::{Net, SimTransport};
use super::process::Process;
use super::runtime::Sim;

/// Where the machines' wall clocks begin, in ms since 1970.
const WALL_START: i64 = 1_800_000_000_000;

/// How long a consumer session without a stream keeps its leases in simulations.
pub const SESSION_GRACE: Duration = Duration::from_secs(2);

/// Between two pieces of rows that are hashed, and between two passes.
const DIGEST_PAUSE: Duration = Duration::from_millis(20);

/// The clocks of one machine.
#[derive(Debug)]
pub struct HostClock {
    /// Ahead of virtual time by so many ns.
    monotonic: AtomicU64,
    /// Ahead of the right time by so many ms.
    wall: AtomicI64,
}

impl Clock for HostClock {
    fn monotonic_ns(&self) -> u64 {
        let now = u64::try_from(context::now().as_nanos()).unwrap_or(u64::MAX);
        self.monotonic.load(Ordering::Relaxed) + now
    }

    fn wall_ms(&self) -> u64 {
        let now = i64::try_from(context::now().as_millis()).unwrap_or(i64::MAX);
        let wall = WALL_START + now + self.wall.load(Ordering::Relaxed);
        u64::try_from(wall).unwrap_or_default()
    }
}

/// A booted node.
#[derive(Clone)]
pub struct Running {
    /// Its tasks.
    pub process: Process,
    /// The node.
    pub node: Arc<Node<Sim>>,
}

/// A machine. It holds one data directory and runs one node at most.
pub struct Host {
    /// Its number, from 0.
    pub index: usize,
    disk: SimDisk,
    env: MemoryEnv,
    clock: Arc<HostClock>,
    net: Net,
    control: Control,
    boots: Mutex<u64>,
    booting: AtomicBool,
    running: Mutex<Option<Running>>,
}

impl Host {
    /// A machine with an empty disk.
    pub fn new(index: usize, net: Net, control: Control) -> Self {
        let wall = i64::try_from(below(200)).unwrap_or_default() - 100;
        let clock = HostClock {
            monotonic: AtomicU64::new(below(1 << 50)),
            wall: AtomicI64::new(wall),
        };
        Self {
            index,
            disk: SimDisk::new(below(u64::MAX)),
            env: MemoryEnv::default(),
            clock: Arc::new(clock),
            net,
            control,
            boots: Mutex::new(0),
            booting: AtomicBool::new(false),
            running: Mutex::new(None),
        }
    }

    /// Where its peers reach it.
    pub fn address(&self) -> String {
        format!("host-{}:7702", self.index)
    }

    /// What runs on it.
    pub fn running(&self) -> Option<Running> {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sets its wall clock off by so many ms.
    pub fn set_wall(&self, ahead_ms: i64) {
        self.clock.wall.store(ahead_ms, Ordering::Relaxed);
    }

    /// Sets its monotonic clock forward, which no machine does: for control runs.
    pub fn jump(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or_default();
        self.clock.monotonic.fetch_add(by, Ordering::Relaxed);
    }

    /// Steps of its disk take up to this long.
    pub fn set_disk_pause(&self, longest_pause: Duration) {
        self.disk.set_faults(SimFaults {
            longest_pause,
            ..SimFaults::default()
        });
    }

    /// Whether the caller may boot it: it is down and nobody else is booting it.
    pub fn claim_boot(&self) -> bool {
        self.running().is_none() && !self.booting.swap(true, Ordering::Relaxed)
    }

    /// Ends what [`claim_boot`](Self::claim_boot) began.
    pub fn end_boot(&self) {
        self.booting.store(false, Ordering::Relaxed);
    }

    /// Boots a node from what is on the disk; the error says why it does not start.
    pub async fn boot(&self) -> Result<(), String> {
        let boot = {
            let mut boots = self.boots.lock().unwrap_or_else(PoisonError::into_inner);
            *boots += 1;
            *boots
        };
        note(format_args!("host {} boots", self.index));
        let process = Process::new(format!("host {}, boot {boot}", self.index));
        let parts = process.enter(|| self.open(&process))?;
        let starting = process.spawn(Node::start(parts));
        let node = match starting.await {
            Ok(Ok(started)) => started.map_err(|error| format!("node does not start: {error}"))?,
            Ok(Err(error)) => return Err(format!("node does not start: {error}")),
            // It panicked, or was killed meanwhile.
            Err(_) => return Err("the start was cut off".to_owned()),
        };
        let (far, into) = (node.clone(), process.clone());
        let accept = Arc::new(move |link| into.enter(|| far.accept(link)));
        self.net.listen(&self.address(), self.index, accept);
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Running { process, node });
        Ok(())
    }

    fn open(&self, process: &Process) -> Result<NodeParts<Sim>, String> {
        let disk: Arc<dyn Disk> = match self.control {
            Control::NoSync => Arc::new(LyingDisk(self.disk.clone())),
            Control::None | Control::ClockJumps => Arc::new(self.disk.clone()),
        };
        let data_dir = DataDir::open(disk.clone(), below(u64::MAX)).map_err(|e| e.to_string())?;
        let options = StoreOptions {
            segment_bytes: 64 << 10,
            window_bytes: 192 << 10,
            tail_bytes: 64 << 10,
            nonce: below(u64::MAX),
            scrub: ScrubOptions {
                bytes_per_second: 1 << 20,
                interval: Duration::from_secs(1),
                ..ScrubOptions::default()
            },
            ..StoreOptions::default()
        };
        let (store, drivers) = Store::open(disk, Arc::new(self.env.clone()), &options)
            .map_err(|error| format!("store does not open: {error}"))?;
        for task in drivers.into_tasks::<Sim>() {
            drop(process.spawn(task));
        }
        let name = format!("node-{}", self.index);
        Ok(NodeParts {
            identity: Identity {
                zone: format!("zone-{}", self.index),
                client_address: format!("host-{}:7701", self.index),
                peer_address: self.address(),
                name,
            },
            timing: Timing::default(),
            data_dir,
            store,
            transport: Arc::new(SimTransport {
                net: self.net.clone(),
                host: self.index,
            }),
            clock: self.clock.clone(),
            scope: NodeScope::default(),
            shard_options: ShardOptions {
                session_grace: SESSION_GRACE,
                digest_pause: DIGEST_PAUSE,
                digest_interval: DIGEST_PAUSE,
                ..ShardOptions::default()
            },
            controls: Controls::default(),
        })
    }

    /// Cuts the power: every task ends here, and the disk loses what was not synced.
    pub fn crash(&self) {
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(running) = running else { return };
        note(format_args!("host {} crashes", self.index));
        self.net.unlisten(&self.address());
        running.process.kill();
        self.disk.crash();
    }
}
