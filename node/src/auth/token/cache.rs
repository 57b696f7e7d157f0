//! What is known of tokens, by their hash, for a while.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Verdict;
use crate::auth::Principal;

/// How long a valid token is taken for valid.
const VALID_FOR: Duration = Duration::from_mins(1);
/// How long an invalid one is taken for invalid.
const INVALID_FOR: Duration = Duration::from_secs(10);
/// How long a caller stays known while nobody can be asked.
const STALE_FOR: Duration = Duration::from_mins(5);
/// Tokens remembered at most.
const MAX_ENTRIES: usize = 4_096;

type Key = [u8; 32];

/// What the cache says of a token.
pub enum Found<P> {
    /// Asked not long ago: who it is, or that it is not valid.
    Known(Option<Principal>),
    /// Being asked.
    Pending {
        /// Ends with the answer.
        review: P,
        /// Who it was when it was asked last.
        stale: Option<Principal>,
    },
}

struct Entry<P> {
    /// The last answer and when it came.
    known: Option<(Option<Principal>, Instant)>,
    review: Option<P>,
}

/// Bounded; the entry with the oldest answer makes room.
pub struct Cache<P> {
    entries: Mutex<BTreeMap<Key, Entry<P>>>,
}

impl<P> Default for Cache<P> {
    fn default() -> Self {
        Self {
            entries: Mutex::new(BTreeMap::new()),
        }
    }
}

impl<P: Clone> Cache<P> {
    /// What is known of a token; asks by `start` unless that is under way.
    pub fn find(&self, key: Key, now: Instant, start: impl FnOnce() -> P) -> Found<P> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Entry {
            known: Some((who, at)),
            ..
        }) = entries.get(&key)
        {
            let lifetime = if who.is_some() {
                VALID_FOR
            } else {
                INVALID_FOR
            };
            if now.duration_since(*at) < lifetime {
                return Found::Known(who.clone());
            }
        }
        if !entries.contains_key(&key) {
            make_room(&mut entries, now);
        }
        let entry = entries.entry(key).or_insert(Entry {
            known: None,
            review: None,
        });
        let review = entry.review.get_or_insert_with(start).clone();
        let fresh = entry
            .known
            .clone()
            .filter(|(_, at)| now.duration_since(*at) < STALE_FOR);
        Found::Pending {
            review,
            stale: fresh.and_then(|(who, _)| who),
        }
    }

    /// Notes the answer of a review that has ended, unless that was done or another one runs.
    pub fn finish(&self, key: Key, verdict: &Verdict, now: Instant, same: impl Fn(&P) -> bool) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entries.get_mut(&key) else {
            return;
        };
        if !entry.review.as_ref().is_some_and(same) {
            return;
        }
        entry.review = None;
        match verdict {
            Ok(who) => entry.known = Some((who.clone(), now)),
            Err(_) if entry.known.is_none() => drop(entries.remove(&key)),
            Err(_) => {}
        }
    }
}

fn make_room<P>(entries: &mut BTreeMap<Key, Entry<P>>, now: Instant) {
    if entries.len() < MAX_ENTRIES {
        return;
    }
    entries.retain(|_, entry| {
        entry
            .known
            .as_ref()
            .is_none_or(|(_, at)| now.duration_since(*at) < STALE_FOR)
    });
    while entries.len() >= MAX_ENTRIES {
        // Without an answer comes first: those are the cheapest to lose.
        let oldest = entries
            .iter()
            .min_by_key(|(_, entry)| entry.known.as_ref().map(|(_, at)| *at));
        let Some(key) = oldest.map(|(key, _)| *key) else {
            return;
        };
        entries.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        key
    }

    fn ask(cache: &Cache<u32>, number: u32, now: Instant) -> bool {
        let mut asked = false;
        cache.find(key(number), now, || {
            asked = true;
            number
        });
        asked
    }

    #[test]
    fn invalid_is_forgotten_sooner_than_valid() {
        let (cache, start) = (Cache::default(), Instant::now());
        for (number, verdict) in [(1, Some(Principal::Operator)), (2, None)] {
            assert!(ask(&cache, number, start));
            cache.finish(key(number), &Ok(verdict), start, |_| true);
        }
        let later = |seconds| start + Duration::from_secs(seconds);
        assert!(!ask(&cache, 1, later(59)) && !ask(&cache, 2, later(9)));
        assert!(ask(&cache, 2, later(10)));
        assert!(ask(&cache, 1, later(60)));
    }

    #[test]
    fn a_known_caller_stays_known_for_a_while_when_nobody_can_be_asked() {
        let (cache, start) = (Cache::default(), Instant::now());
        ask(&cache, 1, start);
        cache.finish(key(1), &Ok(Some(Principal::Operator)), start, |_| true);
        for (seconds, expected) in [(100, Some(Principal::Operator)), (301, None)] {
            let now = start + Duration::from_secs(seconds);
            match cache.find(key(1), now, || 1) {
                Found::Pending { stale, .. } => assert_eq!(stale, expected),
                Found::Known(_) => panic!("too old to be known"),
            }
            cache.finish(key(1), &Err("down".to_owned()), now, |_| true);
        }
    }

    #[test]
    fn it_is_bounded_and_the_oldest_goes() {
        let (cache, start) = (Cache::default(), Instant::now());
        for number in 0..=MAX_ENTRIES as u32 {
            let now = start + Duration::from_millis(u64::from(number));
            ask(&cache, number, now);
            cache.finish(key(number), &Ok(Some(Principal::Operator)), now, |_| true);
        }
        assert_eq!(cache.entries.lock().unwrap().len(), MAX_ENTRIES);
        let now = start + Duration::from_secs(5);
        assert!(!ask(&cache, 1, now) && ask(&cache, 0, now));
    }
}
