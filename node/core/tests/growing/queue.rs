//! A queue of several partitions in one shard, that checks what it delivers.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use roadstead_core::kv::MemoryKv;
use roadstead_core::shard::*;

use crate::carried::carried;

/// Of 2, 3, 5 and 8 partitions they belong to every one; some have three homes.
pub const KEYS: [&str; 14] = [
    "a", "b", "c", "e", "f", "g", "h", "i", "k", "m", "n", "p", "s", "t",
];
const GROWTH: [u32; 4] = [2, 3, 5, 8];
const QUEUE: u64 = 1;
/// Failed messages come from here.
const ELSEWHERE: PartitionId = PartitionId {
    queue: 2,
    partition: 0,
};

/// Who sent a message, for which partition, and its number; what failed elsewhere has no sender.
type Name = (u32, u32, u64);

pub struct Queue {
    kv: MemoryKv,
    pub machine: ShardMachine,
    log: Vec<Bytes>,
    now: u64,
    /// All numbers of partitions so far.
    pub counts: Vec<u32>,
    /// How many of them each partition knows.
    knows: BTreeMap<u32, usize>,
    /// Partitions that need not be asked, by the number of partitions.
    pub left: BTreeSet<(u32, u32)>,
    /// Of what is leased: the key and the receipt.
    leased: BTreeMap<Vec<u8>, Receipt>,
    delivered: BTreeSet<Name>,
    /// The last one of each sender and key.
    last: BTreeMap<(u32, u32, Vec<u8>), u64>,
    /// What was acknowledged of each key.
    acknowledged: BTreeMap<usize, Vec<Name>>,
    /// What was acknowledged of its key before a message was sent.
    before: BTreeMap<Name, Vec<Name>>,
    /// What failed elsewhere, by target, numbered from 1.
    failed: BTreeMap<u32, Vec<(u64, usize)>>,
    came: BTreeMap<u32, u64>,
    dead_letters: u64,
}

impl Queue {
    pub fn new() -> Self {
        let kv = MemoryKv::new();
        Self {
            machine: ShardMachine::open(&kv).expect("no rows"),
            kv,
            log: Vec::new(),
            now: 1_000_000,
            counts: vec![GROWTH[0]],
            knows: BTreeMap::new(),
            left: BTreeSet::new(),
            leased: BTreeMap::new(),
            delivered: BTreeSet::new(),
            last: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            before: BTreeMap::new(),
            failed: BTreeMap::new(),
            came: BTreeMap::new(),
            dead_letters: 0,
        }
    }

    pub fn apply(&mut self, op: &Op) -> Reply {
        let mut entry = EntryBuilder::new(self.now);
        entry.push(op);
        let entry = entry.finish();
        self.log.push(entry.clone());
        let index = self.log.len() as u64;
        let applied = self.machine.apply(&mut self.kv, index, &entry);
        applied.expect("it is whole").replies.remove(0)
    }

    pub fn partition_of(key: usize, partitions: u32) -> u32 {
        partition_of_key(key_hash(KEYS[key].as_bytes()), partitions)
    }

    pub fn grow(&mut self) {
        if let Some(next) = GROWTH.get(self.counts.len()) {
            self.counts.push(*next);
        }
    }

    pub fn config(&self, numbers: usize) -> PartitionConfig {
        PartitionConfig {
            revision: numbers as u64,
            ordering: Ordering::PerKey,
            ttl_ms: 0,
            lease_ms: 1 << 40,
            partitions: self.counts[numbers - 1],
            earlier: self.counts[..numbers - 1].to_vec(),
            ..PartitionConfig::default()
        }
    }

    /// A partition hears of so many numbers at least, if it is there then.
    pub fn learn(&mut self, partition: u32, numbers: usize) {
        if partition >= self.counts[numbers - 1] || self.known(partition) >= numbers {
            return;
        }
        let config = self.config(numbers);
        let partition = PartitionId {
            queue: QUEUE,
            partition,
        };
        self.apply(&Op::Configure(Configure { partition, config }));
        self.knows.insert(partition.partition, numbers);
    }

    /// A partition is there, if only as long as it has to be.
    pub fn make_sure(&mut self, partition: u32) {
        if self.known(partition) == 0 {
            self.learn(partition, self.least(partition));
        }
    }

    /// How many numbers there are at least where there is this partition.
    pub fn least(&self, partition: u32) -> usize {
        let there = |n: &usize| self.counts[n - 1] > partition;
        let mut numbers = 1..=self.counts.len();
        numbers.find(there).expect("it is there")
    }

    /// A message is sent for the first time.
    pub fn sends(&mut self, name: Name, key: usize) {
        let before = self.acknowledged.get(&key).cloned().unwrap_or_default();
        self.before.insert(name, before);
    }

    pub fn acknowledge(&mut self, name: Name, key: usize) {
        self.acknowledged.entry(key).or_default().push(name);
    }

    /// How many numbers a partition knows.
    pub fn known(&self, partition: u32) -> usize {
        self.knows.get(&partition).copied().unwrap_or(0)
    }

    pub fn id(partition: u32) -> PartitionId {
        PartitionId {
            queue: QUEUE,
            partition,
        }
    }

    /// A message fails elsewhere, where this number of a partition is known.
    pub fn dead_letter(&mut self, at: u32, key: usize) {
        let partitions = self.counts[at as usize % self.counts.len()];
        let target = Self::partition_of(key, partitions);
        self.dead_letters += 1;
        let all = self.failed.entry(target).or_default();
        all.push((self.dead_letters, key));
    }

    /// Carries the first message of one outbox.
    pub fn carry(&mut self, nth: usize) {
        let outboxes = self.machine.outboxes();
        if nth.is_multiple_of(2) {
            self.carry_from_elsewhere(nth);
        } else if let Some(at) = nth.checked_rem(outboxes.len()) {
            let Outbox { source, target, .. } = outboxes[at];
            let heads = self.machine.outbox_heads(&self.kv, source, target, 1);
            let head = heads.expect("rows can be read").remove(0);
            let message = carried(&head, Bytes::new(), self.body(head.payload));
            let through = self.accept(source, target.partition, (head.number, message));
            self.apply(&Op::OutboxDone(OutboxDone {
                source,
                target,
                through,
            }));
        }
    }

    fn carry_from_elsewhere(&mut self, nth: usize) {
        let targets: Vec<u32> = self.failed.keys().copied().collect();
        let Some(at) = (nth / 2).checked_rem(targets.len()) else {
            return;
        };
        let target = targets[at];
        let came = self.came.get(&target).copied().unwrap_or(0);
        let Some(&(number, key)) = self.failed[&target].get(came as usize) else {
            return;
        };
        let message = MovedMessage {
            id: MessageId {
                queue: 2,
                partition: 0,
                sequence: number,
            },
            enqueued_at: self.now,
            key: Some(key_hash(KEYS[key].as_bytes())),
            due: 0,
            ttl_ms: 0,
            priority: 0,
            tenant: None,
            header: Bytes::new(),
            body: body((u32::MAX, target, number), key),
        };
        let through = self.accept(ELSEWHERE, target, (came + 1, message));
        self.came.insert(target, through);
    }

    fn accept(
        &mut self,
        source: PartitionId,
        target: u32,
        (first, message): (u64, MovedMessage),
    ) -> u64 {
        self.make_sure(target);
        let op = Accept {
            source,
            target: Self::id(target),
            first,
            messages: vec![message],
        };
        match self.apply(&Op::Accept(op)) {
            Reply::Accepted { through, .. } => through,
            other => unreachable!("{other:?}"),
        }
    }

    fn body(&self, payload: PayloadRef) -> Bytes {
        let (begin, end) = (payload.offset, payload.offset + payload.len);
        let entry = &self.log[payload.index as usize - 1];
        let payload = entry.slice(begin as usize..end as usize);
        split_payload(&payload).expect("a payload").1
    }

    /// Receives a message, and checks that it may come now.
    pub fn receive(&mut self, partition: u32) {
        if self.known(partition) == 0 {
            return;
        }
        let op = Receive {
            partition: Self::id(partition),
            group: DEFAULT_GROUP,
            session: None,
            max: 1,
            lease_ms: None,
            at_most_once: false,
            key_slots: KeySlots::ALL,
        };
        let Reply::Received(received) = self.apply(&Op::Receive(op)) else {
            unreachable!("it can be received");
        };
        for message in &received.messages {
            let receipt = received.receipt(message).expect("it is leased");
            let body = self.body(message.payload);
            let text = std::str::from_utf8(&body).expect("a text");
            let parts: Vec<&str> = text.split('/').collect();
            let number = |at: usize| parts[at].parse::<u64>().expect("a number");
            let name = (number(0) as u32, number(1) as u32, number(2));
            let key = parts[3].as_bytes().to_vec();
            let leased = self.leased.insert(key.clone(), receipt);
            assert!(leased.is_none(), "two of {} are leased", parts[3]);
            assert!(self.delivered.insert(name), "{text} comes twice");
            let mut before = self.before.get(&name).into_iter().flatten();
            let missing = before.find(|it| !self.delivered.contains(it));
            assert_eq!(missing, None, "{text} overtakes it");
            let (sender, named, number) = name;
            let before = self.last.insert((sender, named, key), number);
            // What fails elsewhere is in order by its outbox alone.
            let in_order = before.is_none_or(|before| before < number);
            assert!(in_order || sender == u32::MAX, "{text} is late");
        }
    }

    pub fn ack(&mut self, nth: usize) {
        let keys: Vec<Vec<u8>> = self.leased.keys().cloned().collect();
        let Some(at) = nth.checked_rem(keys.len()) else {
            return;
        };
        let receipt = self.leased.remove(&keys[at]).expect("it is leased");
        let reply = self.apply(&Op::Settle(Settle {
            partition: receipt.partition,
            group: receipt.group,
            items: vec![Settlement::new(&receipt, Action::Ack)],
        }));
        assert_eq!(reply, Reply::Settled(vec![SettleOutcome::Done]));
    }

    pub fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.apply(&Op::Tick);
    }

    /// What was acknowledged and has not come.
    pub fn lost(&self) -> Option<Name> {
        let mut acknowledged = self.acknowledged.values().flatten();
        acknowledged
            .find(|it| !self.delivered.contains(it))
            .copied()
    }

    pub fn all_dead_letters_came(&self) -> bool {
        let of_elsewhere = |name: &&Name| name.0 == u32::MAX;
        self.delivered.iter().filter(of_elsewhere).count() as u64 == self.dead_letters
    }
}

/// What a message says.
pub fn body((sender, named, number): Name, key: usize) -> Bytes {
    format!("{sender}/{named}/{number}/{}", KEYS[key]).into()
}
