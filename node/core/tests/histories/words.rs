//! The words of commands.

use bytes::Bytes;
use roadstead_core::shard::*;

use super::command::Command;
use super::shard::BEGIN;

/// `QUEUE` or `QUEUE/PARTITION`.
pub fn parts(name: &str) -> (&str, u32) {
    name.split_once('/').map_or((name, 0), |(name, partition)| {
        (name, partition.parse().expect("a number"))
    })
}

/// `N,N,…`, or nothing.
pub fn numbers(text: &str) -> Vec<u32> {
    let words = text.split(',').filter(|word| !word.is_empty());
    words.map(|word| word.parse().expect("a number")).collect()
}

/// `Exponential:INITIAL:MAX`, without jitter.
pub fn backoff(text: &str) -> Backoff {
    let parts: Vec<_> = text.split(':').collect();
    let number = |at: usize| parts[at].parse().expect("a number of ms");
    Backoff {
        growth: match parts[0] {
            "Fixed" => Growth::Fixed,
            "Linear" => Growth::Linear,
            _ => Growth::Exponential,
        },
        initial_ms: number(1),
        max_ms: number(2),
        jitter_percent: 0,
    }
}

pub fn deduplication(by: &str, command: &Command) -> Deduplication {
    Deduplication {
        by: match by {
            "Content" => DeduplicateBy::Content,
            _ => DeduplicateBy::Id,
        },
        scope: match command.text("scope", "") {
            "Key" => DeduplicationScope::Key,
            _ => DeduplicationScope::Queue,
        },
        window_ms: command.number("window", 1_000),
        max_ids: command.number("max-ids", 1_000),
    }
}

/// What a node takes for a message's identity: the id that it was given, else its body.
fn identity(id: Option<&str>, body: &str) -> Identity {
    let hash = |text: &str| u128::from(key_hash(text.as_bytes()));
    id.map_or_else(
        || Identity::Content(hash(body)),
        |id| Identity::Id(hash(&format!("id {id}"))),
    )
}

/// Weights of tenants: `NAME:WEIGHT,…`.
pub fn weights(text: &str) -> Vec<TenantWeight> {
    let weight = |word: &str| {
        let (name, weight) = word.split_once(':').expect("NAME:WEIGHT");
        TenantWeight {
            tenant: key_hash(name.as_bytes()),
            weight: weight.parse().expect("a number"),
        }
    };
    let mut weights: Vec<_> = text
        .split(',')
        .filter(|word| !word.is_empty())
        .map(weight)
        .collect();
    weights.sort_by_key(|of| of.tenant);
    weights
}

/// What may follow a body, each with what it says.
pub const MARKS: [char; 7] = ['@', '+', '^', '~', '!', '%', '&'];

/// `BODY@KEY+DELAY^NOT_BEFORE~TTL!ID%PRIORITY&TENANT`, in any order behind the body.
pub fn message(word: &str) -> NewMessage {
    let said = |mark: char| {
        let (_, rest) = word.split_once(mark)?;
        rest.split(MARKS).next()
    };
    let number = |mark: char| said(mark).map_or(0, |n| n.parse::<u64>().expect("a number"));
    let hash = |mark: char| said(mark).map(|name| key_hash(name.as_bytes()));
    let body = word.split(MARKS).next().unwrap_or_default();
    NewMessage {
        key: hash('@'),
        delay_ms: number('+'),
        not_before: said('^').map_or(0, |_| BEGIN + number('^')),
        ttl_ms: number('~'),
        identity: Some(identity(said('!'), body)),
        priority: number('%') as u8,
        tenant: hash('&'),
        header: Bytes::new(),
        body: body.to_owned().into(),
    }
}

pub fn or_nothing(lines: Vec<String>) -> Vec<String> {
    if lines.is_empty() {
        vec!["nothing".into()]
    } else {
        lines
    }
}
