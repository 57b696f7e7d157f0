//! One producer of a benchmark.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use roadstead_client::{Message, Producer, SendError, Sending};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep_until, timeout_at};

use super::Window;
use super::report::{histogram, record};
use super::stamp::Stamps;

/// Messages that are due and not yet handed over, at most.
const CLOCK: usize = 1_024;

/// What one producer sends.
#[derive(Debug, Clone)]
pub struct Load {
    pub size: usize,
    pub batch: usize,
    /// Between two messages at a fixed rate; `None`: closed loop.
    pub interval: Option<Duration>,
    /// Closed loop over the whole way, for all producers: one for each message that may be sent.
    pub slots: Option<Arc<Semaphore>>,
}

/// What one producer measured inside the window.
#[derive(Debug)]
pub struct Produced {
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// From when a message was due to its acknowledgement, in microseconds.
    pub latency: Histogram<u64>,
    pub failed: u64,
    pub first_error: Option<SendError>,
}

impl Default for Produced {
    fn default() -> Self {
        Self {
            acknowledged: 0,
            latency: histogram(),
            failed: 0,
            first_error: None,
        }
    }
}

/// Sends until the window ends, to one queue after the other.
pub async fn run(
    lanes: Vec<Producer>,
    load: Load,
    stamps: Arc<Stamps>,
    window: Window,
) -> Produced {
    let source = Source {
        filler: (0..load.size).map(|_| rand::random()).collect(),
        lanes: lanes.into(),
        load,
        stamps,
        window,
    };
    sleep_until(window.start.into()).await;
    match (source.load.interval, source.load.slots.clone()) {
        (Some(interval), _) => source.fixed_rate(interval).await,
        (None, Some(slots)) => source.whole_way(slots).await,
        (None, None) => source.closed_loop().await,
    }
}

struct Source {
    lanes: VecDeque<Producer>,
    load: Load,
    stamps: Arc<Stamps>,
    filler: Vec<u8>,
    window: Window,
}

impl Source {
    async fn send(&mut self, due: Instant) -> Sending {
        let body = self.stamps.body(self.load.size, due, &self.filler);
        self.lanes.rotate_left(1);
        self.lanes[0].enqueue(Message::new(body)).await
    }

    /// Keeps so many unanswered: the next one goes when the oldest is answered.
    async fn closed_loop(mut self) -> Produced {
        let mut produced = Produced::default();
        let mut unanswered: VecDeque<(Instant, Sending)> = VecDeque::new();
        while Instant::now() < self.window.until {
            while unanswered.len() < self.load.batch && Instant::now() < self.window.until {
                let due = Instant::now();
                unanswered.push_back((due, self.send(due).await));
            }
            if let Some((due, sending)) = unanswered.pop_front() {
                let answer = sending.await;
                produced.count(due, answer.err(), self.window);
            }
        }
        for (due, sending) in unanswered {
            let answer = sending.await;
            produced.count(due, answer.err(), self.window);
        }
        produced
    }

    /// Sends a message for each that was acked, and for each that could not be sent.
    async fn whole_way(mut self, slots: Arc<Semaphore>) -> Produced {
        let (sent, answers) = mpsc::unbounded_channel();
        let collector = tokio::spawn(collect(answers, self.window, Some(slots.clone())));
        let until = self.window.until;
        while let Ok(Ok(slot)) = timeout_at(until.into(), slots.acquire()).await {
            slot.forget();
            let due = Instant::now();
            if due >= until {
                break;
            }
            let sending = timeout_at(until.into(), self.send(due)).await;
            let Ok(sending) = sending else { break };
            if sent.send((due, sending)).is_err() {
                break;
            }
        }
        drop(sent);
        collector.await.unwrap_or_default()
    }

    /// Sends each message when it is due, however slow the answers are. Its latency counts from
    /// when it was due: a stall is felt by every message that it holds up. What was due and could
    /// not be sent within the window is not sent.
    async fn fixed_rate(mut self, interval: Duration) -> Produced {
        let (sent, answers) = mpsc::unbounded_channel();
        let window = self.window;
        let collector = tokio::spawn(collect(answers, window, None));
        let first = window.start + interval.mul_f64(rand::random());
        let (clock, mut dues) = mpsc::channel(CLOCK);
        tokio::task::spawn_blocking(move || strike(&clock, first, interval, window.until));
        while let Some(due) = dues.recv().await
            && Instant::now() < window.until
        {
            // Where too much is unanswered already, there is no room before the end.
            let sending = timeout_at(window.until.into(), self.send(due)).await;
            let Ok(sending) = sending else { break };
            if sent.send((due, sending)).is_err() {
                break;
            }
        }
        dues.close();
        drop(sent);
        collector.await.unwrap_or_default()
    }
}

/// Says when each message is due, from a thread of its own: the runtime's timers are late by up to
/// a millisecond, which would count as the cluster's. What became due meanwhile follows at once.
fn strike(clock: &mpsc::Sender<Instant>, first: Instant, interval: Duration, until: Instant) {
    let mut due = first;
    loop {
        let now = Instant::now();
        match decide(due, now, until) {
            Step::Stop => break,
            Step::Wait => std::thread::sleep(due - now),
            Step::Send => {
                if clock.blocking_send(due).is_err() {
                    break;
                }
                due += interval;
            }
        }
    }
}

/// What there is to do about the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Send,
    Wait,
    Stop,
}

/// At a fixed rate: by the real clock, however many messages are overdue.
fn decide(due: Instant, now: Instant, until: Instant) -> Step {
    if now >= until || due >= until {
        Step::Stop
    } else if now < due {
        Step::Wait
    } else {
        Step::Send
    }
}

async fn collect(
    mut answers: mpsc::UnboundedReceiver<(Instant, Sending)>,
    window: Window,
    slots: Option<Arc<Semaphore>>,
) -> Produced {
    let mut produced = Produced::default();
    while let Some((due, sending)) = answers.recv().await {
        let answer = sending.await;
        if let (Err(_), Some(slots)) = (&answer, &slots) {
            slots.add_permits(1);
        }
        produced.count(due, answer.err(), window);
    }
    produced
}

impl Produced {
    fn count(&mut self, due: Instant, error: Option<SendError>, window: Window) {
        let now = Instant::now();
        match error {
            Some(error) => {
                self.failed += 1;
                self.first_error.get_or_insert(error);
            }
            None if window.measures(now) => {
                self.acknowledged += 1;
                record(&mut self.latency, now - due);
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_keep_up_ends_in_time_nevertheless() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let until = at(1_000);
        assert_eq!(decide(at(10), at(5), until), Step::Wait);
        assert_eq!(decide(at(10), at(10), until), Step::Send);
        assert_eq!(decide(at(10), at(999), until), Step::Send);
        assert_eq!(decide(at(10), at(1_000), until), Step::Stop);
        assert_eq!(decide(at(10), at(5_000), until), Step::Stop);
        assert_eq!(decide(at(1_000), at(990), until), Step::Stop);
    }

    #[test]
    fn every_time_is_told_until_nobody_hears_it() {
        let (start, interval) = (Instant::now(), Duration::from_millis(2));
        let (clock, mut dues) = mpsc::channel(CLOCK);
        strike(&clock, start, interval, start + Duration::from_millis(21));
        let told: Vec<Instant> = std::iter::from_fn(|| dues.try_recv().ok()).collect();
        assert_eq!(told.first(), Some(&start));
        assert!(told.len() <= 11, "{told:?}");
        assert!(told.windows(2).all(|two| two[1] - two[0] == interval));
        drop(dues);
        strike(&clock, start, interval, start + Duration::from_hours(1));
    }
}
