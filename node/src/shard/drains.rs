//! Which consumers are drained: by name, by pod or by session. Pure.
//!
//! Of several words about one consumer the last one counts, so that who was drained by name can be
//! taken back by pod. A word that takes back is kept too: it counts against what a stream says that
//! was drained before.

use std::collections::BTreeMap;

use super::consumer::Wish;

/// The longest time for which a consumer is drained, in ms.
pub const DRAIN_MAX_MS: u64 = 3_600_000;
/// Bytes of a name, a pod's uid or a session's id at most.
pub const SELECTOR_MAX: usize = 253;
/// Words that are kept at most.
const WORDS_MAX: usize = 10_000;

/// A queue and one of its consumer groups, by their ids.
pub type GroupOf = (u64, u32);

/// Which consumers are meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// Those with this name.
    Name(String),
    /// Those of this pod.
    PodUid(String),
    /// The one with this session.
    Session(String),
}

impl Selector {
    /// Whether it means this consumer.
    pub fn means(&self, wish: &Wish) -> bool {
        match self {
            Self::Name(name) => *name == wish.label.name,
            Self::PodUid(uid) => *uid == wish.label.pod_uid,
            Self::Session(session) => *session == wish.session_name,
        }
    }

    fn of(wish: &Wish) -> [Self; 3] {
        [
            Self::Name(wish.label.name.clone()),
            Self::PodUid(wish.label.pod_uid.clone()),
            Self::Session(wish.session_name.clone()),
        ]
    }
}

#[derive(Debug, Clone, Copy)]
struct Word {
    /// Later words have higher ones; 0: it was said under another leader.
    number: u64,
    drains: bool,
    until_ms: u64,
}

/// What was said of the consumers of a shard. Times are milliseconds of any monotonic clock.
#[derive(Debug, Default)]
pub struct Drains {
    last: u64,
    words: BTreeMap<GroupOf, BTreeMap<Selector, Word>>,
    count: usize,
    /// Nothing is over before.
    due_ms: Option<u64>,
}

impl Drains {
    /// Drains those that are meant until a time, or takes that back; false when too much is known
    /// already, and nothing was done.
    pub fn say(
        &mut self,
        group: GroupOf,
        selectors: &[Selector],
        (until_ms, now_ms): (Option<u64>, u64),
    ) -> bool {
        let known = self.words.get(&group);
        let is_new = |one: &&Selector| known.is_none_or(|known| !known.contains_key(*one));
        let new = selectors.iter().filter(is_new).count();
        if self.count + new > WORDS_MAX {
            return false;
        }
        self.last += 1;
        let word = Word {
            number: self.last,
            drains: until_ms.is_some(),
            // What it takes back is over by then.
            until_ms: until_ms.unwrap_or(now_ms + DRAIN_MAX_MS),
        };
        for selector in selectors {
            self.put(group, selector.clone(), word);
        }
        true
    }

    /// The consumer was drained until a time under another leader. That is older than every word
    /// that was said here.
    pub fn say_again(&mut self, wish: &Wish, until_ms: u64) {
        let Some(group) = wish.group_of() else {
            return;
        };
        let selector = Selector::Session(wish.session_name.clone());
        let known = self.words.get(&group).and_then(|all| all.get(&selector));
        let newer = known.is_some_and(|word| word.number > 0 || word.until_ms >= until_ms);
        if newer || wish.session.is_none() || wish.one_time || self.count >= WORDS_MAX {
            return;
        }
        let word = Word {
            number: 0,
            drains: true,
            until_ms,
        };
        self.put(group, selector, word);
    }

    fn put(&mut self, group: GroupOf, selector: Selector, word: Word) {
        let before = self.words.entry(group).or_default().insert(selector, word);
        self.count += usize::from(before.is_none());
        self.due_ms = Some(
            self.due_ms
                .map_or(word.until_ms, |due| due.min(word.until_ms)),
        );
    }

    /// Until when the consumer is drained; None: it is not.
    pub fn until_ms(&self, wish: &Wish) -> Option<u64> {
        let words = self.words.get(&wish.group_of()?)?;
        let all = Selector::of(wish);
        let last = all.iter().filter_map(|selector| words.get(selector));
        let last = last.max_by_key(|word| word.number)?;
        last.drains.then_some(last.until_ms)
    }

    /// When it is to be looked for what is over; None: never.
    pub fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// Forgets what is over; the groups where that was something.
    pub fn over(&mut self, now_ms: u64) -> Vec<GroupOf> {
        if self.due_ms.is_none_or(|due| due > now_ms) {
            return Vec::new();
        }
        let mut changed = Vec::new();
        for (group, words) in &mut self.words {
            let before = words.len();
            words.retain(|_, word| word.until_ms > now_ms);
            self.count -= before - words.len();
            if words.len() < before {
                changed.push(*group);
            }
        }
        self.words.retain(|_, words| !words.is_empty());
        let all = self.words.values().flat_map(BTreeMap::values);
        self.due_ms = all.map(|word| word.until_ms).min();
        changed
    }

    /// Forgets all: another node leads.
    pub fn clear(&mut self) {
        *self = Self {
            last: self.last,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use roadstead_core::shard::PartitionId;
    use roadstead_proto::v1::Consumer as Label;

    use super::*;
    use crate::shard::tests_support::wish;

    const GROUP: GroupOf = (1, 0);

    fn named(name: &str, session: &str) -> Wish {
        let partition = PartitionId {
            queue: 1,
            partition: 0,
        };
        Wish {
            session_name: session.to_owned(),
            label: Label {
                name: name.to_owned(),
                pod_uid: format!("uid of {name}"),
            },
            ..wish(Some(1), &[partition])
        }
    }

    fn name(name: &str) -> Selector {
        Selector::Name(name.to_owned())
    }

    fn session(name: &str) -> Selector {
        Selector::Session(name.to_owned())
    }

    #[test]
    fn the_last_word_about_a_consumer_counts() {
        let mut drains = Drains::default();
        let (one, other) = (named("pod", "1"), named("pod", "2"));
        assert!(drains.say(GROUP, &[name("pod")], (Some(100), 0)));
        assert_eq!(drains.until_ms(&one), Some(100));
        assert!(drains.say(GROUP, &[session("1")], (None, 0)));
        assert_eq!(drains.until_ms(&one), None);
        assert_eq!(drains.until_ms(&other), Some(100), "the others of its name");
        let uid = Selector::PodUid("uid of pod".to_owned());
        assert!(drains.say(GROUP, &[uid], (Some(50), 0)));
        assert_eq!(drains.until_ms(&one), Some(50));
        assert_eq!(drains.until_ms(&named("another", "3")), None);
        assert!(drains.say(GROUP, &[name("pod")], (None, 0)));
        assert_eq!(drains.until_ms(&one), None);
    }

    #[test]
    fn it_is_over_when_its_time_is_and_in_its_group_only() {
        let mut drains = Drains::default();
        let elsewhere = Wish {
            group: 1,
            ..named("pod", "1")
        };
        assert!(drains.say(GROUP, &[name("pod")], (Some(100), 0)));
        assert!(drains.say(GROUP, &[session("1")], (Some(40), 0)));
        assert_eq!(drains.until_ms(&elsewhere), None);
        assert_eq!(drains.due_ms(), Some(40));
        assert_eq!(drains.over(39), []);
        assert_eq!(drains.over(40), [GROUP]);
        assert_eq!(drains.until_ms(&named("pod", "1")), Some(100));
        assert_eq!((drains.over(100), drains.due_ms()), (vec![GROUP], None));
        assert_eq!(
            (drains.until_ms(&named("pod", "1")), drains.count),
            (None, 0)
        );
    }

    #[test]
    fn what_a_stream_says_again_is_older_than_what_was_said_here() {
        let mut drains = Drains::default();
        let consumer = named("pod", "1");
        drains.say_again(&consumer, 100);
        drains.say_again(&consumer, 60);
        assert_eq!(drains.until_ms(&consumer), Some(100));
        assert!(drains.say(GROUP, &[name("pod")], (None, 0)));
        assert_eq!(drains.until_ms(&consumer), None);
        drains.say_again(&consumer, 200);
        assert_eq!(drains.until_ms(&consumer), None, "it comes late");
        assert_eq!(drains.until_ms(&named("pod", "2")), None);
        drains.clear();
        drains.say_again(&consumer, 200);
        assert_eq!(drains.until_ms(&consumer), Some(200));
        let receive = Wish {
            one_time: true,
            ..named("pod", "2")
        };
        drains.say_again(&receive, 200);
        assert_eq!(drains.count, 1, "nobody would take it back");
    }

    #[test]
    fn too_many_words_are_refused_and_the_same_ones_are_not() {
        let mut drains = Drains::default();
        let many: Vec<_> = (0..WORDS_MAX).map(|n| name(&n.to_string())).collect();
        assert!(drains.say(GROUP, &many, (Some(100), 0)));
        assert!(!drains.say((1, 1), &[name("0")], (Some(100), 0)));
        drains.say_again(&named("pod", "1"), 100);
        assert_eq!(drains.until_ms(&named("pod", "1")), None);
        assert!(drains.say(GROUP, &many, (None, 0)), "they are taken back");
        assert_eq!(drains.until_ms(&named("0", "")), None);
        assert_eq!(drains.over(DRAIN_MAX_MS), [GROUP]);
        assert!(drains.say((1, 1), &[name("0")], (Some(100), 0)));
    }
}
