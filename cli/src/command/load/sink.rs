//! Receives and acks, and writes down what arrived.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use roadstead_client::ledger::{ATTRIBUTE, Name, Record};
use roadstead_client::{Consumer, Delivery, ReceiveError, Settled};
use tokio::time::{sleep, timeout};

use super::journal::{Journal, clock_us};

/// Acks that may be unanswered.
const UNANSWERED: usize = 500;

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

impl Sink {
    /// Receives until `idle` has passed without a message; stops fetching then, and settles what it
    /// has.
    ///
    /// # Errors
    /// When the server refuses to deliver.
    pub async fn run(self, idle: Duration) -> Result<(), ReceiveError> {
        let mut unanswered = VecDeque::new();
        let mut last = Instant::now();
        while last.elapsed() < idle {
            let wait = Duration::from_millis(100);
            match timeout(wait, self.consumer.next()).await {
                Ok(next) => {
                    let Some(delivery) = next? else { break };
                    last = Instant::now();
                    unanswered.push_back(self.take(delivery).await);
                }
                // A lull: acks are taken in, so that whoever watches sees them.
                Err(_) => self.settle_all(&mut unanswered, 0).await,
            }
            self.settle_all(&mut unanswered, UNANSWERED).await;
        }
        self.settle_all(&mut unanswered, 0).await;
        self.consumer.close(Duration::from_secs(10)).await;
        Ok(())
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

    async fn settle_all(&self, unanswered: &mut VecDeque<(String, Settled)>, leave: usize) {
        while unanswered.len() > leave
            && let Some((id, settled)) = unanswered.pop_front()
        {
            // A stale receipt: the message goes to somebody again, who then acks it.
            let record = match settled.await {
                Ok(()) => Record::Acked { id },
                Err(_) => Record::AckUnknown { id },
            };
            self.acked.fetch_add(
                u64::from(matches!(record, Record::Acked { .. })),
                Ordering::Relaxed,
            );
            if !self.graveyard {
                self.journal.enter(record);
            }
        }
    }
}
