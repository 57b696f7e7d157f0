//! Carries messages from the outboxes of a shard to their targets, on this shard or any other.
//!
//! The target remembers the highest number that it took in, so a batch may be carried again after
//! a crash at any point. What the target cannot take (its queue is gone or full) waits in the
//! outbox, and the reason is kept for people to see. Each shard that something goes to is a route
//! of its own: one that does not answer holds up nothing but itself.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use openraft_rt::Select3;
use roadstead_core::shard::{Outbox, PartitionId};

use super::desk::Desk;
use super::replica::Replica;
use crate::gateway::route::Router;
use crate::gateway::shards::Queues;
use crate::raft::types::GroupId;
use crate::runtime::Runtime;

const PAUSE_FIRST_MS: u64 = 400;
const PAUSE_MAX_MS: u64 = 15_000;
const NAP_MS: u64 = 60_000;

/// Why an outbox waits, by source and target.
pub type Parked = BTreeMap<(PartitionId, PartitionId), String>;

/// The shard that something goes to; None: its queue does not exist any more.
type Route = Option<GroupId>;

/// The courier of one shard.
pub struct Courier<R: Runtime, P> {
    pub(super) desk: Arc<Desk<R, P>>,
    pub(super) queues: Arc<dyn Queues>,
    pub(super) router: Arc<Router<R>>,
    parked: Arc<Mutex<Parked>>,
}

impl<R: Runtime, P: Replica> Courier<R, P> {
    /// A courier that keeps the reasons why something waits in `parked`.
    pub fn new(
        desk: Arc<Desk<R, P>>,
        queues: Arc<dyn Queues>,
        router: Arc<Router<R>>,
        parked: Arc<Mutex<Parked>>,
    ) -> Self {
        Self {
            desk,
            queues,
            router,
            parked,
        }
    }

    /// Runs until it is dropped.
    pub async fn run(self) {
        let mut paces = BTreeMap::<Route, Pace>::new();
        let mut trips = FuturesUnordered::new();
        loop {
            let outboxes = self.outboxes();
            paces.retain(|route, pace| pace.under_way || outboxes.contains_key(route));
            let now = self.desk.now_ms();
            for (route, outboxes) in outboxes {
                let pace = paces.entry(route).or_default();
                let is_new = |outbox: &Outbox| !self.is_parked(outbox);
                if !pace.under_way && (pace.due_ms <= now || outboxes.iter().any(is_new)) {
                    pace.under_way = true;
                    trips.push(self.trip(route, outboxes));
                }
            }
            let waiting = paces.values().filter(|pace| !pace.under_way);
            let due = waiting.map(|pace| pace.due_ms.saturating_sub(now)).min();
            let nap = Duration::from_millis(due.unwrap_or(NAP_MS).clamp(1, NAP_MS));
            let back = async {
                match trips.next().await {
                    Some(back) => back,
                    None => std::future::pending().await,
                }
            };
            let rung = self.desk.outbox.notified();
            match R::select3(pin!(back), pin!(rung), pin!(R::sleep(nap))).await {
                Select3::First((route, carried)) => {
                    let pace = paces.entry(route).or_default();
                    pace.back(carried, self.desk.now_ms());
                }
                Select3::Second(()) | Select3::Third(()) => {}
            }
        }
    }

    /// What has something in it, by where it goes; nothing while another node leads.
    fn outboxes(&self) -> BTreeMap<Route, Vec<Outbox>> {
        let mut routes = BTreeMap::<Route, Vec<Outbox>>::new();
        if !self.desk.leads() {
            self.parked().clear();
            return routes;
        }
        let outboxes = self.desk.replica.read(|machine, _| machine.outboxes());
        self.parked().retain(|(source, target), _| {
            outboxes
                .iter()
                .any(|outbox| (outbox.source, outbox.target) == (*source, *target))
        });
        for outbox in outboxes {
            routes.entry(self.route(&outbox)).or_default().push(outbox);
        }
        routes
    }

    fn route(&self, outbox: &Outbox) -> Route {
        let queue = self.queues.by_id(outbox.target.queue)?;
        if queue.deleting {
            return None;
        }
        queue.shard(outbox.target.partition)
    }

    /// One batch of each outbox of a route; whether something was carried.
    async fn trip(&self, route: Route, outboxes: Vec<Outbox>) -> (Route, bool) {
        let mut carried = false;
        for outbox in outboxes {
            let key = (outbox.source, outbox.target);
            match self.carry(outbox, route).await {
                Ok(()) => {
                    self.parked().remove(&key);
                    carried = true;
                }
                Err(error) => {
                    let why = error.to_string();
                    let news = self.parked().insert(key, why.clone()).as_ref() != Some(&why);
                    if news {
                        let (source, target) = key;
                        tracing::warn!(%source, %target, why, "messages wait in an outbox");
                    }
                }
            }
        }
        (route, carried)
    }

    /// Whether it was tried, and could not be carried.
    fn is_parked(&self, outbox: &Outbox) -> bool {
        self.parked().contains_key(&(outbox.source, outbox.target))
    }

    fn parked(&self) -> std::sync::MutexGuard<'_, Parked> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a route is taken next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Pace {
    under_way: bool,
    due_ms: u64,
    /// How long it was waited last, as nothing could be carried.
    pause_ms: u64,
}

impl Pace {
    fn back(&mut self, carried: bool, now_ms: u64) {
        self.under_way = false;
        self.pause_ms = match (carried, self.pause_ms) {
            (true, _) => 0,
            (false, 0) => PAUSE_FIRST_MS,
            (false, pause) => (2 * pause).min(PAUSE_MAX_MS),
        };
        self.due_ms = now_ms + self.pause_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_is_stuck_is_taken_ever_more_seldom_until_something_is_carried() {
        let mut pace = Pace::default();
        let mut waits = Vec::new();
        for carried in [false, false, false, false, false, false, false, true, false] {
            pace.under_way = true;
            pace.back(carried, 1_000);
            waits.push(pace.due_ms - 1_000);
        }
        let expected = [400, 800, 1_600, 3_200, 6_400, 12_800, 15_000, 0, 400];
        assert_eq!(waits, expected);
    }
}
