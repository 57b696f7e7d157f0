//! Commands of consumer groups.

use roadstead_core::shard::*;

use super::command::Command;
use super::shard::{BEGIN, Shard};

impl Shard {
    /// The group that a command names; without one the default group.
    pub fn group(&self, command: &Command) -> u32 {
        let name = command.text("group", "default").to_owned();
        let found = self.groups.get(&(command.queue.clone(), name));
        let default = if command.option("group").is_none() {
            DEFAULT_GROUP
        } else {
            u32::MAX
        };
        found.copied().unwrap_or(default)
    }

    /// The groups `NAME[:End][:Paused][:MAX_IN_FLIGHT][:bBREAKER][:rRATE],…`; names that are new
    /// get new ids. `default` is the default group. A breaker: `bPERCENT/MIN/WINDOW/OPEN`.
    pub fn groups_of(&mut self, command: &Command) -> Vec<GroupConfig> {
        let text = command.text("groups", "");
        let mut groups = Vec::new();
        let old = std::mem::take(&mut self.groups);
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let mut parts = word.split(':');
            let name = parts.next().unwrap_or_default().to_owned();
            let key = (command.queue.clone(), name);
            let id = match old.get(&key) {
                _ if key.1 == "default" => DEFAULT_GROUP,
                Some(id) => *id,
                None => {
                    self.last_group += 1;
                    self.last_group
                }
            };
            let mut group = GroupConfig {
                id,
                ..GroupConfig::default()
            };
            for part in parts {
                match part {
                    "End" => group.start = GroupStart::End,
                    "Paused" => group.paused = true,
                    part if part.starts_with('b') => group.breaker = Some(breaker(&part[1..])),
                    part if part.starts_with('r') => {
                        group.rate = part[1..].parse().expect("a number");
                    }
                    max => group.max_in_flight = max.parse().expect("a number"),
                }
            }
            if id != DEFAULT_GROUP {
                self.groups.insert(key, id);
            }
            groups.push(group);
        }
        let others = old
            .into_iter()
            .filter(|((queue, _), _)| *queue != command.queue);
        self.groups.extend(others);
        groups.sort_by_key(|group| group.id);
        groups
    }

    pub fn seek(&mut self, command: &Command) -> Vec<String> {
        let to = command.text("to", "Beginning");
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let to = match to.split_at(1) {
            ("#", sequence) => SeekTo::Sequence(number(sequence)),
            ("@", time) => SeekTo::Time(BEGIN + number(time)),
            ("E", _) => SeekTo::End,
            _ => SeekTo::Beginning,
        };
        self.told(&Op::Seek(Seek {
            partition: self.partition(&command.queue),
            group: self.group(command),
            to,
        }))
    }
}

fn breaker(text: &str) -> CircuitBreaker {
    let mut numbers = text.split('/').map(|word| word.parse().expect("a number"));
    let mut next = || -> u64 { numbers.next().expect("four numbers") };
    CircuitBreaker {
        error_percent: next() as u8,
        min_deliveries: next() as u32,
        window_ms: next(),
        open_ms: next(),
    }
}
