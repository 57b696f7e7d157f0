//! One node on a runtime of its own and a directory that outlives it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use openraft_rt_tokio::TokioRuntime;
use roadstead_node::controls::Controls;
use roadstead_node::node::{Identity, Node, NodeParts};
use roadstead_node::raft::timing::Timing;
use roadstead_node::scope::{Clock, NodeScope};
use roadstead_node::shard::ShardOptions;
use roadstead_node::store::data_dir::DataDir;
use roadstead_node::store::disk::FsDisk;
use roadstead_node::store::drivers::StoreThreads;
use roadstead_node::store::env::LmdbEnv;
use roadstead_node::store::{Store, StoreOptions};
use tokio::runtime::{Builder, Runtime};

use super::clients;
use super::net::LiveNet;

/// A node on tokio.
pub type LiveNode = Arc<Node<TokioRuntime>>;

/// How long what a session holds stays its own when it is gone.
pub const SESSION_GRACE: Duration = Duration::from_secs(4);

/// The machine's clocks.
struct MachineClock(Instant);

impl Clock for MachineClock {
    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn wall_ms(&self) -> u64 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
    }
}

struct Running {
    node: LiveNode,
    store: Store,
    threads: StoreThreads,
    runtime: Runtime,
}

/// A place where a node lives, with its directory.
pub struct LiveHost {
    /// Its number, from 0.
    pub index: usize,
    dir: PathBuf,
    net: LiveNet,
    options: StoreOptions,
    controls: Controls,
    /// Where its clients reach it; 0: it has not started yet.
    port: AtomicU16,
    running: Mutex<Option<Running>>,
}

impl LiveHost {
    /// A host whose directory is `dir`; nothing runs yet.
    pub fn new(index: usize, dir: PathBuf, net: LiveNet, how: (StoreOptions, Controls)) -> Self {
        let (options, controls) = how;
        Self {
            index,
            dir,
            net,
            options,
            controls,
            port: AtomicU16::new(0),
            running: Mutex::new(None),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its peers reach it.
    pub fn address(&self) -> String {
        format!("live-{}:7702", self.index)
    }

    /// Where its clients reach it, once it has started.
    pub fn client_address(&self) -> String {
        format!("127.0.0.1:{}", self.port.load(Ordering::Relaxed))
    }

    /// The node that runs here.
    pub fn node(&self) -> Option<LiveNode> {
        self.lock().as_ref().map(|running| running.node.clone())
    }

    /// Opens the directory and starts a node over it.
    pub fn start(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        async move {
            let disk = Arc::new(FsDisk::open(&self.dir).context("the directory does not open")?);
            let random = rand::random();
            let data_dir = DataDir::open(disk.clone(), random)?;
            let env = Arc::new(LmdbEnv::open(&self.dir.join("state"), 1 << 30)?);
            let options = StoreOptions {
                nonce: random,
                ..self.options.clone()
            };
            let (store, drivers) = Store::open(disk, env, &options)?;
            let threads = drivers.start_threads()?;
            let runtime = Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            let listen = clients::listen(self.port.load(Ordering::Relaxed));
            let listener = runtime.spawn(listen).await??;
            self.port
                .store(listener.local_addr()?.port(), Ordering::Relaxed);
            let parts = NodeParts {
                identity: Identity {
                    name: format!("node-{}", self.index),
                    zone: format!("zone-{}", self.index),
                    peer_address: self.address(),
                    client_address: self.client_address(),
                },
                timing: Timing::default(),
                data_dir,
                store: store.clone(),
                transport: Arc::new(self.net.clone()),
                clock: Arc::new(MachineClock(Instant::now())),
                scope: NodeScope::default(),
                shard_options: ShardOptions {
                    session_grace: SESSION_GRACE,
                    digest_pause: Duration::from_millis(100),
                    digest_interval: Duration::from_millis(300),
                    ..ShardOptions::default()
                },
                controls: self.controls,
            };
            let node = runtime.spawn(Node::start(parts)).await??;
            let served = node.clone();
            runtime
                .spawn(async move { clients::serve(&served, listener) })
                .await?;
            let (far, handle) = (node.clone(), runtime.handle().clone());
            let accept = move |link| {
                let _entered = handle.enter();
                far.accept(link);
            };
            self.net.listen(&self.address(), Arc::new(accept));
            *self.lock() = Some(Running {
                node,
                store,
                threads,
                runtime,
            });
            Ok(())
        }
        .boxed()
    }

    /// Ends the node without hand-over: every task of it is dropped.
    pub fn kill(&self) {
        let Some(running) = self.lock().take() else {
            return;
        };
        self.net.unlisten(&self.address());
        let Running {
            node,
            store,
            threads,
            runtime,
        } = running;
        end(runtime);
        drop(node);
        store.close();
        drop(store);
        threads.join();
    }

    /// Copies the directory of a node that does not run to one beside it.
    pub fn save(&self) -> std::io::Result<PathBuf> {
        let saved = self.dir.with_extension("saved");
        copy(&self.dir, &saved).map(|()| saved)
    }

    /// Puts back what was saved.
    pub fn put_back(&self) -> std::io::Result<()> {
        fs::remove_dir_all(&self.dir)?;
        copy(&self.dir.with_extension("saved"), &self.dir)
    }

    /// Ends the node in order.
    pub fn shutdown(&self) -> BoxFuture<'_, ()> {
        async move {
            let Some(running) = self.lock().take() else {
                return;
            };
            let Running {
                node,
                store,
                threads,
                runtime,
            } = running;
            let stopping = node.clone();
            let _ = runtime
                .spawn(async move {
                    stopping.retire(Duration::from_secs(5)).await;
                    stopping.stop().await;
                })
                .await;
            self.net.unlisten(&self.address());
            let ended = tokio::task::spawn_blocking(move || {
                drop(store);
                threads.join();
                node.mark_clean();
                end(runtime);
                drop(node);
            });
            let _ = ended.await;
        }
        .boxed()
    }

    /// Runs a future on the node's runtime.
    pub async fn run<T, F>(&self, call: impl FnOnce(LiveNode) -> F) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let spawned = {
            let running = self.lock();
            let running = running
                .as_ref()
                .ok_or_else(|| anyhow!("host {} is down", self.index))?;
            running.runtime.spawn(call(running.node.clone()))
        };
        spawned
            .await
            .map_err(|_| anyhow!("host {} was killed meanwhile", self.index))
    }
}

impl Drop for LiveHost {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Drops every task of a runtime; on a thread of its own, for it blocks.
fn end(runtime: Runtime) {
    let ending = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5)));
    drop(ending.join());
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
