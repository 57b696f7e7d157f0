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

    /// The groups `NAME[:End][:Paused][:MAX_IN_FLIGHT],…`; names that are new get new ids.
    pub fn groups_of(&mut self, command: &Command) -> Vec<GroupConfig> {
        let text = command.text("groups", "");
        let mut groups = Vec::new();
        let old = std::mem::take(&mut self.groups);
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let mut parts = word.split(':');
            let name = parts.next().unwrap_or_default().to_owned();
            let key = (command.queue.clone(), name);
            let id = old.get(&key).copied().unwrap_or_else(|| {
                self.last_group += 1;
                self.last_group
            });
            let mut group = GroupConfig {
                id,
                ..GroupConfig::default()
            };
            for part in parts {
                match part {
                    "End" => group.start = GroupStart::End,
                    "Paused" => group.paused = true,
                    max => group.max_in_flight = max.parse().expect("a number"),
                }
            }
            self.groups.insert(key, id);
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
