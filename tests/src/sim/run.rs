//! One run: a cluster, its clients, its faults, and what the oracle says afterwards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft_rt::AsyncRuntime as _;
use roadstead_node::raft::types::CATALOG;

use super::client::Channel;
use super::cluster::{Cluster, SHARDS};
use super::consumer::Receiver;
use super::context::{self, Left, count};
use super::control::Control;
use super::coverage::Coverage;
use super::faults::Faults;
use super::history::{Action, Answer, History, Ms};
use super::host::SESSION_GRACE;
use super::ledger::Ledger;
use super::net::within;
use super::oracle::{self, Rules, Violation};
use super::process::{Joined, spawn};
use super::producer::Sender;
use super::queues::{MAX_DELIVERIES, QUEUES, create, empty};
use super::runtime::Sim;

/// After the faults everything must have come to rest within this time.
const REST: Duration = Duration::from_mins(3);

/// Something that is off and then on.
#[derive(Debug, Clone, Default)]
pub struct Switch(Arc<AtomicBool>);

impl Switch {
    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn turn_on(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Everything random comes from it.
    pub seed: u64,
    /// Machines.
    pub hosts: usize,
    /// Virtual time with faults.
    pub length: Duration,
    /// Whether every event is printed.
    pub print: bool,
    /// Whether every scheduling decision is recorded, for comparing two runs.
    pub record: bool,
    /// The protection that is switched off.
    pub control: Control,
}

impl Plan {
    /// Three hosts and a quarter of a virtual minute of faults.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            hosts: 3,
            length: Duration::from_secs(15),
            print: false,
            record: false,
            control: Control::None,
        }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Promises that were broken; empty when all is well.
    pub violations: Vec<Violation>,
    /// Hash over every event with its time, and their number.
    pub trace: (u64, u64),
    /// Scheduling decisions, if they were recorded.
    pub record: Vec<String>,
    /// What happened how often.
    pub coverage: Coverage,
    /// Virtual time that passed.
    pub length: Duration,
    /// Messages acknowledged to producers.
    pub acknowledged: usize,
}

/// Runs a plan to its end on this thread.
pub fn run(plan: Plan) -> Outcome {
    context::begin(plan.seed, plan.print);
    let mut runtime = Sim::with_seed(plan.seed);
    if plan.record {
        runtime.record();
    }
    let ledger = Ledger::default();
    let (mut violations, length) = runtime.block_on({
        let ledger = ledger.clone();
        async move {
            let violations = Box::pin(story(plan, ledger)).await;
            (violations, context::now())
        }
    });
    let record = runtime.take_record();
    drop(runtime);
    let Left {
        hash,
        events,
        panics,
        coverage,
    } = context::end();
    violations.extend(panics.into_iter().map(Violation::Panicked));
    let acknowledged = ledger.open().acknowledged.len();
    Outcome {
        violations,
        trace: (hash, events),
        record,
        coverage,
        length,
        acknowledged,
    }
}

async fn story(plan: Plan, ledger: Ledger) -> Vec<Violation> {
    let stuck = |why: String| vec![Violation::Stuck(why)];
    let cluster = match Cluster::found(plan.hosts, plan.control).await {
        Ok(cluster) => cluster,
        Err(why) => return stuck(why),
    };
    let channel = Channel::new(cluster.clone(), 60);
    for queue in QUEUES {
        if let Err(why) = create(&channel, queue).await {
            return stuck(format!("queue {}: {why}", queue.name));
        }
    }
    let mut violations = match live(plan, &cluster, &channel, &ledger).await {
        Ok(violations) => violations,
        Err(why) => stuck(why),
    };
    cluster.stop();
    if violations.is_empty() {
        violations = oracle::check(&ledger.open(), rules());
    } else {
        violations.extend(certain(&ledger.open()));
    }
    count_history(&ledger.open());
    violations
}

/// What the oracle finds although the run did not come to rest: nothing that time could mend.
fn certain(history: &History) -> Vec<Violation> {
    let mut found = oracle::check(history, rules());
    found.retain(|violation| !matches!(violation, Violation::Lost(_) | Violation::Vanished(_)));
    found
}

fn rules() -> Rules {
    let session_grace = Ms::try_from(SESSION_GRACE.as_millis()).unwrap_or(Ms::MAX);
    Rules {
        session_grace,
        dead_queue: "dead",
        max_deliveries: MAX_DELIVERIES,
    }
}

/// Faults and load, then rest.
async fn live(
    plan: Plan,
    cluster: &Arc<Cluster>,
    channel: &Channel,
    ledger: &Ledger,
) -> Result<Vec<Violation>, String> {
    let (enough, diligent, stop) = (Switch::default(), Switch::default(), Switch::default());
    let failed = Arc::new(Mutex::new(None));
    let faults = Faults {
        cluster: cluster.clone(),
        ledger: ledger.clone(),
        failed: failed.clone(),
        clocks_jump: plan.control == Control::ClockJumps,
    };
    let senders = senders(channel, ledger, &enough);
    let receivers = receivers(channel, ledger, &diligent, &stop);
    let faulty = spawn(faults.run(enough.clone()));
    Sim::sleep(plan.length).await;
    enough.turn_on();
    within(REST, faulty)
        .await
        .ok_or("the faults did not heal")?
        .ok();
    if let Some(why) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(why);
    }
    if context::has_panicked() {
        return Err("a task panicked".to_owned());
    }
    channel.calm_down();
    diligent.turn_on();
    cluster.until_ready(REST).await?;
    for sender in senders {
        within(REST, sender)
            .await
            .ok_or("a producer did not get its messages acknowledged")?
            .ok();
    }
    within(REST, empty(channel))
        .await
        .ok_or_else(|| "the queues did not run empty".to_owned())?;
    stop.turn_on();
    for receiver in receivers {
        within(REST, receiver)
            .await
            .ok_or("a consumer did not stop")?
            .ok();
    }
    let mut found = compare(cluster).await;
    found.extend(digests(cluster));
    Ok(found)
}

fn senders(channel: &Channel, ledger: &Ledger, enough: &Switch) -> Vec<Joined<()>> {
    let queues = QUEUES.into_iter().filter(|queue| !queue.dead).cycle();
    let senders = queues.take(5).enumerate().map(|(number, queue)| {
        let (channel, ledger) = (channel.clone(), ledger.clone());
        spawn(
            Sender {
                number,
                queue,
                channel,
                ledger,
            }
            .run(enough.clone()),
        )
    });
    senders.collect()
}

fn receivers(
    channel: &Channel,
    ledger: &Ledger,
    diligent: &Switch,
    stop: &Switch,
) -> Vec<Joined<()>> {
    let receivers = QUEUES
        .into_iter()
        .cycle()
        .take(8)
        .enumerate()
        .map(|(number, queue)| {
            let (channel, ledger, diligent) = (channel.clone(), ledger.clone(), diligent.clone());
            spawn(
                Receiver {
                    number,
                    queue,
                    channel,
                    ledger,
                    diligent,
                }
                .run(stop.clone()),
            )
        });
    receivers.collect()
}

/// Waits until the replicas of every group have applied the same, and compares them.
async fn compare(cluster: &Cluster) -> Vec<Violation> {
    let mut found = Vec::new();
    for group in CATALOG..=SHARDS {
        let mut digests = None;
        for _ in 0..500 {
            digests = cluster.digests(group);
            if digests.is_some() {
                break;
            }
            Sim::sleep(Duration::from_millis(20)).await;
        }
        match digests {
            None => found.push(Violation::Stuck(format!("replicas of group {group} lag"))),
            Some(digests) => {
                let mut different: Vec<u64> = digests.values().map(|(_, digest)| *digest).collect();
                different.sort_unstable();
                different.dedup();
                if different.len() > 1 {
                    let what = format!("group {group}: {digests:x?}");
                    found.push(Violation::ReplicasDiffer(what));
                }
            }
        }
    }
    found
}

/// What the nodes themselves found by their digests: never a difference.
fn digests(cluster: &Cluster) -> Vec<Violation> {
    let mut found = Vec::new();
    for (host, running) in cluster.running() {
        for (group, counts) in running.node.digest_counts() {
            for _ in 0..counts.agreed {
                count("digest alike on all replicas");
            }
            if counts.mismatched > 0 {
                let what = format!("host {host} says so of shard {group}: {counts:?}");
                found.push(Violation::ReplicasDiffer(what));
            }
        }
    }
    found
}

/// Counts what only the whole history shows.
fn count_history(history: &History) {
    for settled in &history.settled {
        if settled.action == Action::Ack && settled.answer == Answer::Unknown {
            count("ack unknown");
        }
    }
    for delivery in history
        .delivered
        .iter()
        .filter(|delivery| delivery.count > 1)
    {
        let was_leased = |earlier: &&super::history::Delivered| {
            earlier.message_id == delivery.message_id
                && earlier.at + Ms::from(earlier.remaining_ms) <= delivery.at
        };
        if history.delivered.iter().any(|earlier| was_leased(&earlier)) {
            count("redelivery after a lease ended");
        }
    }
}
