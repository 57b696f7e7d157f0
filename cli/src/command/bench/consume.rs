//! One consumer of a benchmark.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use hdrhistogram::Histogram;
use roadstead_client::{Consumer, ReceiveError, SettleError, Settled};
use tokio::time::timeout_at;

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

/// Receives and acks until the window has ended and nothing more comes.
pub async fn run(
    consumer: Consumer,
    stamps: Arc<Stamps>,
    window: Window,
) -> Result<Consumed, ReceiveError> {
    let mut consumed = Consumed {
        received: 0,
        acked: 0,
        redelivered: 0,
        unsettled: 0,
        first_error: None,
        latency: histogram(),
    };
    let mut unanswered: VecDeque<Settled> = VecDeque::new();
    let end = window.until + DRAIN;
    while let Ok(next) = timeout_at(end.into(), consumer.next()).await {
        let Some(delivery) = next? else { break };
        let now = Instant::now();
        if window.measures(now)
            && let Some(due) = stamps.read(&delivery.body)
        {
            consumed.received += 1;
            consumed.redelivered += u64::from(delivery.delivery_count > 1);
            record(&mut consumed.latency, now.saturating_duration_since(due));
        }
        unanswered.push_back(delivery.ack());
        while let Some(first) = unanswered.front_mut()
            && let Some(outcome) = first.now_or_never()
        {
            unanswered.pop_front();
            consumed.settled(outcome, window);
        }
        if unanswered.len() > UNANSWERED
            && let Some(first) = unanswered.pop_front()
        {
            consumed.settled(answer(first, end).await, window);
        }
    }
    let end = end.max(Instant::now() + GRACE);
    for settled in unanswered {
        consumed.settled(answer(settled, end).await, window);
    }
    consumer.close(GRACE).await;
    Ok(consumed)
}

/// What became of an ack; closed when nobody has answered it by `end`.
async fn answer(settled: Settled, end: Instant) -> Result<(), SettleError> {
    let answered = timeout_at(end.into(), settled).await;
    answered.unwrap_or(Err(SettleError::Closed))
}

impl Consumed {
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
