//! What a send does.

use std::collections::BTreeSet;

use super::{LoggedMessage, LoggedSend, MAX_SEND};
use crate::clock::YEAR_MS;
use crate::kv::KvError;
use crate::shard::chunk::MOVED;
use crate::shard::config::Ordering;
use crate::shard::deduplication::Identity;
use crate::shard::header::Header;
use crate::shard::ids::NewId;
use crate::shard::overflow::DISPLACED_MAX;
use crate::shard::partition::{Partition, Step};
use crate::shard::reply::{Refusal, Reply, SendOutcome};

/// A message's producer and number.
type Numbered<'a> = Option<(&'a [u8], u64)>;

impl LoggedSend<'_> {
    pub(crate) fn apply(&self, p: &mut Partition, step: &mut Step<'_>) -> Result<Reply, KvError> {
        let count = self.messages.len();
        if count == 0 || count > MAX_SEND {
            return Ok(Reply::Refused(Refusal::BadCount));
        }
        if let Some((id, first)) = self.producer
            && let Err(refusal) = p.meet_producer(step, id, first, count as u64)?
        {
            return Ok(Reply::Refused(refusal));
        }
        p.forget_for_send(step)?;
        if self.atomic
            && let Some(outcomes) = self.refused_together(p, step)?
        {
            return Ok(Reply::Sent(outcomes));
        }
        let mut outcomes = Vec::with_capacity(count);
        let (mut new_ids, mut budget) = (Vec::new(), DISPLACED_MAX);
        let mut full = None;
        for (message, producer) in self.numbered() {
            let outcome = match full {
                // A smaller one that still fits would overtake what is sent again.
                Some(refusal) if p.config.ordering != Ordering::None => {
                    SendOutcome::Refused(refusal)
                }
                _ => message.apply(p, step, producer, (&mut new_ids, &mut budget))?,
            };
            if let SendOutcome::Refused(refusal) = outcome
                && holds_up(refusal, p)
            {
                full = Some(refusal);
            }
            outcomes.push(outcome);
        }
        p.file_ids(step, &new_ids);
        // Where nothing else waits for a group, it waits for the delayed one.
        let any_delayed = self.messages.iter().any(LoggedMessage::is_delayed);
        if p.config.ordering == Ordering::Strict && any_delayed {
            p.for_each_group(&mut |view| view.strict_advance(step))?;
        }
        Ok(Reply::Sent(outcomes))
    }

    fn numbered(&self) -> impl Iterator<Item = (&LoggedMessage, Numbered<'_>)> {
        let of = |n: usize| self.producer.map(|(id, first)| (id, first + n as u64));
        self.messages
            .iter()
            .enumerate()
            .map(move |(n, message)| (message, of(n)))
    }

    /// The outcomes of an atomic batch of which a message is refused; None: all may come.
    fn refused_together(
        &self,
        p: &mut Partition,
        step: &mut Step<'_>,
    ) -> Result<Option<Vec<SendOutcome>>, KvError> {
        let mut batch = Batch {
            now: step.now,
            ..Batch::default()
        };
        let (mut refused, mut added, mut moved) = (false, false, false);
        let mut outcomes = Vec::with_capacity(self.messages.len());
        for (message, producer) in self.numbered() {
            let outcome = match message.known(p, step, producer)? {
                Known::New(id) => batch.take(p, message, id).err(),
                Known::Before(outcome) => Some(outcome),
                Known::ById(sequence) => Some(SendOutcome::Duplicate { sequence }),
                // It is a duplicate of one that comes before it.
                Known::Away(Some(id)) if batch.ids.contains(&id) => None,
                Known::Away(_) => Some(SendOutcome::Moved),
            };
            added |= outcome.is_none();
            refused |= matches!(outcome, Some(SendOutcome::Refused(_)));
            moved |= outcome == Some(SendOutcome::Moved);
            outcomes.push(outcome.unwrap_or(SendOutcome::Refused(Refusal::BatchRefused)));
        }
        let apart = added && moved;
        Ok((refused || apart).then_some(outcomes))
    }
}

/// Whether what follows a message that was refused is refused with it, where order is kept.
fn holds_up(refusal: Refusal, p: &Partition) -> bool {
    match refusal {
        Refusal::MessageLimit | Refusal::ByteLimit | Refusal::IdLimit => true,
        // What is new is refused anyway; the number of what lives elsewhere would go ahead.
        Refusal::RateLimit => p.config.has_grown(),
        _ => false,
    }
}

/// What of an atomic batch would be added.
#[derive(Default)]
struct Batch {
    now: u64,
    /// Messages that are new, also those for which there is no room.
    asked: u64,
    messages: u64,
    bytes: u64,
    ids: BTreeSet<u128>,
}

impl Batch {
    /// Takes in one more, unless there is no room for it behind the others.
    fn take(
        &mut self,
        p: &Partition,
        message: &LoggedMessage,
        id: Option<u128>,
    ) -> Result<(), SendOutcome> {
        if id.is_some_and(|id| self.ids.contains(&id)) {
            return Ok(());
        }
        self.asked += 1;
        if p.burst().is_some_and(|most| self.asked > most) {
            return Err(SendOutcome::Refused(Refusal::BatchOverRate));
        }
        let (messages, bytes) = (
            self.messages + 1,
            self.bytes + u64::from(message.payload.len),
        );
        p.has_room_for_id(id, self.ids.len() as u64)
            .and_then(|()| p.has_rate_for(messages, self.now))
            .and_then(|()| p.has_room(messages, bytes))
            .map_err(SendOutcome::Refused)?;
        (self.messages, self.bytes) = (messages, bytes);
        self.ids.extend(id);
        Ok(())
    }
}

/// What is known of a message before it is added.
enum Known {
    /// It was sent before, by its producer's number, or may not come.
    Before(SendOutcome),
    /// A message with its id was accepted, with this sequence.
    ById(u64),
    /// It is new; what it is to be remembered as.
    New(Option<u128>),
    /// Its key does not live here any more; what it would be remembered as.
    Away(Option<u128>),
}

impl LoggedMessage {
    fn apply(
        &self,
        p: &mut Partition,
        step: &mut Step<'_>,
        producer: Numbered<'_>,
        (new_ids, budget): (&mut Vec<NewId>, &mut usize),
    ) -> Result<SendOutcome, KvError> {
        let id = match self.known(p, step, producer)? {
            Known::New(id) => id,
            Known::Away(_) => {
                // Its number is decided: a late first try of it must not come behind later ones.
                if let Some((id, number)) = producer {
                    p.remember(step.kv, id, number, MOVED)?;
                }
                return Ok(SendOutcome::Moved);
            }
            Known::Before(outcome) => return Ok(outcome),
            Known::ById(sequence) => {
                // The number stands for the same message from now on, also when the id is
                // forgotten.
                if let Some((id, number)) = producer {
                    p.remember(step.kv, id, number, sequence)?;
                }
                return Ok(SendOutcome::Duplicate { sequence });
            }
        };
        let room = p.has_room_for_id(id, 0);
        if let Err(refusal) = room.and_then(|()| p.has_rate_for(1, step.now)) {
            return Ok(SendOutcome::Refused(refusal));
        }
        if let Err(refusal) = p.make_room(step, (self.payload.len, self.priority), budget)? {
            return Ok(SendOutcome::Refused(refusal));
        }
        p.use_rate(step.now);
        let sequence = self.add(p, step)?;
        if let Some(id) = id {
            p.remember_id(step, (id, sequence))?;
            new_ids.push((id, sequence));
        }
        if let Some((id, number)) = producer {
            p.remember(step.kv, id, number, sequence)?;
        }
        Ok(SendOutcome::Accepted { sequence })
    }

    fn known(
        &self,
        p: &mut Partition,
        step: &mut Step<'_>,
        producer: Numbered<'_>,
    ) -> Result<Known, KvError> {
        if let Some((id, number)) = producer {
            match p.produced(id, number) {
                Ok(None) => {}
                Ok(Some(MOVED)) => return Ok(Known::Before(SendOutcome::Moved)),
                Ok(Some(sequence)) => {
                    return Ok(Known::Before(SendOutcome::Duplicate { sequence }));
                }
                Err(refusal) => return Ok(Known::Before(SendOutcome::Refused(refusal))),
            }
        }
        if let Err(refusal) = self.check(p, step.now) {
            return Ok(Known::Before(SendOutcome::Refused(refusal)));
        }
        let id = match (self.identity, p.config.deduplication) {
            (Some(identity), Some(setting)) => setting.remembered_as(identity),
            _ => None,
        };
        if let Some(id) = id
            && let Some(sequence) = p.remembered(step.kv, id, step.now)?
        {
            return Ok(Known::ById(sequence));
        }
        if p.has_moved(step.kv, self.key)? {
            return Ok(Known::Away(id));
        }
        Ok(Known::New(id))
    }

    /// Adds it as a new message. Its sequence.
    fn add(&self, p: &mut Partition, step: &mut Step<'_>) -> Result<u64, KvError> {
        let sequence = p.state.sequence + 1;
        let header = Header {
            sequence,
            payload: self.payload.at(step.index),
            enqueued_at: step.now,
            in_line_since: step.now,
            ttl: self.ttl_ms,
            key: self.key,
            priority: self.priority,
            tenant: self.tenant,
            ..Header::default()
        };
        p.add_by(step, header, self.due(step.now))?;
        Ok(sequence)
    }

    fn is_delayed(&self) -> bool {
        self.delay_ms != 0 || self.not_before != 0
    }

    /// When it is receivable at the earliest, ms.
    pub(crate) fn due(&self, now: u64) -> u64 {
        let delayed = now.saturating_add(self.delay_ms.min(YEAR_MS));
        delayed.max(self.not_before)
    }

    fn check(&self, p: &Partition, now: u64) -> Result<(), Refusal> {
        let max = p.config.max_message_bytes;
        if max != 0 && self.payload.body_len > max {
            return Err(Refusal::TooLarge);
        }
        if p.config.ordering == Ordering::PerKey && self.key == 0 {
            return Err(Refusal::KeyRequired);
        }
        if p.config.sticky_keys && self.tenant != 0 {
            return Err(Refusal::StickyTenant);
        }
        if self.not_before > now.saturating_add(YEAR_MS) {
            return Err(Refusal::TooLate);
        }
        if p.config.deduplication.is_none() && matches!(self.identity, Some(Identity::Id(_))) {
            return Err(Refusal::NoDeduplication);
        }
        Ok(())
    }
}
