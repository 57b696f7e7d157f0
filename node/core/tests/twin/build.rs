//! Turns what happens in a history into ops, by what the twin then holds.

use bytes::Bytes;
use proptest::sample::Index;
use roadstead_core::shard::*;

use super::config::{Asked, Config, DeadLetter, tenant, weights};
use super::history::{Begin, Happening, Sent, Settled, UNKNOWN};
use super::world::World;
use crate::carried::carried;

impl World {
    pub fn ops(&mut self, event: &Happening) -> Vec<Op> {
        let id = |slot: &usize| self.slots[*slot];
        match event {
            Happening::Configure {
                slot,
                config,
                stale,
            } => vec![self.configure(*slot, config, *stale)],
            Happening::Drop {
                slot,
                only_if_empty,
            } => self.drop_slot(*slot, *only_if_empty),
            Happening::Send {
                slot,
                producer,
                messages,
                atomic,
            } => vec![self.send(id(slot), *producer, messages, *atomic)],
            Happening::Receive {
                slot,
                group,
                session,
                max,
                lease,
                once,
                slots,
            } => vec![Op::Receive(Receive {
                partition: id(slot),
                group: self.group(*slot, *group),
                session: Some(SessionId(*session)).filter(|s| s.0 != 0),
                max: *max,
                lease_ms: *lease,
                at_most_once: *once,
                key_slots: slots.map_or(KeySlots::ALL, KeySlots),
            })],
            Happening::Settle { slot, picks } => self.settle(*slot, picks),
            Happening::Complete {
                slot,
                picks,
                outputs,
            } => self.complete(*slot, picks, outputs),
            Happening::Release { slot, session } => {
                let session = SessionId(session + 1);
                vec![Op::ReleaseSession(ReleaseSession {
                    partition: id(slot),
                    session,
                })]
            }
            Happening::Tick => vec![Op::Tick],
            Happening::Purge { slot } => vec![Op::Purge(Purge {
                partition: id(slot),
                from: None,
            })],
            Happening::Seek { slot, group, to } => vec![self.seek(*slot, *group, *to)],
            Happening::Shuttle { .. } => self.shuttle(event),
            Happening::Redrive { slot, to, picks } => self.redrive(*slot, *to, picks),
            Happening::Delete { slot, pick, forced } => self.delete(*slot, *pick, *forced),
            Happening::Digest { from, rows, bytes } => {
                let keys: Vec<_> = self.kv.rows().map(|(key, _)| key).collect();
                let from = from.filter(|_| !keys.is_empty());
                let from = from.map_or(&[][..], |pick| keys[pick.index(keys.len())]);
                vec![Op::Digest(Digest {
                    from: Bytes::copy_from_slice(from),
                    rows: *rows,
                    bytes: *bytes,
                })]
            }
        }
    }

    fn send(
        &mut self,
        partition: PartitionId,
        producer: Option<(u8, u64)>,
        messages: &[Sent],
        atomic: bool,
    ) -> Op {
        let producer = producer.map(|(name, first)| ProducerRef {
            id: Bytes::from(vec![b'p', name]),
            first,
        });
        let messages = messages.iter().map(|sent| self.message(sent));
        let mut messages: Vec<_> = messages.collect();
        self.spare_tenants(partition, &mut messages);
        Op::Send(Send {
            partition,
            producer,
            messages,
            atomic,
        })
    }

    fn seek(&self, slot: usize, group: usize, to: Begin) -> Op {
        let partition = self.slots[slot];
        let last = self.twin.partitions.get(&partition);
        let last = last.map_or(0, |p| p.sequence) as usize;
        Op::Seek(Seek {
            partition,
            group: self.group(slot, group),
            to: match to {
                Begin::Beginning => SeekTo::Beginning,
                Begin::End => SeekTo::End,
                Begin::Sequence(pick) => SeekTo::Sequence(pick.index(last + 2) as u64),
                Begin::Ago(ms) => SeekTo::Time(self.now.saturating_sub(ms)),
            },
        })
    }

    /// The id of one of the groups.
    fn group(&self, slot: usize, pick: usize) -> u32 {
        let p = self.twin.partitions.get(&self.slots[slot]);
        let groups = p.map_or(Vec::new(), |p| p.groups.keys().copied().collect());
        if pick == UNKNOWN || groups.is_empty() {
            return 777;
        }
        groups[pick % groups.len()]
    }

    /// What groups there shall be, by what groups there are.
    fn groups(&self, partition: PartitionId, config: &Config) -> Vec<GroupConfig> {
        let p = self.twin.partitions.get(&partition);
        let known: Vec<u32> = p.map_or(Vec::new(), |p| p.groups.keys().copied().collect());
        let last = p.map_or(0, |p| p.last_group);
        let ids = known.into_iter().filter(|id| *id != DEFAULT_GROUP);
        let ids = ids.chain(last + 1..);
        let of = |(id, asked): (u32, &Option<Asked>)| asked.map(|asked| group_config(id, asked));
        let others = ids.zip(&config.groups).filter_map(of);
        let default = config.default_group.map(|asked| group_config(0, asked));
        let mut groups: Vec<_> = default.into_iter().chain(others).collect();
        if config.reuse && last > 0 {
            let asked = config.default_group.unwrap_or(Asked {
                start: GroupStart::End,
                ..Asked::default()
            });
            groups.push(group_config(last, asked));
        }
        groups
    }

    fn settle(&mut self, slot: usize, picks: &[(Index, Settled)]) -> Vec<Op> {
        let partition = self.slots[slot];
        let known = self
            .receipts
            .get(&partition)
            .filter(|known| !known.is_empty());
        let Some(known) = known else {
            return Vec::new();
        };
        let live: Vec<_> = known.iter().filter(|r| self.twin.holds(r)).collect();
        // Mostly of what is still leased: the others are stale.
        let no_live = live.is_empty();
        let any = |pick: &Index| no_live || pick.index(8) == 0;
        let first = &picks[0].0;
        let group = if any(first) {
            known[first.index(known.len())].group
        } else {
            live[first.index(live.len())].group
        };
        let of = |list: Vec<&Receipt>| -> Vec<Receipt> {
            let list = list.into_iter().filter(|r| r.group == group);
            list.copied().collect()
        };
        let (all, live) = (of(known.iter().collect()), of(live.clone()));
        let items = picks.iter().map(|(pick, how)| {
            let list = if any(pick) || live.is_empty() {
                &all
            } else {
                &live
            };
            Settlement::new(&list[pick.index(list.len())], action(*how))
        });
        let items = items.collect();
        vec![Op::Settle(Settle {
            partition,
            group,
            items,
        })]
    }

    fn drop_slot(&mut self, slot: usize, only_if_empty: bool) -> Vec<Op> {
        let partition = self.slots[slot];
        self.queues += 1;
        self.slots[slot] = PartitionId {
            queue: self.queues,
            partition: 0,
        };
        let drop = DropPartition {
            partition,
            only_if_empty,
        };
        if drop.only_if_empty
            && self
                .twin
                .partitions
                .get(&partition)
                .is_some_and(|p| p.live().count() > 0)
        {
            self.slots[slot] = partition;
        }
        vec![Op::Drop(drop)]
    }

    pub fn target(&self, dead_letter: DeadLetter) -> Option<DeadLetterTarget> {
        let queue = |slot: usize| self.slots[slot].queue;
        let (queue, partitions) = match dead_letter {
            DeadLetter::None => return None,
            DeadLetter::Pair => (queue(1), if queue(1) == queue(2) { 2 } else { 1 }),
            DeadLetter::Other => (queue(3), 1),
            DeadLetter::Gone => (1_000_000, 1),
        };
        Some(DeadLetterTarget { queue, partitions })
    }

    fn configure(&mut self, slot: usize, config: &Config, stale: bool) -> Op {
        let partition = self.slots[slot];
        self.revision += u64::from(!stale);
        let ordering = match config.ordering {
            Some(ordering) => ordering,
            None => self.orders.get(&partition).copied().unwrap_or_default(),
        };
        self.orders.entry(partition).or_insert(ordering);
        let dead_letter = self.target(config.dead_letter);
        let sticky_keys = self.sticky_keys(partition, config);
        let weighted = !sticky_keys || config.reuse;
        let (partitions, earlier) = self.partitions_of(partition, config);
        let config = PartitionConfig {
            revision: self.revision,
            ordering,
            delivery: config.delivery,
            lease_ms: config.lease_ms,
            ttl_ms: config.ttl_ms,
            on_expiry: config.on_expiry,
            max_deliveries: config.max_deliveries,
            backoff: config.backoff,
            dead_letter,
            max_messages: config.max_messages,
            max_bytes: config.max_bytes,
            max_message_bytes: config.max_message_bytes,
            max_in_flight: config.max_in_flight,
            overflow: config.overflow,
            deduplication: config.deduplication,
            groups: self.groups(partition, config),
            retain_ms: config.retain_ms,
            aging_ms: config.aging_ms,
            weights: weights(if weighted { &config.weights } else { &[] }),
            rate: config.rate,
            sticky_keys,
            partitions,
            earlier,
        };
        Op::Configure(Configure { partition, config })
    }

    pub fn message(&mut self, sent: &Sent) -> NewMessage {
        self.bodies += 1;
        let body = format!("{:0width$}", self.bodies, width = sent.len);
        NewMessage {
            key: sent.key.map(|key| key_hash(&[key])),
            delay_ms: sent.delay,
            not_before: if sent.not_before == 0 {
                0
            } else {
                self.now + sent.not_before - 10
            },
            ttl_ms: sent.ttl,
            identity: Some(match (sent.id, sent.content) {
                (Some(id), _) => Identity::Id(u128::from(id)),
                (None, 0) => Identity::Content(u128::from(self.bodies) << 64),
                (None, content) => Identity::Content(1_000 + u128::from(content)),
            }),
            priority: sent.priority,
            tenant: sent.tenant.map(tenant),
            header: Bytes::from_static(b"h"),
            body: body.into(),
        }
    }

    fn shuttle(&mut self, event: &Happening) -> Vec<Op> {
        let Happening::Shuttle {
            pick,
            max,
            accept,
            gap,
            done,
        } = event
        else {
            return Vec::new();
        };
        let outboxes = self.machine.outboxes();
        if outboxes.is_empty() {
            return Vec::new();
        }
        let Outbox { source, target, .. } = outboxes[pick.index(outboxes.len())];
        let mut ops = Vec::new();
        if *accept {
            let mut heads = self
                .machine
                .outbox_heads(&self.kv, source, target, *max)
                .expect("rows can be read");
            if *gap && heads.len() > 1 {
                heads.remove(0);
            }
            let first = heads[0].number;
            let messages = heads
                .iter()
                .map(|head| carried(head, Bytes::from_static(b"h"), self.body(head.payload)))
                .collect();
            ops.push(Op::Accept(Accept {
                source,
                target,
                first,
                messages,
            }));
        }
        let p = self.twin.partitions.get(&target);
        let through = p
            .and_then(|p| p.accepted.get(&source))
            .copied()
            .unwrap_or(0);
        if *done && through > 0 {
            ops.push(Op::OutboxDone(OutboxDone {
                source,
                target,
                through,
            }));
        }
        ops
    }
}

fn group_config(id: u32, asked: Asked) -> GroupConfig {
    let Asked {
        start,
        paused,
        max_in_flight,
        breaker,
        rate,
    } = asked;
    GroupConfig {
        id,
        start,
        paused,
        max_in_flight,
        breaker,
        rate,
    }
}

fn action(how: Settled) -> Action {
    let text = |error: bool| {
        if error {
            Bytes::from_static(&[b'x'; 200])
        } else {
            Bytes::new()
        }
    };
    match how {
        Settled::Ack => Action::Ack,
        Settled::Nack {
            delay,
            error,
            unstarted,
        } => Action::Nack {
            delay_ms: delay,
            error: text(error && !unstarted),
            unstarted,
        },
        Settled::Reject { error } => Action::Reject { error: text(error) },
        Settled::Extend { lease } => Action::Extend { lease_ms: lease },
    }
}
