//! Which partitions are asked for the messages of a send, in turn. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use roadstead_core::shard::{PartitionConfig, key_hash};
use roadstead_proto::v1::{OutgoingMessage, Producer, SendResult, ShardPlaced, ShardSend};
use xxhash_rust::xxh3::xxh3_128;

use crate::gateway::ApiError;
use crate::shard::refusal::entry_error;

/// The messages of a send, each with the partitions that are still to be asked.
pub(super) struct Plan {
    /// All but the messages.
    call: ShardSend,
    items: Vec<Item>,
}

struct Item {
    message: OutgoingMessage,
    /// Its producer's number, counted from the first one.
    number: u32,
    homes: Vec<u32>,
    /// Places in `homes` that are still to be asked; empty: it is decided.
    to_ask: VecDeque<usize>,
    result: SendResult,
    /// The last home that is known has not taken it.
    nowhere: bool,
}

/// What one partition is asked for, and the places of the messages in the send.
pub(super) struct Part {
    pub members: Vec<usize>,
    pub send: ShardSend,
}

impl Item {
    /// The home that is asked next, behind those before it.
    fn way(&self) -> Option<&[u32]> {
        self.to_ask.front().map(|at| &self.homes[..=*at])
    }
}

impl Plan {
    /// Leaves out partitions of `left`, unless they are the last home of a key.
    pub fn new(config: &PartitionConfig, mut call: ShardSend, left: &BTreeSet<u32>) -> Self {
        let messages = std::mem::take(&mut call.messages);
        let left_out = &call.left_out;
        let numbers = (0..).filter(|number| left_out.binary_search(number).is_err());
        let item = |(number, message): (u32, OutgoingMessage)| {
            let homes = homes(config, &message, call.partition);
            let last = homes.len() - 1;
            let to_ask = (0..=last).filter(|at| *at == last || !left.contains(&homes[*at]));
            Item {
                to_ask: to_ask.collect(),
                homes,
                message,
                number,
                result: SendResult::default(),
                nowhere: false,
            }
        };
        Self {
            items: numbers.zip(messages).map(item).collect(),
            call,
        }
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// What is asked next, at once; nothing: all is decided. Messages of one key are in one part.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = BTreeMap::<&[u32], Vec<usize>>::new();
        for (place, item) in self.items.iter().enumerate() {
            if let Some(way) = item.way() {
                parts.entry(way).or_default().push(place);
            }
        }
        let part = |(way, members): (&[u32], Vec<usize>)| Part {
            send: self.send_to(way, &members),
            members,
        };
        parts.into_iter().map(part).collect()
    }

    fn send_to(&self, way: &[u32], members: &[usize]) -> ShardSend {
        let items = members.iter().map(|at| &self.items[*at]);
        let numbers: BTreeSet<u32> = items.clone().map(|item| item.number).collect();
        let end = numbers.last().copied().unwrap_or(0);
        let (named, producer) = (self.call.partition, self.call.producer.as_ref());
        ShardSend {
            partition: way.last().copied().unwrap_or(named),
            messages: items.map(|item| item.message.clone()).collect(),
            left_out: (0..end).filter(|it| !numbers.contains(it)).collect(),
            producer: producer.map(|producer| numbering(producer, named, way)),
            ..self.call.clone()
        }
    }

    /// A partition has answered: what has moved goes on.
    pub fn take(&mut self, members: &[usize], placed: ShardPlaced) {
        for (n, (at, result)) in members.iter().zip(placed.results).enumerate() {
            let item = &mut self.items[*at];
            item.to_ask.pop_front();
            item.result = result;
            if placed.moved.binary_search(&(n as u32)).is_err() {
                item.to_ask.clear();
            } else {
                item.nowhere = item.to_ask.is_empty();
            }
        }
    }

    /// A partition has not answered, or could not.
    pub fn fail(&mut self, members: &[usize], error: &ApiError) {
        for at in members {
            let item = &mut self.items[*at];
            let partition = item.way().and_then(<[u32]>::last).copied();
            item.to_ask.clear();
            item.result = SendResult {
                partition: partition.unwrap_or(self.call.partition),
                error: Some(entry_error(error)),
                ..SendResult::default()
            };
        }
    }

    /// One for each message, and the places of those that no home has taken.
    pub fn results(self) -> (Vec<SendResult>, Vec<u32>) {
        let places = (0..).zip(&self.items);
        let nowhere = places.filter(|(_, item)| item.nowhere);
        let nowhere = nowhere.map(|(place, _)| place).collect();
        let results = self.items.into_iter().map(|item| item.result);
        (results.collect(), nowhere)
    }
}

/// The homes of a message's key; where the partition that is named is none, the sender has chosen
/// it.
fn homes(config: &PartitionConfig, message: &OutgoingMessage, named: u32) -> Vec<u32> {
    let homes = config.homes(key_hash(message.ordering_key.as_bytes()));
    if homes.contains(&named) {
        homes
    } else {
        vec![named]
    }
}

/// A producer among the messages that come to a partition the same way. Their numbers rise, as they
/// are asked for together; those of others may come earlier or later.
fn numbering(producer: &Producer, named: u32, way: &[u32]) -> Producer {
    if way == [named] {
        return producer.clone();
    }
    let mut bytes = producer.id.clone().into_bytes();
    for number in std::iter::once(&named).chain(way) {
        bytes.extend(number.to_le_bytes());
    }
    Producer {
        // No producer that a person names begins so.
        id: format!("\u{1}{:032x}", xxh3_128(&bytes)),
        ..producer.clone()
    }
}

#[cfg(test)]
mod tests {
    use roadstead_core::shard::Ordering;

    use super::*;

    fn config(earlier: &[u32], partitions: u32) -> PartitionConfig {
        PartitionConfig {
            ordering: Ordering::PerKey,
            partitions,
            earlier: earlier.to_vec(),
            ..PartitionConfig::default()
        }
    }

    /// A key that belongs to these partitions, by numbers of partitions.
    fn key(belongs: &[(u32, u32)]) -> String {
        let fits = |key: &String| {
            let partition = |count| roadstead_proto::partition_of_key(key, count);
            belongs.iter().all(|(count, at)| partition(*count) == *at)
        };
        let mut keys = (0..).map(|n| format!("k{n}"));
        keys.find(fits).expect("one of many")
    }

    fn call(partition: u32, keys: &[&str]) -> ShardSend {
        let message = |key: &&str| OutgoingMessage {
            ordering_key: (*key).to_owned(),
            ..OutgoingMessage::default()
        };
        ShardSend {
            partition,
            messages: keys.iter().map(message).collect(),
            producer: Some(Producer {
                id: "p".into(),
                first_sequence: 10,
            }),
            ..ShardSend::default()
        }
    }

    /// Of each part: the partition, the places, the numbers left out, and whether the producer
    /// goes by its own name.
    fn told(plan: &Plan) -> Vec<(u32, Vec<usize>, Vec<u32>, bool)> {
        let one = |part: Part| {
            let own = part.send.producer.is_some_and(|it| it.id == "p");
            (part.send.partition, part.members, part.send.left_out, own)
        };
        plan.parts().into_iter().map(one).collect()
    }

    fn placed(count: usize, moved: &[u32]) -> ShardPlaced {
        ShardPlaced {
            results: vec![SendResult::default(); count],
            moved: moved.to_vec(),
            left_among: 0,
        }
    }

    #[test]
    fn the_homes_of_a_key_are_asked_one_after_the_other() {
        let config = config(&[2], 3);
        let moves = key(&[(2, 1), (3, 2)]);
        let call = call(2, &[&moves, "", &moves, &moves]);
        let mut plan = Plan::new(&config, call, &BTreeSet::new());
        let first = (1, vec![0, 2, 3], vec![1], false);
        assert_eq!(told(&plan), [first, (2, vec![1], vec![0], true)]);
        plan.take(&[0, 2, 3], placed(3, &[1, 2]));
        plan.take(&[1], placed(1, &[]));
        assert_eq!(told(&plan), [(2, vec![2, 3], vec![0, 1], false)]);
        plan.fail(&[2], &ApiError::unavailable("away"));
        plan.take(&[3], placed(1, &[0]));
        assert!(plan.parts().is_empty());
        let (results, nowhere) = plan.results();
        let failed: Vec<_> = results.iter().map(|it| it.error.is_some()).collect();
        assert_eq!(failed, [false, false, true, false]);
        assert_eq!(nowhere, [3]);
    }

    #[test]
    fn a_partition_that_was_left_is_not_asked_and_the_numbers_stay_the_same() {
        let config = config(&[2, 3], 8);
        let (stays, moves) = (key(&[(2, 1), (8, 1)]), key(&[(2, 1), (3, 2), (8, 5)]));
        let left = BTreeSet::from([1]);
        let plan = Plan::new(&config, call(1, &[&stays, &moves]), &left);
        let own = (1, vec![0], vec![], true);
        assert_eq!(told(&plan), [own, (2, vec![1], vec![0], false)]);
        let id = |left: &BTreeSet<u32>| {
            let mut plan = Plan::new(&config, call(1, &[&moves]), left);
            while plan.parts()[0].send.partition == 1 {
                plan.take(&[0], placed(1, &[0]));
            }
            plan.parts().remove(0).send.producer
        };
        assert_eq!(id(&left), id(&BTreeSet::new()));
    }

    #[test]
    fn a_partition_that_is_no_home_was_chosen() {
        let other = key(&[(2, 1), (3, 1)]);
        let plan = Plan::new(&config(&[2], 3), call(2, &[&other]), &BTreeSet::new());
        assert_eq!(told(&plan), [(2, vec![0], vec![], true)]);
    }

    #[test]
    fn nodes_and_clients_agree_where_a_key_belongs() {
        for key in ["a", "customer-3", "naïve", "k17"] {
            for count in [1, 2, 3, 8, 100, 1_024] {
                let belongs = roadstead_proto::partition_of_key(key, count);
                let homes = config(&[], count).homes(key_hash(key.as_bytes()));
                assert_eq!(homes, [belongs]);
            }
        }
    }
}
