//! A shard with queues that have names, driven by commands and answering in lines of text.

use std::collections::BTreeMap;

use bytes::Bytes;
use roadstead_core::kv::MemoryKv;
use roadstead_core::shard::*;

use super::command::Command;
use super::words::{MARKS, backoff, deduplication, message, numbers, parts, weights};

pub struct Shard {
    pub kv: MemoryKv,
    pub machine: ShardMachine,
    log: Vec<Bytes>,
    now: u64,
    queues: BTreeMap<String, u64>,
    /// Ids of the groups of queues.
    pub groups: BTreeMap<(String, String), u32>,
    pub last_group: u32,
    /// All receipts of each group, queue and message, in the order of delivery.
    pub receipts: BTreeMap<(String, String, String), Vec<Receipt>>,
    /// Where the walk through each queue goes on.
    pub walks: BTreeMap<String, BrowseFrom>,
}

/// Time of the first entry: a story tells ms since then.
pub const BEGIN: u64 = 1_000_000;

impl Shard {
    pub fn new() -> Self {
        let kv = MemoryKv::new();
        let machine = ShardMachine::open(&kv).expect("no rows are an empty shard");
        let (log, now) = (Vec::new(), BEGIN);
        Self {
            kv,
            machine,
            log,
            now,
            queues: BTreeMap::new(),
            groups: BTreeMap::new(),
            last_group: 0,
            receipts: BTreeMap::new(),
            walks: BTreeMap::new(),
        }
    }

    /// Carries out a command and tells what came of it.
    pub fn run(&mut self, command: &Command) -> Vec<String> {
        let partition = self.partition(&command.queue);
        match command.verb.as_str() {
            "queue" => self.queue(command),
            "send" => self.send(command),
            "receive" => self.receive(command),
            "ack" | "nack" | "return" | "reject" | "extend" => self.settle(command),
            "complete" => self.complete(command),
            "release" => {
                let session = SessionId(u128::from(command.number("session", 1)));
                self.told(&Op::ReleaseSession(ReleaseSession { partition, session }))
            }
            "pass" => {
                self.now += command.queue.parse::<u64>().expect("pass MS");
                self.told(&Op::Tick)
            }
            "shuttle" => self.shuttle(command),
            "purge" => self.told(&Op::Purge(Purge {
                partition,
                from: None,
            })),
            "digest" => self.digest(command),
            "seek" => self.seek(command),
            "peek" => self.peek(command),
            "browse" => self.browse(command),
            "redrive" => self.redrive(command),
            "delete" => self.delete(command),
            "stats" => self.stats(command),
            "restart" => {
                self.machine = ShardMachine::open(&self.kv).expect("its own rows can be read");
                Vec::new()
            }
            other => vec![format!("unknown command {other}")],
        }
    }

    /// The first partition of a queue, or `QUEUE/PARTITION`.
    pub fn partition(&self, name: &str) -> PartitionId {
        let (name, partition) = parts(name);
        PartitionId {
            queue: self.queues.get(name).copied().unwrap_or(0),
            partition,
        }
    }

    /// What a partition is called.
    pub fn called(&self, PartitionId { queue, partition }: PartitionId) -> String {
        match partition {
            0 => self.name(queue).to_owned(),
            more => format!("{}/{more}", self.name(queue)),
        }
    }

    pub fn name(&self, queue: u64) -> &str {
        let found = self.queues.iter().find(|(_, id)| **id == queue);
        found.map_or("?", |(name, _)| name.as_str())
    }

    pub fn apply(&mut self, op: &Op) -> (Reply, Vec<Event>) {
        let mut entry = EntryBuilder::new(self.now);
        entry.push(op);
        let entry = entry.finish();
        self.log.push(entry.clone());
        let index = self.log.len() as u64;
        let applied = self
            .machine
            .apply(&mut self.kv, index, &entry)
            .expect("it is whole");
        (applied.replies[0].clone(), applied.events)
    }

    pub fn body(&self, payload: PayloadRef) -> String {
        let (begin, end) = (payload.offset, payload.offset + payload.len);
        let entry = &self.log[payload.index as usize - 1];
        let body = split_payload(&entry.slice(begin as usize..end as usize))
            .expect("a payload")
            .1;
        String::from_utf8_lossy(&body).into_owned()
    }

    /// Applies an op and tells reply and events.
    pub fn told(&mut self, op: &Op) -> Vec<String> {
        let (reply, events) = self.apply(op);
        let mut out = match reply {
            Reply::Refused(why) => vec![format!("refused: {why}")],
            Reply::Released { messages, .. } => vec![format!("released {messages}")],
            Reply::Purged { messages, .. } => vec![format!("purged {messages}")],
            Reply::Redriven(outcomes) => outcomes.iter().map(|one| format!("{one:?}")).collect(),
            Reply::Deleted(outcome) => vec![format!("{outcome:?}")],
            Reply::Sought { messages, .. } => vec![format!("{messages} wait")],
            _ => Vec::new(),
        };
        out.extend(events.iter().map(|event| self.event(event)));
        out
    }

    pub fn event(&self, event: &Event) -> String {
        let what = match event.kind {
            EventKind::LeaseExpired(n) => format!("lease expired, delivery {n}"),
            EventKind::SessionReleased(_) => "released with its session".into(),
            EventKind::Nacked(n) => format!("nacked, delivery {n}"),
            EventKind::DeadLettered(why, to) => {
                format!("dead-lettered to {}: {why:?}", self.name(to.queue))
            }
            EventKind::Dropped(why) => format!("dropped: {why:?}"),
            EventKind::Expired => "expired".into(),
            EventKind::Redriven(to) => format!("on its way to {}", self.name(to.queue)),
            EventKind::BreakerOpened { until } => format!("breaker open until {}", until - BEGIN),
            EventKind::BreakerClosed => "breaker closed".into(),
        };
        let named = self.groups.iter().find(|(_, id)| **id == event.group);
        format!(
            "{} {}: {what}{}",
            self.name(event.partition.queue),
            event.message.sequence,
            named.map_or(String::new(), |((_, name), _)| format!(", for {name}"))
        )
    }

    fn queue(&mut self, command: &Command) -> Vec<String> {
        let next = self.queues.len() as u64 + 1;
        let (name, partition) = parts(&command.queue);
        let queue = *self.queues.entry(name.to_owned()).or_insert(next);
        let partition = PartitionId { queue, partition };
        let revision = self
            .machine
            .config(partition)
            .map_or(1, |config| config.revision + 1);
        let config = PartitionConfig {
            revision,
            ordering: match command.text("order", "None") {
                "PerKey" => Ordering::PerKey,
                "Strict" => Ordering::Strict,
                _ => Ordering::None,
            },
            delivery: match command.text("delivery", "") {
                "AtMostOnce" => Delivery::AtMostOnce,
                _ => Delivery::AtLeastOnce,
            },
            lease_ms: command.number("lease", 100),
            ttl_ms: command.number("ttl", 0),
            on_expiry: match command.text("on-expiry", "") {
                "DeadLetter" => OnExpiry::DeadLetter,
                _ => OnExpiry::Drop,
            },
            max_deliveries: command.number("max-deliveries", 3) as u32,
            backoff: command.option("backoff").map(backoff),
            dead_letter: command.option("dead-letter").map(|name| DeadLetterTarget {
                queue: self.queues.get(name).copied().unwrap_or(99),
                partitions: 1,
            }),
            max_messages: command.number("max-messages", 0),
            max_bytes: command.number("max-bytes", 0),
            max_message_bytes: 0,
            max_in_flight: command.number("max-in-flight", 0) as u32,
            overflow: match command.text("overflow", "") {
                "DropOldest" => Overflow::DropOldest,
                "DeadLetterOldest" => Overflow::DeadLetterOldest,
                _ => Overflow::Reject,
            },
            deduplication: command
                .option("deduplicate")
                .map(|by| deduplication(by, command)),
            groups: self.groups_of(command),
            retain_ms: command.number("retain", 0),
            aging_ms: command.number("aging", 60_000),
            weights: weights(command.text("weights", "")),
            rate: command.number("rate", 0),
            sticky_keys: command.option("sticky").is_some(),
            partitions: command.number("partitions", 0) as u32,
            earlier: numbers(command.text("earlier", "")),
        };
        self.told(&Op::Configure(Configure { partition, config }))
    }

    fn send(&mut self, command: &Command) -> Vec<String> {
        let producer = command.option("producer").map(|text| {
            let (id, first) = text.split_once(':').expect("producer=ID:FIRST");
            let first = first.parse().expect("a number");
            ProducerRef {
                id: Bytes::from(id.to_owned()),
                first,
            }
        });
        let messages = command.words.iter().map(|word| message(word)).collect();
        let partition = self.partition(&command.queue);
        let (reply, _) = self.apply(&Op::Send(Send {
            partition,
            producer,
            atomic: command.option("atomic").is_some(),
            messages,
        }));
        let outcomes = match reply {
            Reply::Sent(outcomes) => outcomes,
            Reply::Refused(why) => return vec![format!("refused: {why}")],
            other => return vec![format!("{other:?}")],
        };
        let told = |(word, outcome): (&String, SendOutcome)| {
            let body = word.split(MARKS).next().unwrap_or_default();
            match outcome {
                SendOutcome::Accepted { sequence } => format!("{body} is {sequence}"),
                SendOutcome::Duplicate { sequence } => format!("{body} was {sequence} already"),
                SendOutcome::Moved => format!("{body} has moved"),
                SendOutcome::Refused(why) => format!("{body} refused: {why}"),
            }
        };
        command.words.iter().zip(outcomes).map(told).collect()
    }

    /// Hashes all rows, so many at a time.
    fn digest(&mut self, command: &Command) -> Vec<String> {
        let rows = command.number("rows", 1_000) as u32;
        let (mut from, mut told) = (Bytes::new(), Vec::new());
        loop {
            let op = Digest {
                rows,
                ..Digest::largest(from)
            };
            let Reply::Digested(piece) = self.apply(&Op::Digest(op)).0 else {
                unreachable!("a digest")
            };
            let (rows, hash) = (piece.rows, piece.hash);
            told.push(format!("{rows} rows, {hash:016x}"));
            let Some(next) = piece.next else { return told };
            from = next;
        }
    }

    fn stats(&self, command: &Command) -> Vec<String> {
        let partition = self.partition(&command.queue);
        let stats = self.machine.stats(&self.kv, partition, self.group(command));
        let s = stats
            .expect("rows can be read")
            .expect("there is such a queue");
        vec![format!(
            "ready {}, in flight {}, delayed {}, blocked {}, outbox {}{}{}{}{}{}",
            s.ready,
            s.in_flight,
            s.delayed,
            s.blocked,
            s.outbox,
            match s.ids {
                0 => String::new(),
                ids => format!(", ids {ids}"),
            },
            match (self.groups.is_empty(), s.retained) {
                (true, 0) => String::new(),
                (_, retained) => format!(", in all {} live, {retained} retained", s.messages),
            },
            match s.breaker {
                BreakerState::Closed => String::new(),
                BreakerState::Open { until } => format!(", open until {}", until - BEGIN),
                BreakerState::HalfOpen => ", half-open".into(),
            },
            match s.rate {
                Some(rate) if rate.next_at > self.now => {
                    format!(", slowed until {}", rate.next_at - BEGIN)
                }
                _ => String::new(),
            },
            match command
                .option("left")
                .map(|_| self.machine.left_among(partition))
            {
                None => String::new(),
                Some(0) => ", not left".into(),
                Some(among) => format!(", left among {among}"),
            }
        )]
    }
}
