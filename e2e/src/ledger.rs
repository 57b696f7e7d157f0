//! The ledgers of all pods of a run, read together.
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use roadstead_client::ledger::{Findings, Record, check, records_of};

use crate::gap::Acknowledged;
use crate::sends::Sends;

/// What the ledgers of a run say.
#[derive(Debug)]
pub struct Ledger {
    /// The comparison.
    pub findings: Findings,
    /// Messages that were acknowledged to producers and not acked by consumers.
    pub waiting: usize,
    /// Messages that were received and not acked.
    pub in_flight: usize,
    /// Producers to whom something was acknowledged.
    pub producers: usize,
    /// When messages were acknowledged.
    pub acknowledged: Acknowledged,
    /// What the programs said beside their ledgers.
    pub remarks: Vec<String>,
}

impl Ledger {
    /// Reads the output of pods.
    pub fn read(files: &[PathBuf]) -> Result<Self> {
        let mut texts = Vec::new();
        for file in files {
            texts.push(fs::read_to_string(file)?);
        }
        Ok(Self::of(texts.iter().map(String::as_str)))
    }

    fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut records = Vec::new();
        let mut remarks = Vec::new();
        let mut acknowledged = Acknowledged::default();
        for line in texts.flat_map(complete_lines) {
            match records_of(line) {
                Ok(found) => records.extend(found),
                Err(_) => remarks.push(line.to_owned()),
            }
        }
        for record in &records {
            if let Record::Sent { id, at_us, .. } = record {
                acknowledged.enter(id, *at_us);
            }
        }
        Self {
            findings: check(&records),
            waiting: waiting(&records),
            in_flight: in_flight(&records),
            producers: producers(&records),
            acknowledged,
            remarks,
        }
    }

    /// Fails unless `sent` messages were acknowledged and each of them arrived and was acked, none
    /// was stored twice, came out of order or from nowhere. Duplicates are for the caller to judge.
    pub fn nothing_lost(&self, sent: u64) -> Result<()> {
        let found = &self.findings;
        ensure!(found.is_clean(), "{found}\n{found:?}");
        ensure!(
            found.sent == sent,
            "{sent} messages were to be sent: {found}"
        );
        ensure!(
            self.waiting == 0,
            "{} messages were never acked: {found}",
            self.waiting
        );
        Ok(())
    }

    /// The ids of the messages that were delivered more than once.
    pub fn duplicates(&self) -> BTreeSet<String> {
        self.findings.duplicates.keys().cloned().collect()
    }

    /// How the sends went, in the words of the producers.
    pub fn sends(&self) -> Sends {
        Sends::of(self.remarks.iter().map(String::as_str))
    }

    /// One line.
    pub fn summary(&self) -> String {
        self.findings.to_string()
    }
}

/// The lines of a text but for a last one that is still being written.
fn complete_lines(text: &str) -> impl Iterator<Item = &str> {
    let end = text.rfind('\n').map_or(0, |at| at + 1);
    text[..end].lines()
}

/// Ids of the records that `chosen` names and that no consumer acked. An ack whose answer was lost
/// counts: the message is gone, or comes again and is acked then.
fn not_acked<'a>(records: &'a [Record], chosen: fn(&'a Record) -> Option<&'a String>) -> usize {
    let all: BTreeSet<_> = records.iter().filter_map(chosen).collect();
    let acked = records.iter().filter_map(|record| match record {
        Record::Acked { id } | Record::AckUnknown { id } => Some(id),
        _ => None,
    });
    all.difference(&acked.collect()).count()
}

fn producers(records: &[Record]) -> usize {
    let names = records.iter().filter_map(|record| match record {
        Record::Sent { name, .. } => Some(&name.producer),
        _ => None,
    });
    names.collect::<BTreeSet<_>>().len()
}

fn waiting(records: &[Record]) -> usize {
    not_acked(records, |record| match record {
        Record::Sent { id, .. } => Some(id),
        _ => None,
    })
}

fn in_flight(records: &[Record]) -> usize {
    not_acked(records, |record| match record {
        Record::Received { id, .. } => Some(id),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCER: &str = "sending to shop/orders
sent\tp/1\t7-0-1\t\t900\u{1e}sent\tp/2\t7-0-2\t\t950
sent\tp/3\t7-0";
    const CONSUMER: &str = "received\tp/1\t7-0-1\t\t1000
acked\t7-0-1
received\tp/1\t7-0-1\t\t1500
";

    #[test]
    fn reads_what_several_pods_wrote() {
        let ledger = Ledger::of([PRODUCER, CONSUMER].into_iter());
        assert_eq!(ledger.findings.sent, 2, "the half line does not count");
        assert_eq!(ledger.findings.lost, ["7-0-2"]);
        assert_eq!(ledger.duplicates(), ["7-0-1".to_owned()].into());
        assert_eq!((ledger.waiting, ledger.in_flight), (1, 0));
        assert_eq!(ledger.producers, 1);
        assert_eq!(ledger.remarks, ["sending to shop/orders"]);
        let first = ledger.acknowledged.first().unwrap();
        assert_eq!(first.as_microsecond(), 900);
    }

    #[test]
    fn a_lost_message_and_a_wrong_count_fail() {
        let lost = Ledger::of([PRODUCER, CONSUMER].into_iter());
        assert!(
            lost.nothing_lost(2)
                .unwrap_err()
                .to_string()
                .contains("lost=1")
        );
        let good = Ledger::of(["sent\tp/1\t7-0-1\t\t900\n", CONSUMER].into_iter());
        good.nothing_lost(1).unwrap();
        assert!(good.nothing_lost(2).is_err());
    }

    #[test]
    fn what_was_delivered_and_not_acked_is_not_done() {
        let received = CONSUMER.lines().next().unwrap().to_owned() + "\n";
        let sent = "sent\tp/1\t7-0-1\t\t900\n";
        let ledger = Ledger::of([sent, received.as_str()].into_iter());
        assert!(ledger.findings.is_clean());
        assert!(
            ledger
                .nothing_lost(1)
                .unwrap_err()
                .to_string()
                .contains("never acked")
        );
    }
}
