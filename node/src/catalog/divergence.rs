//! Whether the replicas of a shard hold the same rows, by what they hashed to at the same entry of
//! the log. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::raft::types::{GroupId, NodeId};

/// Term and index of an entry. An entry that was cut off and its successor have different terms.
pub type EntryId = (u64, u64);

/// Hashes by the replica that reported it.
pub type Hashes = BTreeMap<NodeId, u64>;

/// What the leader of a group says of its voters.
#[derive(Debug, Clone, Default)]
pub struct Voters {
    /// All of them, those of both memberships while they change.
    pub ids: BTreeSet<NodeId>,
    /// A change of membership is half done.
    pub joint: bool,
}

/// What the hashes of one entry say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing against anybody: those that were heard of have the same.
    Same {
        /// Every voter was heard of.
        complete: bool,
    },
    /// A majority of all voters has this hash; these voters have another one, so their rows are
    /// damaged.
    Odd {
        /// Of the majority.
        hash: u64,
        /// The others, in order.
        damaged: Vec<NodeId>,
    },
    /// They differ, and no majority of all voters agrees, or the voters are about to change.
    Undecided,
}

/// Judges the hashes of one entry. What those who do not vote say counts for nothing; those that
/// were not heard of count as voters that agree with nobody. While a change of membership is half
/// done nobody is found to be damaged: the next digest tells.
pub fn judge(voters: &Voters, hashes: &Hashes) -> Verdict {
    let heard = || hashes.iter().filter(|(node, _)| voters.ids.contains(node));
    let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
    for (_, hash) in heard() {
        *votes.entry(*hash).or_default() += 1;
    }
    if votes.len() <= 1 {
        let complete = !voters.ids.is_empty() && heard().count() == voters.ids.len();
        return Verdict::Same { complete };
    }
    let majority = votes
        .iter()
        .find(|(_, votes)| **votes * 2 > voters.ids.len());
    match majority {
        Some((hash, _)) if !voters.joint => Verdict::Odd {
            hash: *hash,
            damaged: heard()
                .filter(|(_, other)| *other != hash)
                .map(|(node, _)| *node)
                .collect(),
        },
        _ => Verdict::Undecided,
    }
}

/// How often the replicas of a group were compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DigestCounts {
    /// Digests in which all voters agreed.
    pub agreed: u64,
    /// Digests in which two voters differed.
    pub mismatched: u64,
}

/// Something that was not known before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Replicas differ at this entry; told once for each.
    Differ {
        /// Where.
        entry: EntryId,
        /// What those that were heard of have.
        hashes: Hashes,
    },
    /// A voter is damaged; told once for each.
    Damaged {
        /// Which.
        node: NodeId,
        /// What is wrong with its rows.
        why: String,
    },
}

/// What came of the comparisons so far.
#[derive(Debug, Default)]
pub struct Divergence {
    counts: BTreeMap<GroupId, DigestCounts>,
    /// Entries that were counted, with whether the replicas differed.
    known: BTreeMap<GroupId, BTreeMap<EntryId, bool>>,
    damaged: BTreeMap<NodeId, String>,
}

impl Divergence {
    /// Compares what the replicas of a group said last. An entry that none of them names any more
    /// is forgotten.
    pub fn compare(
        &mut self,
        group: GroupId,
        voters: &Voters,
        said: &BTreeMap<EntryId, Hashes>,
    ) -> Vec<News> {
        let known = self.known.entry(group).or_default();
        known.retain(|entry, _| said.contains_key(entry));
        let counts = self.counts.entry(group).or_default();
        let mut news = Vec::new();
        for (entry, hashes) in said {
            let verdict = judge(voters, hashes);
            if let Verdict::Same { complete } = verdict {
                if complete && !known.contains_key(entry) {
                    counts.agreed += 1;
                    known.insert(*entry, false);
                }
                continue;
            }
            if known.insert(*entry, true) != Some(true) {
                counts.mismatched += 1;
                let (entry, hashes) = (*entry, hashes.clone());
                news.push(News::Differ { entry, hashes });
            }
            let Verdict::Odd { hash, damaged } = verdict else {
                continue;
            };
            for node in damaged {
                let own = hashes.get(&node).copied().unwrap_or_default();
                let why = describe(group, *entry, (own, hash));
                if self.damaged.insert(node, why.clone()).is_none() {
                    news.push(News::Damaged { node, why });
                }
            }
        }
        news
    }

    /// What is wrong with the rows of a node, if something is known to be.
    pub fn damage(&self, node: NodeId) -> Option<&String> {
        self.damaged.get(&node)
    }

    /// Forgets what was wrong with the rows of a node: it has made them anew.
    pub fn forgive(&mut self, node: NodeId) {
        self.damaged.remove(&node);
    }

    /// Counts by group.
    pub fn counts(&self) -> &BTreeMap<GroupId, DigestCounts> {
        &self.counts
    }
}

fn describe(group: GroupId, (term, index): EntryId, (own, majority): (u64, u64)) -> String {
    format!(
        "the rows of shard {group} differ from those of a majority of its replicas: at entry \
         {index} of term {term} they hash to {own:016x} here and to {majority:016x} there"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(count: u64, joint: bool) -> Voters {
        Voters {
            ids: (1..=count).collect(),
            joint,
        }
    }

    /// Nodes from 1 on; 0: not heard of.
    fn hashes(said: &[u64]) -> Hashes {
        let said = (1..).zip(said.iter().copied());
        said.filter(|(_, hash)| *hash != 0).collect()
    }

    #[test]
    fn a_majority_of_all_voters_decides() {
        let odd = |damaged: &[NodeId]| Verdict::Odd {
            hash: 7,
            damaged: damaged.to_vec(),
        };
        let same = |complete| Verdict::Same { complete };
        let undecided = Verdict::Undecided;
        let table: &[(&str, u64, &[u64], Verdict)] = &[
            ("3 of 3", 3, &[7, 7, 7], same(true)),
            ("2:1", 3, &[7, 9, 7], odd(&[2])),
            ("1:1:1", 3, &[7, 8, 9], undecided.clone()),
            ("1 silent, the others agree", 3, &[7, 0, 7], same(false)),
            (
                "1 silent, the others differ",
                3,
                &[7, 0, 9],
                undecided.clone(),
            ),
            ("2 silent", 3, &[0, 7, 0], same(false)),
            ("nobody said anything", 3, &[], same(false)),
            ("2 voters that agree", 2, &[7, 7], same(true)),
            ("2 voters that differ", 2, &[7, 9], undecided.clone()),
            ("one voter", 1, &[7], same(true)),
            ("no voter is known", 0, &[7, 9], same(false)),
            ("5 voters, 3:2", 5, &[9, 7, 7, 9, 7], odd(&[1, 4])),
            ("5 voters, 3:1:1", 5, &[8, 7, 7, 9, 7], odd(&[1, 4])),
            ("5 voters, 2:2:1", 5, &[8, 7, 7, 8, 9], undecided.clone()),
            (
                "5 voters, 2:1, 2 silent",
                5,
                &[7, 7, 9, 0, 0],
                undecided.clone(),
            ),
            ("5 voters, 3:1, 1 silent", 5, &[7, 7, 9, 7, 0], odd(&[3])),
            ("4 voters, 2:2", 4, &[7, 7, 9, 9], undecided.clone()),
            ("4 voters, 3:1", 4, &[7, 7, 9, 7], odd(&[3])),
            (
                "one that does not vote differs",
                3,
                &[7, 7, 7, 9],
                same(true),
            ),
            (
                "such a one makes no majority",
                3,
                &[7, 9, 0, 7],
                undecided.clone(),
            ),
        ];
        for (what, count, said, verdict) in table {
            assert_eq!(
                &judge(&voters(*count, false), &hashes(said)),
                verdict,
                "{what}"
            );
        }
    }

    #[test]
    fn nobody_is_found_damaged_while_the_voters_change() {
        let changing = voters(4, true);
        assert_eq!(judge(&changing, &hashes(&[7, 7, 7, 9])), Verdict::Undecided);
        let complete = true;
        assert_eq!(
            judge(&changing, &hashes(&[7, 7, 7, 7])),
            Verdict::Same { complete }
        );
    }

    fn said(entries: &[(EntryId, &[u64])]) -> BTreeMap<EntryId, Hashes> {
        let entries = entries.iter();
        entries
            .map(|(entry, said)| (*entry, hashes(said)))
            .collect()
    }

    #[test]
    fn each_entry_counts_once_and_each_node_is_told_of_once() {
        let mut divergence = Divergence::default();
        let voters = voters(3, false);
        let mut compare = |entries: &[(EntryId, &[u64])]| {
            let news = divergence.compare(1, &voters, &said(entries));
            let counts = divergence.counts()[&1];
            (news.len(), counts.agreed, counts.mismatched)
        };
        assert_eq!(compare(&[((1, 5), &[7, 7, 0])]), (0, 0, 0));
        assert_eq!(compare(&[((1, 5), &[7, 7, 7])]), (0, 1, 0));
        assert_eq!(compare(&[((1, 5), &[7, 7, 7])]), (0, 1, 0));
        let differ: &[(EntryId, &[u64])] = &[((1, 5), &[7, 7, 7]), ((1, 9), &[7, 8, 0])];
        assert_eq!(compare(differ), (1, 1, 1), "that they differ is news");
        assert_eq!(compare(differ), (0, 1, 1));
        let decided: &[(EntryId, &[u64])] = &[((1, 9), &[7, 8, 7]), ((1, 12), &[3, 4, 3])];
        assert_eq!(
            compare(decided),
            (2, 1, 2),
            "who is damaged, and another entry"
        );
        assert_eq!(compare(decided), (0, 1, 2));
        let why = divergence.damage(2).expect("it is damaged");
        assert!(
            why.contains("shard 1") && why.contains("entry 12 of term 1"),
            "{why}"
        );
        assert_eq!((divergence.damage(1), divergence.damage(3)), (None, None));
    }

    #[test]
    fn an_entry_and_the_one_that_took_its_place_are_never_compared() {
        let mut divergence = Divergence::default();
        let entries = said(&[((1, 5), &[7, 7, 0]), ((2, 5), &[0, 0, 9])]);
        assert_eq!(divergence.compare(1, &voters(3, false), &entries), []);
    }

    #[test]
    fn what_nobody_names_any_more_is_forgotten() {
        let mut divergence = Divergence::default();
        for index in 0..1_000 {
            let entries = said(&[((1, index), &[7, 7, 7])]);
            divergence.compare(1, &voters(3, false), &entries);
        }
        assert_eq!(divergence.known[&1].len(), 1);
        assert_eq!(divergence.counts()[&1].agreed, 1_000);
    }
}
