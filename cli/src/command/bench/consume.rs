//! One consumer of a benchmark.

use std::collections::VecDeque;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use roadstead_client::{Consumer, Delivery, ReceiveError, SettleError, Settled};
use tokio::sync::Semaphore;
use tokio::time::{sleep_until, timeout_at};

use super::Window;
use super::report::{histogram, record};
use super::stamp::Stamps;

/// Acks that may be unanswered.
const UNANSWERED: usize = 2_000;
/// How long to wait for messages that are still on their way when the window has ended.
const DRAIN: Duration = Duration::from_secs(2);
/// How long answers are waited for after that, whatever state the cluster is in.
const GRACE: Duration = Duration::from_secs(5);

/// What one consumer measured inside the window.
#[derive(Debug)]
pub struct Consumed {
    /// Messages received.
    pub received: u64,
    /// Acks that were confirmed.
    pub acked: u64,
    /// Deliveries after the first.
    pub redelivered: u64,
    /// Acks that were not done.
    pub unsettled: u64,
    pub first_error: Option<SettleError>,
    /// From when a message was due to its arrival, in microseconds.
    pub latency: Histogram<u64>,
}

/// Receives and acks until the window has ended and nothing more comes. Each ack that was done
/// gives a slot back.
pub async fn run(
    consumer: Consumer,
    stamps: Arc<Stamps>,
    window: Window,
    slots: Option<Arc<Semaphore>>,
) -> Result<Consumed, ReceiveError> {
    let mut consumed = Consumed {
        received: 0,
        acked: 0,
        redelivered: 0,
        unsettled: 0,
        first_error: None,
        latency: histogram(),
    };
    let settle = |consumed: &mut Consumed, outcome: Result<(), SettleError>| {
        if let (Ok(()), Some(slots)) = (&outcome, &slots) {
            slots.add_permits(1);
        }
        consumed.settled(outcome, window);
    };
    let mut unanswered: VecDeque<Settled> = VecDeque::new();
    let end = window.until + DRAIN;
    let mut over = pin!(sleep_until(end.into()));
    loop {
        tokio::select! {
            biased;
            () = &mut over => break,
            outcome = first(&mut unanswered), if !unanswered.is_empty() => {
                unanswered.pop_front();
                settle(&mut consumed, outcome);
            }
            next = consumer.next(), if unanswered.len() < UNANSWERED => {
                let Some(delivery) = next? else { break };
                consumed.take(&delivery, &stamps, window);
                unanswered.push_back(delivery.ack());
            }
        }
    }
    let end = end.max(Instant::now() + GRACE);
    for settled in unanswered {
        settle(&mut consumed, answer(settled, end).await);
    }
    consumer.close(GRACE).await;
    Ok(consumed)
}

/// What became of the ack that waits the longest; never, where none waits.
async fn first(unanswered: &mut VecDeque<Settled>) -> Result<(), SettleError> {
    match unanswered.front_mut() {
        Some(first) => first.await,
        None => pending().await,
    }
}

/// What became of an ack; closed when nobody has answered it by `end`.
async fn answer(settled: Settled, end: Instant) -> Result<(), SettleError> {
    let answered = timeout_at(end.into(), settled).await;
    answered.unwrap_or(Err(SettleError::Closed))
}

impl Consumed {
    fn take(&mut self, delivery: &Delivery, stamps: &Stamps, window: Window) {
        let now = Instant::now();
        if window.measures(now)
            && let Some(due) = stamps.read(&delivery.body)
        {
            self.received += 1;
            self.redelivered += u64::from(delivery.delivery_count > 1);
            record(&mut self.latency, now.saturating_duration_since(due));
        }
    }

    fn settled(&mut self, outcome: Result<(), SettleError>, window: Window) {
        match outcome {
            Ok(()) => self.acked += u64::from(window.measures(Instant::now())),
            Err(error) => {
                self.unsettled += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }
}
