//! The client: connections, topology, and calls with retries.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use roadstead_proto::v1::cluster_service_client::ClusterServiceClient;
use roadstead_proto::v1::{GetTopologyRequest, GetTopologyResponse, QueueRef};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tonic::{Response, Status};

use crate::backoff::Backoff;
use crate::builder::ClientBuilder;
use crate::channels::{Channels, Dialing, Service};
use crate::error::{CallError, ConnectError, Fault};
use crate::topology::Topology;

/// How old what is known of the leaders may become.
const REFRESH: Duration = Duration::from_secs(5);
/// The least time between two looks, however many failures ask for one.
const REFRESH_SPACING: Duration = Duration::from_millis(100);

/// A connection to a cluster: cheap to clone, and shared by its producers and consumers.
///
/// It knows which node leads what, sends each request there, and goes around nodes that do not
/// answer: any node can serve any request.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    refresher: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.refresher.abort();
    }
}

/// What the client and its background tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub channels: Channels,
    seeds: Vec<String>,
    direct: bool,
    namespace: String,
    call_timeout: Duration,
    topology: watch::Sender<Arc<Topology>>,
    refresh_wanted: Notify,
    turn: AtomicUsize,
}

impl Client {
    /// Settings to begin with.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    pub(crate) async fn start(
        builder: &ClientBuilder,
        seeds: Vec<String>,
        dialing: Dialing,
    ) -> Result<Self, ConnectError> {
        let shared = Arc::new(Shared {
            channels: Channels::new(dialing),
            seeds,
            direct: builder.direct,
            namespace: builder.namespace_name().to_owned(),
            call_timeout: builder.call_timeout,
            topology: watch::Sender::default(),
            refresh_wanted: Notify::new(),
            turn: AtomicUsize::new(0),
        });
        let patience = builder.connect_patience();
        let first = shared.call(patience, topology_call).await;
        let first = first.map_err(|error| match error {
            CallError::Refused(fault) => ConnectError::Refused(fault),
            CallError::Unreachable { waited, last } => {
                let endpoints = shared.seeds.join(", ");
                ConnectError::Unreachable {
                    endpoints,
                    waited,
                    last,
                }
            }
        })?;
        shared.learn(first);
        let refresher = tokio::spawn(refresh(shared.clone())).abort_handle();
        Ok(Self(Arc::new(Inner { shared, refresher })))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// What is known of nodes and leaders now.
    pub fn topology(&self) -> Arc<Topology> {
        self.0.shared.topology.borrow().clone()
    }

    /// The queue called `name`: `namespace/name`, or a name in the client's namespace.
    pub fn queue_ref(&self, name: &str) -> QueueRef {
        self.0.shared.queue_ref(name)
    }

    /// The namespace of queues that are named without one.
    pub fn namespace(&self) -> &str {
        &self.0.shared.namespace
    }

    /// One call, tried again while that may help and the client's call timeout lasts.
    pub(crate) async fn call<T, F, Fut>(&self, call: F) -> Result<T, CallError>
    where
        F: FnMut(Service) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.0.shared.call(self.0.shared.call_timeout, call).await
    }
}

impl Shared {
    /// Hears of changes of the topology.
    pub fn watch(&self) -> watch::Receiver<Arc<Topology>> {
        self.topology.subscribe()
    }

    /// See [`Client::queue_ref`].
    pub fn queue_ref(&self, name: &str) -> QueueRef {
        let (namespace, name) = name.split_once('/').unwrap_or((&self.namespace, name));
        QueueRef {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Asks for a fresh look at the topology soon.
    pub fn refresh_soon(&self) {
        self.refresh_wanted.notify_one();
    }

    fn learn(&self, answer: GetTopologyResponse) {
        self.topology.send_if_modified(|topology| {
            let mut newer = Topology::clone(topology);
            newer.learn(answer);
            let changed = newer != **topology;
            if changed {
                *topology = Arc::new(newer);
            }
            changed
        });
    }

    /// The node that leads `shard`, while it is known and reachable, and may be gone to.
    pub fn leader(&self, shard: u32) -> Option<String> {
        if !self.direct {
            return None;
        }
        let topology = self.topology.borrow();
        let address = topology.leader_of(shard)?;
        (!self.channels.is_down(address)).then(|| address.to_owned())
    }

    /// Where requests for `shard` go: to its leader, or else to any node, which forwards.
    pub fn route(&self, shard: u32) -> String {
        self.leader(shard).unwrap_or_else(|| self.anyone())
    }

    /// An address to try next: of those that are not known to be down, one after the other.
    pub fn anyone(&self) -> String {
        let mut addresses = self.seeds.clone();
        if self.direct {
            let topology = self.topology.borrow();
            for address in topology.addresses() {
                if !addresses.iter().any(|known| known == address) {
                    addresses.push(address.to_owned());
                }
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let up: Vec<_> = addresses
            .iter()
            .filter(|one| !self.channels.is_down(one))
            .collect();
        if up.is_empty() {
            return addresses[turn % addresses.len()].clone();
        }
        up[turn % up.len()].clone()
    }

    /// See [`Client::call`].
    pub async fn call<T, F, Fut>(&self, patience: Duration, mut call: F) -> Result<T, CallError>
    where
        F: FnMut(Service) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let started = Instant::now();
        let mut failures = 0;
        loop {
            let address = self.anyone();
            let left = patience.saturating_sub(started.elapsed());
            let fault = match self.attempt(&address, left, &mut call).await {
                Ok(answer) => return Ok(answer),
                Err(fault) if fault.retryable => fault,
                Err(fault) => return Err(CallError::Refused(Box::new(fault))),
            };
            failures += 1;
            let wait = Backoff::SEND.wait(failures);
            let waited = started.elapsed();
            if waited + wait >= patience {
                let last = Box::new(fault);
                if last.transport {
                    return Err(CallError::Unreachable { waited, last });
                }
                return Err(CallError::Refused(last));
            }
            sleep(wait).await;
        }
    }

    async fn attempt<T, F, Fut>(
        &self,
        address: &str,
        left: Duration,
        call: &mut F,
    ) -> Result<T, Fault>
    where
        F: FnMut(Service) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let service = self.channels.get(address).map_err(Fault::unreachable)?;
        match timeout(left, call(service)).await {
            Ok(Ok(answer)) => {
                self.channels.mark_up(address);
                Ok(answer.into_inner())
            }
            Ok(Err(status)) => {
                let fault = Fault::from(status);
                Err(self.blame(address, fault))
            }
            Err(_) => {
                let late = Fault::unreachable(format!("{address} did not answer in {left:?}"));
                Err(self.blame(address, late))
            }
        }
    }

    /// Notes what a fault says about the node at `address`, and names it in the fault.
    pub fn blame(&self, address: &str, mut fault: Fault) -> Fault {
        if fault.transport {
            self.channels.mark_down(address);
            self.refresh_soon();
            fault.message = format!("{address}: {}", fault.message);
        }
        fault
    }
}

async fn topology_call(service: Service) -> Result<Response<GetTopologyResponse>, Status> {
    ClusterServiceClient::new(service)
        .get_topology(GetTopologyRequest {})
        .await
}

async fn refresh(shared: Arc<Shared>) {
    loop {
        let pause = REFRESH.mul_f64(rand::random_range(0.8..1.2));
        tokio::select! {
            () = shared.refresh_wanted.notified() => {}
            () = sleep(pause) => {}
        }
        match shared.call(Duration::from_secs(2), topology_call).await {
            Ok(answer) => shared.learn(answer),
            Err(error) => tracing::debug!(%error, "cannot refresh the topology"),
        }
        sleep(REFRESH_SPACING).await;
    }
}
