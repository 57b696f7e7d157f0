//! Compares what was acknowledged with what arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::record::{Name, Record};

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Messages acknowledged to their producers.
    pub sent: u64,
    /// Sends that failed for certain.
    pub failed: u64,
    /// Sends that failed and may have been stored.
    pub maybe: u64,
    /// Messages whose ack was confirmed.
    pub acked: u64,
    /// Messages of which no ack was confirmed, and one may have been done.
    pub unanswered: u64,
    /// Ids of acknowledged messages that nobody received and that were not buried.
    pub lost: Vec<String>,
    /// Deliveries after the first, by message id; each needs an explanation.
    pub duplicates: BTreeMap<String, u64>,
    /// Messages that were stored under two ids: a retry was taken for a new message.
    pub doubled: Vec<Name>,
    /// Messages whose first delivery came before that of an older one of the same producer and
    /// key, with that key.
    pub reordered: Vec<(Name, String)>,
    /// Ids of messages that were received and not known to be acked or buried.
    pub unfinished: Vec<String>,
    /// Messages that arrived though no producer has sent them.
    pub unknown: Vec<Name>,
}

impl Findings {
    /// Nothing was lost, stored twice, out of order or from nowhere. Duplicates may be.
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty()
            && self.doubled.is_empty()
            && self.reordered.is_empty()
            && self.unknown.is_empty()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duplicates: u64 = self.duplicates.values().sum();
        let (sent, acked, lost) = (self.sent, self.acked, self.lost.len());
        write!(
            f,
            "sent={sent} acked={acked} lost={lost} duplicates={duplicates}"
        )?;
        let more = [
            ("failed", self.failed as usize),
            ("maybe", self.maybe as usize),
            ("unanswered", self.unanswered as usize),
            ("doubled", self.doubled.len()),
            ("reordered", self.reordered.len()),
            ("unfinished", self.unfinished.len()),
            ("unknown", self.unknown.len()),
        ];
        for (what, count) in more.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, " {what}={count}")?;
        }
        Ok(())
    }
}

/// Checks the records of all producers and consumers of a run. Those of one producer are in the
/// order in which they happened; the order of the others does not matter.
pub fn check<'a>(records: impl IntoIterator<Item = &'a Record>) -> Findings {
    let mut book = Book::default();
    for record in records {
        book.enter(record);
    }
    book.close()
}

#[derive(Debug, Default)]
struct Book<'a> {
    findings: Findings,
    sent: BTreeSet<&'a str>,
    names: BTreeSet<&'a Name>,
    received: BTreeMap<&'a str, u64>,
    ids: BTreeMap<&'a Name, BTreeSet<&'a str>>,
    finished: BTreeSet<&'a str>,
    unanswered: BTreeSet<&'a str>,
    confirmed: BTreeSet<&'a str>,
    /// By producer and key: when each message first arrived.
    arrivals: BTreeMap<(&'a str, &'a str), BTreeMap<u64, u64>>,
}

impl<'a> Book<'a> {
    fn enter(&mut self, record: &'a Record) {
        match record {
            Record::Sent { name, id, .. } => {
                self.findings.sent += 1;
                self.sent.insert(id);
                self.names.insert(name);
                self.ids.entry(name).or_default().insert(id);
            }
            Record::Failed { name, maybe } => {
                self.findings.maybe += u64::from(*maybe);
                self.findings.failed += u64::from(!*maybe);
                if *maybe {
                    self.names.insert(name);
                }
            }
            Record::Received {
                name,
                id,
                key,
                at_us,
            } => {
                *self.received.entry(id).or_default() += 1;
                self.ids.entry(name).or_default().insert(id);
                if !key.is_empty() {
                    let of = self
                        .arrivals
                        .entry((name.producer.as_str(), key))
                        .or_default();
                    let first = of.entry(name.number).or_insert(*at_us);
                    *first = (*first).min(*at_us);
                }
            }
            Record::Acked { id } => {
                self.confirmed.insert(id);
                self.finished.insert(id);
            }
            Record::AckUnknown { id } => {
                self.unanswered.insert(id);
                self.finished.insert(id);
            }
            Record::Buried { id } => {
                self.finished.insert(id);
            }
        }
    }

    fn close(self) -> Findings {
        let mut findings = self.findings;
        findings.acked = self.confirmed.len() as u64;
        findings.unanswered = self.unanswered.difference(&self.confirmed).count() as u64;
        let arrived = |id: &str| self.received.contains_key(id) || self.finished.contains(id);
        let lost = self.sent.iter().filter(|id| !arrived(id));
        findings.lost = lost.map(|id| (*id).to_owned()).collect();
        let again = self.received.iter().filter(|(_, times)| **times > 1);
        findings.duplicates = again
            .map(|(id, times)| ((*id).to_owned(), times - 1))
            .collect();
        let unfinished = self
            .received
            .keys()
            .filter(|id| !self.finished.contains(*id));
        findings.unfinished = unfinished.map(|id| (*id).to_owned()).collect();
        for (name, ids) in &self.ids {
            if ids.len() > 1 {
                findings.doubled.push((*name).clone());
            }
            if !self.names.contains(name) {
                findings.unknown.push((*name).clone());
            }
        }
        for ((producer, key), arrivals) in &self.arrivals {
            let mut latest = 0;
            for (&number, &at_us) in arrivals {
                if at_us < latest {
                    let name = Name {
                        producer: (*producer).to_owned(),
                        number,
                    };
                    findings.reordered.push((name, (*key).to_owned()));
                }
                latest = latest.max(at_us);
            }
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u64) -> Name {
        Name {
            producer: "p".into(),
            number,
        }
    }

    fn sent(number: u64) -> Record {
        Record::Sent {
            name: name(number),
            id: format!("id{number}"),
            key: "k".into(),
            at_us: number,
        }
    }

    fn received(number: u64, at_us: u64) -> Record {
        let id = format!("id{number}");
        Record::Received {
            name: name(number),
            id,
            key: "k".into(),
            at_us,
        }
    }

    fn acked(number: u64) -> Record {
        Record::Acked {
            id: format!("id{number}"),
        }
    }

    /// Three messages, each sent, received and acked, in order.
    fn good() -> Vec<Record> {
        (1..=3)
            .flat_map(|number| [sent(number), received(number, number), acked(number)])
            .collect()
    }

    #[test]
    fn a_good_run_is_clean() {
        let findings = check(&good());
        assert!(findings.is_clean(), "{findings:?}");
        assert_eq!(findings.to_string(), "sent=3 acked=3 lost=0 duplicates=0");
    }

    #[test]
    fn a_lost_message_is_found() {
        let mut records = good();
        records.retain(|record| *record != received(2, 2) && *record != acked(2));
        let findings = check(&records);
        assert_eq!(findings.lost, ["id2"]);
        assert!(!findings.is_clean());
        records.push(Record::Buried { id: "id2".into() });
        assert!(check(&records).is_clean(), "a dead letter is not lost");
    }

    #[test]
    fn a_second_delivery_is_counted() {
        let mut records = good();
        records.extend([received(2, 9), received(2, 10)]);
        let findings = check(&records);
        assert_eq!(findings.duplicates, BTreeMap::from([("id2".into(), 2)]));
        assert!(
            findings.is_clean(),
            "late duplicates are no disorder: {findings:?}"
        );
        assert!(findings.to_string().ends_with("duplicates=2"));
    }

    #[test]
    fn a_message_stored_twice_is_found() {
        let mut records = good();
        let id = "id9".to_owned();
        records.push(Record::Received {
            name: name(2),
            id,
            key: "k".into(),
            at_us: 9,
        });
        let findings = check(&records);
        assert_eq!(findings.doubled, [name(2)]);
        assert_eq!(findings.unfinished, ["id9"]);
        assert!(!findings.is_clean());
    }

    #[test]
    fn a_reordered_message_is_found() {
        let mut records = good();
        for record in &mut records {
            if *record == received(1, 1) {
                *record = received(1, 7);
            }
        }
        let findings = check(&records);
        let found: Vec<u64> = findings
            .reordered
            .iter()
            .map(|(name, _)| name.number)
            .collect();
        assert_eq!(found, [2, 3]);
        assert!(!findings.is_clean());
    }

    #[test]
    fn a_send_without_an_answer_may_arrive_or_not() {
        let mut records = good();
        records.push(Record::Failed {
            name: name(4),
            maybe: true,
        });
        records.push(Record::Failed {
            name: name(5),
            maybe: true,
        });
        records.push(Record::Failed {
            name: name(6),
            maybe: false,
        });
        records.extend([received(4, 4), acked(4)]);
        let findings = check(&records);
        assert!(findings.is_clean(), "{findings:?}");
        assert_eq!((findings.maybe, findings.failed), (2, 1));
        records.push(received(6, 6));
        assert_eq!(
            check(&records).unknown,
            [name(6)],
            "it was refused for certain and is there"
        );
    }

    #[test]
    fn an_ack_without_an_answer_is_no_ack() {
        let mut records = good();
        records.retain(|record| *record != acked(2));
        let id = "id2".to_owned();
        records.push(Record::AckUnknown { id });
        let findings = check(&records);
        assert_eq!((findings.acked, findings.unanswered), (2, 1));
        assert!(findings.to_string().contains("acked=2") && findings.is_clean());
        // Acked after all, when it was delivered again.
        records.push(acked(2));
        let findings = check(&records);
        assert_eq!((findings.acked, findings.unanswered), (3, 0));
    }
}
