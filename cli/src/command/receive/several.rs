//! Work on several messages at once, each handed on to somebody else.

use std::cell::Cell;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use roadstead_client::{Delivery, ReceivedMessage, Settled};
use serde_json::json;

use super::source::Source;
use crate::output::{Output, note};

/// Of failures that are alike one is told in this time.
const PACE: Duration = Duration::from_secs(1);

/// What became of the work on a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken, so it is acked.
    Taken {
        /// It had been taken before.
        before: bool,
    },
    /// It was not taken, so it is nacked.
    Refused {
        /// Not before this; `None`: as the queue's backoff says.
        delay: Option<Duration>,
        /// Status and reason.
        error: String,
    },
    /// It was time to stop: it is handed back uncounted.
    Stopped,
}

/// What is done with each message.
pub trait Work {
    /// Hands a message on. Being dropped it has not handed it on, as far as is known.
    ///
    /// # Errors
    /// When no message can be handed on: the run ends, and its messages go back.
    async fn work(&self, message: &ReceivedMessage) -> anyhow::Result<Verdict>;
}

/// How a run went.
#[derive(Debug, Default)]
pub struct Tally {
    delivered: u64,
    acked: u64,
    /// Of those acked: taken before.
    before: u64,
    nacked: u64,
    /// Settled without an answer, or too late.
    unsettled: u64,
    returned: u64,
}

enum End {
    Acked { before: bool },
    Nacked(String),
    Unsettled(String),
    Returned,
    Ended(anyhow::Error),
}

/// A delivery that is handed back uncounted when it is dropped unsettled.
struct InHand(Option<Delivery>);

impl InHand {
    fn settle(mut self, how: impl FnOnce(Delivery) -> Settled) -> Option<Settled> {
        self.0.take().map(how)
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        if let Some(delivery) = self.0.take() {
            // The consumer is closed next, which waits for the answer.
            drop(delivery.release());
        }
    }
}

/// Does the work on messages, at most so many at once, until there are enough or it is time to
/// stop; prints how it went.
///
/// # Errors
/// Says why no message could be handed on, or that not all were.
pub async fn run(
    source: &Source<'_>,
    concurrency: usize,
    work: &impl Work,
    output: &Output,
) -> anyhow::Result<()> {
    let mut tally = Tally::default();
    let ended = receive(source, concurrency, work, &mut tally).await;
    if ended.is_ok() && tally.delivered == 0 && !source.options.follow {
        source.explain_nothing().await?;
    }
    tally.print(output)?;
    ended?;
    let Tally {
        returned,
        delivered,
        ..
    } = tally;
    if returned > 0 {
        let fate = if source.at_most_once {
            "lost, as it was received at most once"
        } else {
            "handed back"
        };
        bail!("{returned} of {delivered} messages not done when it was time to stop: {fate}");
    }
    let failed = tally.nacked + tally.unsettled;
    if failed > 0 && !source.options.follow {
        bail!("{failed} of {delivered} messages failed");
    }
    Ok(())
}

async fn receive(
    source: &Source<'_>,
    concurrency: usize,
    work: &impl Work,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let at_work = Cell::new(0);
    let mut open = FuturesUnordered::new();
    let mut notes = Notes::default();
    let mut since = Instant::now();
    let (mut more, mut ended) = (true, Ok(()));
    while more || !open.is_empty() {
        let room = more && open.len() < concurrency;
        tokio::select! {
            biased;
            () = source.stop.once(), if more => more = false,
            () = source.over() => break,
            Some(end) = open.next() => match end {
                End::Ended(error) => {
                    ended = Err(error);
                    break;
                }
                end => {
                    // What it gave back may come again: the wait for it begins now.
                    since = Instant::now();
                    notes.say(tally.count(end));
                }
            },
            next = source.next(tally.delivered, since), if room => match next {
                Ok(Some(delivery)) => {
                    since = Instant::now();
                    tally.delivered += 1;
                    more = source.wants_more(tally.delivered);
                    open.push(handle(source, work, delivery, &at_work));
                }
                Ok(None) => more = false,
                Err(error) => (more, ended) = (false, Err(error)),
            },
        }
        if !more {
            source.consumer.stop();
        }
    }
    source.consumer.stop();
    tally.returned += at_work.get();
    tally.unsettled = tally.delivered - tally.acked - tally.nacked - tally.returned;
    ended
}

/// `at_work` counts those whose work has no end yet.
async fn handle(
    source: &Source<'_>,
    work: &impl Work,
    delivery: Delivery,
    at_work: &Cell<u64>,
) -> End {
    at_work.set(at_work.get() + 1);
    let message: Arc<ReceivedMessage> = delivery.message();
    let in_hand = InHand(Some(delivery));
    let verdict = match work.work(&message).await {
        Ok(verdict) => verdict,
        Err(error) => return End::Ended(error),
    };
    at_work.set(at_work.get() - 1);
    let id = &message.id;
    let (settled, end) = match verdict {
        Verdict::Stopped => return End::Returned,
        Verdict::Taken { before } => (in_hand.settle(Delivery::ack), End::Acked { before }),
        Verdict::Refused { delay, error } => {
            let said = format!("{id}: {error}; {}", source.fate());
            let nack = |delivery: Delivery| delivery.nack(delay, error);
            (in_hand.settle(nack), End::Nacked(said))
        }
    };
    let Some(settled) = settled else { return end };
    match (settled.await, end) {
        (Err(error), End::Acked { .. }) => {
            End::Unsettled(format!("{id}: it was taken, but not acked: {error}"))
        }
        (Err(error), End::Nacked(said)) => {
            End::Unsettled(format!("{said}; it was not nacked: {error}"))
        }
        (_, end) => end,
    }
}

impl Tally {
    /// What is to be said of it.
    fn count(&mut self, end: End) -> Option<String> {
        match end {
            End::Acked { before } => {
                self.acked += 1;
                self.before += u64::from(before);
                None
            }
            End::Nacked(said) => {
                self.nacked += 1;
                Some(said)
            }
            End::Unsettled(said) => Some(said),
            End::Returned => {
                self.returned += 1;
                None
            }
            End::Ended(_) => None,
        }
    }

    fn print(&self, output: &Output) -> anyhow::Result<()> {
        let value = json!({
            "delivered": self.delivered,
            "acked": self.acked,
            "duplicates": self.before,
            "nacked": self.nacked,
            "unsettled": self.unsettled,
            "handedBack": self.returned,
        });
        output.print(&value, || self.text())?;
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = format!("delivered {}: {} acked", self.delivered, self.acked);
        let parts = [
            (self.before, " (so many of them taken before: ", ")"),
            (self.nacked, ", ", " nacked"),
            (self.unsettled, ", ", " without an answer to ack or nack"),
            (self.returned, ", ", " handed back"),
        ];
        for (count, before, behind) in parts {
            if count > 0 {
                // Writing to a string cannot fail.
                let _ = write!(text, "{before}{count}{behind}");
            }
        }
        text
    }
}

/// Tells of failures, but not of each where there are many.
#[derive(Default)]
struct Notes {
    last: Option<Instant>,
    silent: u64,
}

impl Notes {
    fn say(&mut self, said: Option<String>) {
        let Some(said) = said else { return };
        if self.last.is_some_and(|last| last.elapsed() < PACE) {
            self.silent += 1;
            return;
        }
        match std::mem::take(&mut self.silent) {
            0 => note(&said),
            silent => note(&format!("{said} (and {silent} more before)")),
        }
        self.last = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_what_there_was() {
        let mut tally = Tally {
            delivered: 4,
            ..Tally::default()
        };
        assert_eq!(tally.count(End::Acked { before: false }), None);
        assert_eq!(tally.text(), "delivered 4: 1 acked");
        tally.count(End::Acked { before: true });
        assert!(tally.count(End::Nacked("why".into())).is_some());
        tally.returned = 1;
        let text =
            "delivered 4: 2 acked (so many of them taken before: 1), 1 nacked, 1 handed back";
        assert_eq!(tally.text(), text);
    }
}
