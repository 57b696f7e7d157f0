//! What can be true of a partition when a command comes: what it was asked to promise, and what is
//! in it.

use roadstead_core::shard::*;

use super::breaker::told;
use super::compare::state;
use super::model::{Group, Message, Partition};

macro_rules! features {
    ($($feature:ident $name:literal)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Feature {
            $($feature),*
        }

        /// All of them, with what they are called.
        pub const FEATURES: &[(Feature, &str)] = &[$((Feature::$feature, $name)),*];
    };
}

features! {
    Unordered "no order"
    PerKey "order per key"
    Strict "strict order"
    AtLeastOnce "at least once"
    AtMostOnce "at most once"
    NoLeaseTime "leases of 0 s"
    Ttl "time to live"
    OwnTtl "own time to live"
    ExpiryDrops "expiry drops"
    ExpiryDeadLetters "expiry dead-letters"
    OneDelivery "one delivery"
    Deliveries "several deliveries"
    NoBackoff "no backoff"
    Fixed "fixed backoff"
    Linear "linear backoff"
    Exponential "exponential backoff"
    DeadLetters "dead-letter queue"
    NoDeadLetters "no dead-letter queue"
    MaxMessages "limit of messages"
    MaxBytes "limit of bytes"
    MaxMessageBytes "limit of a message"
    MaxInFlight "limit in flight"
    Reject "full: reject"
    DropOldest "full: drop oldest"
    DeadLetterOldest "full: dead-letter it"
    ById "dedup by id"
    ByContent "dedup by content"
    ScopeQueue "dedup per queue"
    ScopeKey "dedup per key"
    Groups "several groups"
    Beginning "group from beginning"
    End "group from end"
    Paused "group paused"
    GroupMaxInFlight "group's limit"
    GroupRate "group's rate"
    BreakerClosed "breaker closed"
    BreakerOpen "breaker open"
    BreakerHalfOpen "breaker half-open"
    Retains "retention"
    Ages "aging"
    NeverAges "no aging"
    Weights "weights"
    Rate "rate limit"
    StickyKeys "sticky keys"
    Grown "more partitions"
    Ready "ready ones"
    Delayed "delayed ones"
    InFlight "leased ones"
    Blocked "blocked ones"
    Failed "failed ones"
    Lanes "priorities"
    Tenants "tenants"
    Retained "retained ones"
    Replayed "replayed ones"
    Sought "after a seek"
    Producers "producers' numbers"
    Ids "remembered ids"
    Outbox "filled outbox"
}

/// A set of features.
#[derive(Debug, Clone, Copy, Default)]
pub struct Features(u128);

impl Features {
    pub fn has(self, feature: Feature) -> bool {
        (self.0 >> (feature as u32)) & 1 == 1
    }

    pub fn join(&mut self, other: Self) {
        self.0 |= other.0;
    }

    fn add(&mut self, feature: Feature) {
        self.0 |= 1 << (feature as u32);
    }

    fn add_if(&mut self, there: bool, feature: Feature) {
        if there {
            self.add(feature);
        }
    }
}

/// What a command meets in a partition, as its group has it; of all groups where it has none.
pub fn of(p: &Partition, group: Option<u32>) -> Features {
    let mut found = Features::default();
    config(&mut found, &p.config);
    let groups = p.groups.iter();
    for (id, of) in groups.filter(|(id, _)| group.is_none_or(|group| group == **id)) {
        self::group(&mut found, of);
        for (m, mine) in p.open(*id) {
            found.add(match state(p, m, (*id, mine)) {
                MessageState::Ready => Feature::Ready,
                MessageState::InFlight => Feature::InFlight,
                MessageState::Delayed => Feature::Delayed,
                MessageState::Blocked => Feature::Blocked,
            });
            found.add_if(!mine.failed.is_empty(), Feature::Failed);
            found.add_if(m.settled_at.is_some(), Feature::Replayed);
        }
    }
    found.add_if(p.groups.len() > 1, Feature::Groups);
    found.add_if(!p.delayed.is_empty(), Feature::Delayed);
    p.messages
        .iter()
        .chain(&p.delayed)
        .for_each(|m| message(&mut found, m));
    let retained = p.messages.iter().any(|m| m.of.is_empty());
    found.add_if(retained, Feature::Retained);
    found.add_if(!p.producers.is_empty(), Feature::Producers);
    found.add_if(!p.ids.is_empty(), Feature::Ids);
    found.add_if(!p.outbox.is_empty(), Feature::Outbox);
    found
}

fn message(found: &mut Features, m: &Message) {
    found.add_if(m.ttl != 0, Feature::OwnTtl);
    found.add_if(m.stream.0 > 0, Feature::Lanes);
    found.add_if(m.stream.1 != 0, Feature::Tenants);
}

/// Without `..`: what a queue can be asked for next has to be found here too.
fn config(found: &mut Features, config: &PartitionConfig) {
    let PartitionConfig {
        revision: _,
        ordering,
        delivery,
        lease_ms,
        ttl_ms,
        on_expiry,
        max_deliveries,
        backoff,
        dead_letter,
        max_messages,
        max_bytes,
        max_message_bytes,
        max_in_flight,
        overflow,
        deduplication,
        groups: _,
        retain_ms,
        aging_ms,
        weights,
        rate,
        sticky_keys,
        partitions: _,
        earlier: _,
    } = config;
    found.add(match ordering {
        Ordering::None => Feature::Unordered,
        Ordering::PerKey => Feature::PerKey,
        Ordering::Strict => Feature::Strict,
    });
    found.add(match delivery {
        Delivery::AtLeastOnce => Feature::AtLeastOnce,
        Delivery::AtMostOnce => Feature::AtMostOnce,
    });
    found.add_if(*lease_ms == 0, Feature::NoLeaseTime);
    found.add_if(*ttl_ms != 0, Feature::Ttl);
    found.add(match on_expiry {
        OnExpiry::Drop => Feature::ExpiryDrops,
        OnExpiry::DeadLetter => Feature::ExpiryDeadLetters,
    });
    found.add(match max_deliveries {
        1 => Feature::OneDelivery,
        _ => Feature::Deliveries,
    });
    found.add(growth(backoff.as_ref()));
    found.add_if(dead_letter.is_some(), Feature::DeadLetters);
    found.add_if(dead_letter.is_none(), Feature::NoDeadLetters);
    found.add_if(*max_messages != 0, Feature::MaxMessages);
    found.add_if(*max_bytes != 0, Feature::MaxBytes);
    found.add_if(*max_message_bytes != 0, Feature::MaxMessageBytes);
    found.add_if(*max_in_flight != 0, Feature::MaxInFlight);
    let overflow = match overflow {
        Overflow::Reject => Feature::Reject,
        Overflow::DropOldest => Feature::DropOldest,
        Overflow::DeadLetterOldest => Feature::DeadLetterOldest,
    };
    found.add_if(*max_messages != 0 || *max_bytes != 0, overflow);
    if let Some(setting) = deduplication {
        self::deduplication(found, setting);
    }
    found.add_if(*retain_ms != 0, Feature::Retains);
    found.add_if(*aging_ms != 0, Feature::Ages);
    found.add_if(*aging_ms == 0, Feature::NeverAges);
    found.add_if(!weights.is_empty(), Feature::Weights);
    found.add_if(*rate != 0, Feature::Rate);
    found.add_if(*sticky_keys, Feature::StickyKeys);
    found.add_if(config.has_grown(), Feature::Grown);
}

fn growth(backoff: Option<&Backoff>) -> Feature {
    match backoff.map(|backoff| backoff.growth) {
        None => Feature::NoBackoff,
        Some(Growth::Fixed) => Feature::Fixed,
        Some(Growth::Linear) => Feature::Linear,
        Some(Growth::Exponential) => Feature::Exponential,
    }
}

fn deduplication(found: &mut Features, setting: &Deduplication) {
    found.add(match setting.by {
        DeduplicateBy::Id => Feature::ById,
        DeduplicateBy::Content => Feature::ByContent,
    });
    found.add(match setting.scope {
        DeduplicationScope::Queue => Feature::ScopeQueue,
        DeduplicationScope::Key => Feature::ScopeKey,
    });
}

fn group(found: &mut Features, group: &Group) {
    let GroupConfig {
        id: _,
        start,
        paused,
        max_in_flight,
        breaker,
        rate,
    } = group.setting;
    found.add(match start {
        GroupStart::Beginning => Feature::Beginning,
        GroupStart::End => Feature::End,
    });
    found.add_if(paused, Feature::Paused);
    found.add_if(max_in_flight != 0, Feature::GroupMaxInFlight);
    found.add_if(rate != 0, Feature::GroupRate);
    found.add_if(group.epoch > 0, Feature::Sought);
    if breaker.is_some() {
        found.add(match told(&group.breaker) {
            BreakerState::Closed => Feature::BreakerClosed,
            BreakerState::Open { .. } => Feature::BreakerOpen,
            BreakerState::HalfOpen => Feature::BreakerHalfOpen,
        });
    }
}
