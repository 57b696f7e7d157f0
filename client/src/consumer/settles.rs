//! Settlements on their way: joined into batches, kept until they are answered. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use roadstead_proto::v1::settlement::Action;
use roadstead_proto::v1::{Nack, SettleBatch, SettleResult, Settlement};
use tokio::sync::oneshot;
use tonic::Code;

use crate::backoff::Backoff;
use crate::error::{Fault, SettleError};

const LINGER: Duration = Duration::from_millis(1);
const BATCH: usize = 256;
const FULL: usize = 64;
/// How long a settlement that is refused for now is tried again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whom to tell what became of a settlement.
#[derive(Debug)]
pub(crate) enum Asker {
    /// The application.
    Application(oneshot::Sender<Result<(), SettleError>>),
    /// The consumer itself, to keep a lease alive.
    Extension,
    /// The consumer itself, to give back what was not begun.
    Return,
}

/// One settlement.
#[derive(Debug)]
pub(crate) struct Settling {
    pub partition: u32,
    pub settlement: Settlement,
    pub since: Instant,
    pub asker: Asker,
    /// It was sent before and the answer was lost.
    pub retried: bool,
}

impl Settling {
    /// Whether it is more than an extension.
    pub fn ends_lease(&self) -> bool {
        !matches!(self.settlement.action, Some(Action::Extend(_)))
    }

    /// Gives back a delivery whose outputs were refused.
    pub fn refused(partition: u32, receipt: Bytes, error: String) -> Self {
        let nack = Nack {
            error,
            ..Nack::default()
        };
        Self {
            partition,
            settlement: Settlement {
                receipt,
                action: Some(Action::Nack(nack)),
            },
            since: Instant::now(),
            asker: Asker::Return,
            retried: false,
        }
    }
}

/// The settlements of one stream.
#[derive(Debug, Default)]
pub(crate) struct Settles {
    waiting: VecDeque<Settling>,
    unanswered: BTreeMap<u64, Vec<Settling>>,
    next: u64,
    /// Answers in a row that refused something for now, and when to try again.
    refusals: u32,
    not_before: Option<Instant>,
}

impl Settles {
    pub fn push(&mut self, settling: Settling) {
        self.waiting.push_back(settling);
    }

    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.unanswered.is_empty()
    }

    /// A batch to send now: at once when none is in flight, else when there is enough or it has
    /// waited long enough.
    pub fn next_batch(&mut self, now: Instant) -> Option<SettleBatch> {
        let first = self.waiting.front()?;
        let ripe =
            self.unanswered.is_empty() || self.waiting.len() >= FULL || now >= first.since + LINGER;
        if !ripe || self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        let count = self.waiting.len().min(BATCH);
        let batch: Vec<Settling> = self.waiting.drain(..count).collect();
        let settlements = batch.iter().map(|one| one.settlement.clone()).collect();
        self.next += 1;
        self.unanswered.insert(self.next, batch);
        Some(SettleBatch {
            batch_id: self.next,
            settlements,
        })
    }

    /// When a batch will be ripe, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Instant> {
        let ripe = self.waiting.front()?.since + LINGER;
        Some(self.not_before.map_or(ripe, |at| ripe.max(at)))
    }

    /// Takes in an answer: each settlement that is finished with what became of it. What was
    /// refused for now is sent again, for as long as [`PATIENCE`].
    pub fn answered(
        &mut self,
        batch_id: u64,
        results: Vec<SettleResult>,
        now: Instant,
    ) -> Vec<(Settling, Result<(), SettleError>)> {
        let batch = self.unanswered.remove(&batch_id).unwrap_or_default();
        let mut results = results.into_iter();
        let mut finished = Vec::with_capacity(batch.len());
        let mut refused = false;
        for mut settling in batch {
            let missing = || Fault::unreachable("the answer leaves this settlement out");
            let error = results
                .next()
                .map_or_else(|| Some(missing()), |result| result.error.map(Fault::from));
            match error {
                None => finished.push((settling, Ok(()))),
                Some(fault) if fault.retryable && now < settling.since + PATIENCE => {
                    refused = true;
                    // It may have been done nevertheless.
                    settling.retried = true;
                    self.waiting.push_back(settling);
                }
                Some(fault) => {
                    let error = reason(fault, settling.retried);
                    finished.push((settling, Err(error)));
                }
            }
        }
        self.refusals = if refused { self.refusals + 1 } else { 0 };
        self.not_before = refused.then(|| now + Backoff::SEND.wait(self.refusals));
        finished
    }

    /// Everything that is not answered, for another stream.
    pub fn abandon(&mut self) -> Vec<Settling> {
        let mut rest: Vec<Settling> = std::mem::take(&mut self.unanswered)
            .into_values()
            .flatten()
            .collect();
        for settling in &mut rest {
            settling.retried = true;
        }
        rest.extend(self.waiting.drain(..));
        rest
    }
}

fn reason(fault: Fault, retried: bool) -> SettleError {
    let fault = Box::new(fault);
    match (fault.code, retried) {
        (Code::NotFound, true) => SettleError::Unknown(fault),
        (Code::NotFound, false) => SettleError::Stale(fault),
        _ => SettleError::Refused(fault),
    }
}

#[cfg(test)]
mod tests {
    use roadstead_proto::v1::EntryError;

    use super::*;

    fn settling(now: Instant) -> Settling {
        Settling {
            partition: 0,
            settlement: Settlement::default(),
            since: now,
            asker: Asker::Extension,
            retried: false,
        }
    }

    #[test]
    fn the_first_goes_at_once_and_the_rest_waits_for_company() {
        let now = Instant::now();
        let mut settles = Settles::default();
        settles.push(settling(now));
        let first = settles.next_batch(now).unwrap();
        assert_eq!(first.settlements.len(), 1);
        settles.push(settling(now));
        settles.push(settling(now));
        assert!(settles.next_batch(now).is_none());
        assert_eq!(settles.next_deadline(), Some(now + LINGER));
        assert_eq!(
            settles.next_batch(now + LINGER).unwrap().settlements.len(),
            2
        );
        assert!(!settles.is_idle());
    }

    #[test]
    fn a_stale_receipt_after_a_lost_answer_is_not_called_stale() {
        let now = Instant::now();
        let gone = || SettleResult {
            error: Some(EntryError {
                code: Code::NotFound.into(),
                ..EntryError::default()
            }),
        };
        let mut settles = Settles::default();
        settles.push(settling(now));
        settles.push(settling(now));
        let id = settles.next_batch(now).unwrap().batch_id;
        let answers = settles.answered(id, vec![gone(), SettleResult::default()], now);
        assert!(matches!(answers[0].1, Err(SettleError::Stale(_))));
        assert!(answers[1].1.is_ok());

        settles.push(settling(now));
        settles.next_batch(now).unwrap();
        let mut other = Settles::default();
        settles
            .abandon()
            .into_iter()
            .for_each(|settling| other.push(settling));
        assert!(settles.is_idle());
        let id = other.next_batch(now).unwrap().batch_id;
        assert!(matches!(
            other.answered(id, vec![gone()], now)[0].1,
            Err(SettleError::Unknown(_))
        ));
    }

    #[test]
    fn what_is_refused_for_now_is_sent_again() {
        let now = Instant::now();
        let busy = || SettleResult {
            error: Some(EntryError {
                code: Code::Unavailable.into(),
                retryable: true,
                ..EntryError::default()
            }),
        };
        let mut settles = Settles::default();
        settles.push(settling(now));
        settles.push(settling(now));
        let id = settles.next_batch(now).unwrap().batch_id;
        let done = settles.answered(id, vec![busy(), SettleResult::default()], now);
        assert_eq!(done.len(), 1);
        assert!(settles.next_batch(now).is_none(), "back-off");
        let later = settles.next_deadline().unwrap();
        assert!(later > now + LINGER);
        let id = settles.next_batch(later).unwrap().batch_id;
        let late = settles.answered(id, vec![busy()], now + PATIENCE);
        assert!(matches!(late[0].1, Err(SettleError::Refused(_))));
        assert!(settles.is_idle());
    }
}
