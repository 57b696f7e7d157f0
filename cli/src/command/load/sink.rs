//! Receives and acks, and writes down what arrived.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use roadstead_client::ledger::{ATTRIBUTE, Name, Record};
use roadstead_client::{Consumer, Delivery, ReceiveError, SettleError, Settled};
use tokio::time::{sleep, sleep_until, timeout_at};

use super::journal::{Journal, clock_us};

/// Acks that may be unanswered.
const UNANSWERED: usize = 500;
/// How long answers are waited for at the end, whatever state the cluster is in.
const PATIENCE: Duration = Duration::from_secs(10);
/// At least so long what was fetched ahead has to go back.
const GIVE_BACK: Duration = Duration::from_millis(500);

/// One consumer of a run.
pub struct Sink {
    pub consumer: Consumer,
    pub journal: Journal,
    /// Time spent on each message.
    pub work: Duration,
    /// What is received here is dead: it is entered as buried.
    pub graveyard: bool,
    /// Acks confirmed, over all sinks that share it.
    pub acked: Arc<AtomicU64>,
}

/// What a run left behind that no node answered for.
#[derive(Debug, Default)]
pub struct Left {
    /// Messages whose ack was not confirmed.
    pub acks: usize,
    /// What was fetched ahead did not go back in time.
    pub fetched: bool,
}

impl Left {
    /// Takes in what another sink left.
    pub fn add(&mut self, other: &Self) {
        self.acks += other.acks;
        self.fetched |= other.fetched;
    }
}

/// Acks that were sent.
#[derive(Default)]
struct Acks {
    /// With the ids of their messages, the oldest first.
    unanswered: VecDeque<(String, Settled)>,
    /// Messages whose ack found no node that could do it.
    open: BTreeSet<String>,
}

impl Acks {
    /// Waits for the answer to the oldest; `None` when there is none. It stays where it is when
    /// this is cancelled.
    async fn next(&mut self) -> Option<(String, Result<(), SettleError>)> {
        let (_, settled) = self.unanswered.front_mut()?;
        let answer = settled.await;
        let (id, _) = self.unanswered.pop_front()?;
        Some((id, answer))
    }
}

impl Sink {
    /// Receives until `idle` has passed without a message, or it is told to `stop`; fetches no more
    /// then, and waits for the answers to what it acked, but not for ever.
    ///
    /// # Errors
    /// When the server refuses to deliver.
    pub async fn run(
        self,
        idle: Duration,
        stop: impl Future<Output = ()>,
    ) -> Result<Left, ReceiveError> {
        let mut stop = std::pin::pin!(stop);
        let mut acks = Acks::default();
        let mut over = Instant::now() + idle;
        loop {
            let room = acks.unanswered.len() < UNANSWERED;
            tokio::select! {
                biased;
                Some((id, answer)) = acks.next() => self.enter(&mut acks, id, answer),
                next = self.consumer.next(), if room => {
                    let Some(delivery) = next? else { break };
                    acks.unanswered.push_back(self.take(delivery).await);
                    over = Instant::now() + idle;
                }
                () = sleep_until(over.into()) => break,
                () = &mut stop => break,
            }
        }
        self.consumer.stop();
        let end = Instant::now() + PATIENCE;
        while let Ok(Some((id, answer))) = timeout_at(end.into(), acks.next()).await {
            self.enter(&mut acks, id, answer);
        }
        for (id, _) in std::mem::take(&mut acks.unanswered) {
            self.enter(&mut acks, id, Err(SettleError::Closed));
        }
        let rest = end.saturating_duration_since(Instant::now());
        let closed = self.consumer.close(rest.max(GIVE_BACK)).await;
        Ok(Left {
            acks: acks.open.len(),
            fetched: !closed,
        })
    }

    async fn take(&self, delivery: Delivery) -> (String, Settled) {
        let id = delivery.id.clone();
        let name = delivery
            .attribute(ATTRIBUTE)
            .and_then(|name| name.parse().ok());
        let name = name.unwrap_or_else(|| Name {
            producer: "?".into(),
            number: 0,
        });
        let key = delivery.ordering_key.clone();
        if self.graveyard {
            self.journal.enter(Record::Buried { id: id.clone() });
        } else {
            self.journal.enter(Record::Received {
                name,
                id: id.clone(),
                key,
                at_us: clock_us(),
            });
        }
        if !self.work.is_zero() {
            sleep(self.work).await;
        }
        (id, delivery.ack())
    }

    /// Writes down what became of an ack.
    fn enter(&self, acks: &mut Acks, id: String, answer: Result<(), SettleError>) {
        let record = match answer {
            Ok(()) => {
                self.acked.fetch_add(1, Ordering::Relaxed);
                acks.open.remove(&id);
                Record::Acked { id }
            }
            Err(error) => {
                if is_open(&error) {
                    acks.open.insert(id.clone());
                }
                Record::AckUnknown { id }
            }
        };
        if !self.graveyard {
            self.journal.enter(record);
        }
    }
}

/// Nobody could do it. With a stale receipt the message goes to somebody again, who then acks it.
fn is_open(error: &SettleError) -> bool {
    match error {
        SettleError::Stale(fault) | SettleError::Unknown(fault) | SettleError::Refused(fault) => {
            fault.retryable
        }
        SettleError::Closed => true,
    }
}
