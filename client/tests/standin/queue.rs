//! The queue behind the stand-in: in memory, one lock, no Raft.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use roadstead_client::proto::settlement::Action;
use roadstead_client::proto::{
    Deduplication, Delivery, EntryError, OutgoingMessage, SendResult, SettleResult, Settlement,
};

#[derive(Debug)]
struct Stored {
    message: OutgoingMessage,
    count: u32,
    ready_at: Instant,
    lease: Option<Lease>,
}

impl Stored {
    fn is_ready(&self, now: Instant) -> bool {
        let leased = self.lease.as_ref().is_some_and(|lease| lease.until > now);
        !leased && self.ready_at <= now
    }
}

#[derive(Debug)]
struct Lease {
    receipt: Bytes,
    session: String,
    until: Instant,
}

/// One queue; what tests look at is public.
#[derive(Debug)]
pub struct Queue {
    /// Another one for a queue of the same name.
    pub id: u64,
    /// Of the group that every stream is of; another one for a group of the same name.
    pub group_id: u32,
    pub partitions: u32,
    pub ordering: i32,
    pub deduplication: Option<Deduplication>,
    pub lease: Duration,
    stored: BTreeMap<(u32, u64), Stored>,
    next: BTreeMap<u32, u64>,
    known: BTreeMap<(String, u32, u64), u64>,
    next_receipt: u64,
    /// Ids acked, in order.
    pub acked: Vec<String>,
    /// Ids nacked by the application with the text given.
    pub nacked: Vec<(String, String)>,
    /// Ids given back unstarted.
    pub unstarted: Vec<String>,
    /// Ids rejected.
    pub rejected: Vec<String>,
    pub extended: u32,
    /// Messages refused as duplicates of accepted ones.
    pub duplicates: u32,
    /// Most messages ever leased to one session at once.
    pub most_leased: usize,
    /// Numbers of the receive streams that were opened.
    pub streams: Vec<u64>,
    /// What streams are told: for how long they are drained. They get what their credit covers.
    pub drained: Option<Duration>,
    /// Whether each stream that was opened said that it had been told so before.
    pub drained_before: Vec<bool>,
}

pub fn id(partition: u32, sequence: u64) -> String {
    format!("1-{partition}-{sequence}")
}

impl Queue {
    pub fn new(partitions: u32, lease: Duration) -> Self {
        Self {
            id: 1,
            group_id: 1,
            partitions,
            ordering: 0,
            deduplication: None,
            lease,
            stored: BTreeMap::new(),
            next: BTreeMap::new(),
            known: BTreeMap::new(),
            next_receipt: 1,
            acked: Vec::new(),
            nacked: Vec::new(),
            unstarted: Vec::new(),
            rejected: Vec::new(),
            extended: 0,
            duplicates: 0,
            most_leased: 0,
            streams: Vec::new(),
            drained: None,
            drained_before: Vec::new(),
        }
    }

    /// Messages that are not gone.
    pub fn live(&self) -> usize {
        self.stored.len()
    }

    /// Bodies of live messages of a partition, in order.
    pub fn bodies(&self, partition: u32) -> Vec<Bytes> {
        let of = self.stored.range((partition, 0)..=(partition, u64::MAX));
        of.map(|(_, stored)| stored.message.body.clone()).collect()
    }

    pub fn send(
        &mut self,
        producer: &str,
        partition: u32,
        number: u64,
        message: OutgoingMessage,
    ) -> SendResult {
        let next = self.next.entry(partition).or_insert(1);
        let known = (producer.to_owned(), partition, number);
        let (sequence, duplicate) = match self.known.get(&known) {
            Some(&sequence) if number > 0 => (sequence, true),
            _ => (*next, false),
        };
        if duplicate {
            self.duplicates += 1;
        } else {
            *next += 1;
            self.known.insert(known, sequence);
            let stored = Stored {
                message,
                count: 0,
                ready_at: Instant::now(),
                lease: None,
            };
            self.stored.insert((partition, sequence), stored);
        }
        SendResult {
            message_id: id(partition, sequence),
            partition,
            sequence,
            duplicate,
            error: None,
        }
    }

    /// Leases up to `most` messages of `partitions`.
    pub fn lease(
        &mut self,
        session: &str,
        partitions: &BTreeSet<u32>,
        most: u32,
        asked: Option<Duration>,
    ) -> Vec<Delivery> {
        let now = Instant::now();
        let length = asked.unwrap_or(self.lease);
        let mut out = Vec::new();
        for (&(partition, sequence), stored) in &mut self.stored {
            if out.len() >= most as usize {
                break;
            }
            if !stored.is_ready(now) || !partitions.contains(&partition) {
                continue;
            }
            let receipt = Bytes::from(format!("r{}", self.next_receipt));
            self.next_receipt += 1;
            stored.count += 1;
            let (session, until) = (session.to_owned(), now + length);
            stored.lease = Some(Lease {
                receipt: receipt.clone(),
                session,
                until,
            });
            out.push(delivery(partition, sequence, stored, receipt, length));
        }
        self.most_leased = self.most_leased.max(self.leased(session));
        out
    }

    /// Whether there is something to lease.
    pub fn is_ready(&self, partitions: &BTreeSet<u32>) -> bool {
        let now = Instant::now();
        let mut stored = self.stored.iter();
        stored
            .any(|((partition, _), stored)| partitions.contains(partition) && stored.is_ready(now))
    }

    /// Messages leased to a session now.
    pub fn leased(&self, session: &str) -> usize {
        let now = Instant::now();
        let leases = self
            .stored
            .values()
            .filter_map(|stored| stored.lease.as_ref());
        leases
            .filter(|lease| lease.session == session && lease.until > now)
            .count()
    }

    /// What is leased to a session and not among `held`, once more.
    pub fn again(
        &mut self,
        session: &str,
        partitions: &BTreeSet<u32>,
        held: &[Bytes],
    ) -> Vec<Delivery> {
        let now = Instant::now();
        let stored = self.stored.iter();
        let stored = stored.filter(|((partition, _), _)| partitions.contains(partition));
        let again = stored.filter_map(|(&(partition, sequence), stored)| {
            let lease = stored.lease.as_ref()?;
            let lacks = lease.session == session && !held.contains(&lease.receipt);
            let left = lease.until.checked_duration_since(now)?;
            lacks.then(|| delivery(partition, sequence, stored, lease.receipt.clone(), left))
        });
        again.collect()
    }

    pub fn settle(&mut self, settlement: &Settlement) -> SettleResult {
        let now = Instant::now();
        let found = self.stored.iter_mut().find(|(_, stored)| {
            let lease = stored.lease.as_ref();
            lease.is_some_and(|lease| lease.receipt == settlement.receipt && lease.until > now)
        });
        let Some((&place, stored)) = found else {
            let message = "the receipt is stale".to_owned();
            return SettleResult {
                error: Some(EntryError {
                    code: 5,
                    message,
                    retryable: false,
                }),
            };
        };
        let id = id(place.0, place.1);
        match settlement.action.as_ref() {
            Some(Action::Ack(_)) => {
                self.stored.remove(&place);
                self.acked.push(id);
            }
            Some(Action::Reject(_)) => {
                self.stored.remove(&place);
                self.rejected.push(id);
            }
            Some(Action::Nack(nack)) => {
                stored.lease = None;
                if nack.unstarted {
                    stored.count -= 1;
                    self.unstarted.push(id);
                } else {
                    let delay = nack.delay.and_then(|delay| Duration::try_from(delay).ok());
                    stored.ready_at = now + delay.unwrap_or_default();
                    self.nacked.push((id, nack.error.clone()));
                }
            }
            Some(Action::Extend(extend)) => {
                let length = extend
                    .lease
                    .and_then(|lease| Duration::try_from(lease).ok());
                if let Some(lease) = &mut stored.lease {
                    lease.until = now + length.unwrap_or_default();
                }
                self.extended += 1;
            }
            None => {}
        }
        SettleResult { error: None }
    }
}

fn delivery(
    partition: u32,
    sequence: u64,
    stored: &Stored,
    receipt: Bytes,
    left: Duration,
) -> Delivery {
    Delivery {
        message_id: id(partition, sequence),
        receipt,
        body: stored.message.body.clone(),
        attributes: stored.message.attributes.clone(),
        ordering_key: stored.message.ordering_key.clone(),
        partition,
        sequence,
        delivery_count: stored.count,
        lease_remaining_ms: left.as_millis() as u32,
        ..Delivery::default()
    }
}
