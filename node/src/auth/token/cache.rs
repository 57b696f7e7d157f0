//! What is known of tokens, by their hash, for a while.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
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
/// Valid tokens remembered at most.
const MAX_VALID: usize = 4_096;
/// Others at most: whoever makes tokens up makes only those forget.
const MAX_OTHERS: usize = 1_024;

type Key = [u8; 32];

/// What the cache says of a token.
pub enum Found<P> {
    /// Asked not long ago: who it is, or that it is not valid.
    Known(Option<Principal>),
    /// Being asked.
    Pending {
        /// Ends with the answer; given up when nobody has it any more.
        review: Arc<P>,
        /// Who it was when it was asked last.
        stale: Option<Principal>,
    },
}

struct Entry<P> {
    /// The last answer and when it came.
    known: Option<(Option<Principal>, Instant)>,
    /// While somebody waits for it.
    review: Weak<P>,
}

impl<P> Entry<P> {
    fn is_asked_by(&self, review: &Arc<P>) -> bool {
        self.review.as_ptr() == Arc::as_ptr(review)
    }
}

type Entries<P> = BTreeMap<Key, Entry<P>>;

struct Tokens<P> {
    /// Whose last answer was that they are valid.
    valid: Entries<P>,
    /// Those that are not valid, and those without an answer.
    others: Entries<P>,
}

/// Bounded; the entry with the oldest answer makes room, and a valid one for a valid one only.
pub struct Cache<P> {
    tokens: Mutex<Tokens<P>>,
}

impl<P> Default for Cache<P> {
    fn default() -> Self {
        Self {
            tokens: Mutex::new(Tokens {
                valid: BTreeMap::new(),
                others: BTreeMap::new(),
            }),
        }
    }
}

impl<P> Cache<P> {
    /// What is known of a token; asks by `start` unless that is under way.
    pub fn find(&self, key: Key, now: Instant, start: impl FnOnce() -> P) -> Found<P> {
        let mut tokens = self.lock();
        let Tokens { valid, others } = &mut *tokens;
        let lifetime = if valid.contains_key(&key) {
            VALID_FOR
        } else {
            INVALID_FOR
        };
        let entry = match valid.get_mut(&key) {
            Some(entry) => entry,
            None => entry_of(others, key, MAX_OTHERS),
        };
        if let Some((who, at)) = &entry.known
            && now.duration_since(*at) < lifetime
        {
            return Found::Known(who.clone());
        }
        let review = entry.review.upgrade().unwrap_or_else(|| {
            let review = Arc::new(start());
            entry.review = Arc::downgrade(&review);
            review
        });
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
    pub fn finish(&self, key: Key, verdict: &Verdict, now: Instant, review: &Arc<P>) {
        let mut tokens = self.lock();
        let Tokens { valid, others } = &mut *tokens;
        let entry = valid.get(&key).or_else(|| others.get(&key));
        // One that had to make room meanwhile is made anew.
        if entry.is_some_and(|entry| !entry.is_asked_by(review)) {
            return;
        }
        let Ok(who) = verdict else {
            others.remove(&key);
            if let Some(entry) = valid.get_mut(&key) {
                entry.review = Weak::new();
            }
            return;
        };
        let (mut to, mut from, mut most) = (valid, others, MAX_VALID);
        if who.is_none() {
            (to, from, most) = (from, to, MAX_OTHERS);
        }
        from.remove(&key);
        *entry_of(to, key, most) = Entry {
            known: Some((who.clone(), now)),
            review: Weak::new(),
        };
    }

    fn lock(&self) -> MutexGuard<'_, Tokens<P>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entry of a token among at most `most`, made where there is none.
fn entry_of<P>(entries: &mut Entries<P>, key: Key, most: usize) -> &mut Entry<P> {
    while entries.len() >= most && !entries.contains_key(&key) {
        // Without an answer comes first: those are the cheapest to lose.
        let oldest = entries
            .iter()
            .min_by_key(|(_, entry)| entry.known.as_ref().map(|(_, at)| *at));
        let Some(key) = oldest.map(|(key, _)| *key) else {
            break;
        };
        entries.remove(&key);
    }
    entries.entry(key).or_insert(Entry {
        known: None,
        review: Weak::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        key
    }

    /// Whether a token is asked for, and gets its answer when there is one.
    fn ask(cache: &Cache<u32>, number: u32, now: Instant, verdict: Option<&Verdict>) -> bool {
        let Found::Pending { review, .. } = cache.find(key(number), now, || number) else {
            return false;
        };
        if let Some(verdict) = verdict {
            cache.finish(key(number), verdict, now, &review);
        }
        true
    }

    const VALID: Verdict = Ok(Some(Principal::Operator));

    #[test]
    fn invalid_is_forgotten_sooner_than_valid() {
        let (cache, start) = (Cache::default(), Instant::now());
        for (number, verdict) in [(1, VALID), (2, Ok(None))] {
            assert!(ask(&cache, number, start, Some(&verdict)));
        }
        let later = |seconds| start + Duration::from_secs(seconds);
        assert!(!ask(&cache, 1, later(59), None) && !ask(&cache, 2, later(9), None));
        assert!(ask(&cache, 2, later(10), None));
        assert!(ask(&cache, 1, later(60), None));
    }

    #[test]
    fn a_known_caller_stays_known_for_a_while_when_nobody_can_be_asked() {
        let (cache, start) = (Cache::default(), Instant::now());
        ask(&cache, 1, start, Some(&VALID));
        for (seconds, expected) in [(100, Some(Principal::Operator)), (301, None)] {
            let now = start + Duration::from_secs(seconds);
            match cache.find(key(1), now, || 1) {
                Found::Pending { stale, review } => {
                    assert_eq!(stale, expected);
                    cache.finish(key(1), &Err("down".to_owned()), now, &review);
                }
                Found::Known(_) => panic!("too old to be known"),
            }
        }
    }

    #[test]
    fn it_is_bounded_and_the_oldest_goes() {
        let (cache, start) = (Cache::default(), Instant::now());
        for number in 0..=MAX_VALID as u32 {
            let now = start + Duration::from_millis(u64::from(number));
            ask(&cache, number, now, Some(&VALID));
        }
        assert_eq!(cache.lock().valid.len(), MAX_VALID);
        let now = start + Duration::from_secs(5);
        assert!(!ask(&cache, 1, now, None) && ask(&cache, 0, now, None));
    }

    #[test]
    fn whatever_is_not_valid_makes_room_before_what_is() {
        let (cache, start) = (Cache::default(), Instant::now());
        ask(&cache, 0, start, Some(&VALID));
        let now = start + Duration::from_secs(1);
        for number in 1..=3 * MAX_VALID as u32 {
            let verdict = Ok(None);
            ask(&cache, number, now, (number % 2 == 0).then_some(&verdict));
        }
        assert!(!ask(&cache, 0, now, None));
        assert_eq!(cache.lock().others.len(), MAX_OTHERS);
    }

    #[test]
    fn a_valid_token_is_remembered_although_its_question_had_to_make_room() {
        let (cache, now) = (Cache::default(), Instant::now());
        let Found::Pending { review, .. } = cache.find(key(0), now, || 0) else {
            panic!("nobody was asked")
        };
        for number in 1..=MAX_OTHERS as u32 {
            ask(&cache, number, now, None);
        }
        cache.finish(key(0), &VALID, now, &review);
        assert!(!ask(&cache, 0, now, None));
    }

    #[test]
    fn a_review_that_nobody_waits_for_is_not_waited_for() {
        let (cache, now) = (Cache::default(), Instant::now());
        let mut started = 0;
        for _ in 0..2 {
            drop(cache.find(key(1), now, || started += 1));
        }
        assert_eq!(started, 2);
    }
}
