//! Which partitions are received over a stream to which node. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// Where streams should go.
///
/// A stream to a partition's leader is best, since nothing is forwarded; a stream to any node will
/// do until then. When the consumer wants fewer messages than there are leaders, one stream to one
/// node serves all partitions: credit that is split would ask for too many.
#[derive(Debug)]
pub(crate) struct Routes {
    /// The address of each partition's leader, where one is known and answers.
    pub leaders: Vec<Option<String>>,
    /// Where to go for a partition without.
    pub anyone: String,
    /// Messages that the consumer wants at once, and so the most streams.
    pub most: usize,
}

impl Routes {
    /// The streams to open now: `covered` are the partitions of those that there are, `streams`
    /// their number.
    pub fn openings(
        &self,
        covered: &BTreeSet<u32>,
        streams: usize,
    ) -> BTreeMap<String, BTreeSet<u32>> {
        let mut openings: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        if self.is_one() {
            if covered.is_empty() && !self.leaders.is_empty() {
                openings.insert(self.anyone.clone(), self.all());
            }
            return openings;
        }
        for (partition, leader) in (0..).zip(&self.leaders) {
            if !covered.contains(&partition) {
                let address = leader.as_ref().unwrap_or(&self.anyone);
                openings
                    .entry(address.clone())
                    .or_default()
                    .insert(partition);
            }
        }
        // One stream for all of them, where the leaders' own would be too many.
        let room = self.most.saturating_sub(streams).max(1);
        if openings.len() > room {
            let missing = openings.into_values().flatten().collect();
            return BTreeMap::from([(self.anyone.clone(), missing)]);
        }
        openings
    }

    /// Whether a stream may stay where it is; one that may not still serves its partitions.
    pub fn fits(&self, address: &str, partitions: &BTreeSet<u32>) -> bool {
        if self.is_one() {
            return *partitions == self.all();
        }
        partitions.iter().all(|&partition| {
            let leader = self.leaders.get(partition as usize);
            leader.is_some_and(|leader| leader.as_ref().is_none_or(|leader| leader == address))
        })
    }

    fn is_one(&self) -> bool {
        let leaders: BTreeSet<_> = self.leaders.iter().flatten().collect();
        self.most < leaders.len()
    }

    fn all(&self) -> BTreeSet<u32> {
        (0..).zip(&self.leaders).map(|(one, _)| one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(leaders: &[&str], most: usize) -> Routes {
        let known = |leader: &&str| (!leader.is_empty()).then(|| (*leader).to_owned());
        Routes {
            leaders: leaders.iter().map(known).collect(),
            anyone: "any".into(),
            most,
        }
    }

    fn to(address: &str, partitions: &[u32]) -> (String, BTreeSet<u32>) {
        (address.into(), partitions.iter().copied().collect())
    }

    #[test]
    fn what_is_missing_goes_to_its_leader_or_to_anyone() {
        let routes = routes(&["a", "b", "a", ""], 10);
        let all = [to("a", &[0, 2]), to("any", &[3]), to("b", &[1])];
        assert_eq!(routes.openings(&BTreeSet::new(), 0), all.into());
        assert_eq!(
            routes.openings(&BTreeSet::from([0, 1, 3]), 2),
            [to("a", &[2])].into()
        );
        assert!(routes.openings(&BTreeSet::from([0, 1, 2, 3]), 2).is_empty());
    }

    #[test]
    fn a_stream_stays_while_another_node_is_dead() {
        let before = routes(&["a", "b", "b"], 10);
        let after = routes(&["a", "", "a"], 10);
        let (address, partitions) = to("a", &[0]);
        assert!(before.fits(&address, &partitions) && after.fits(&address, &partitions));
        let (address, partitions) = to("a", &[1, 2]);
        assert!(
            !before.fits(&address, &partitions),
            "it moves when all is well"
        );
        assert!(
            after.fits(&address, &partitions),
            "no leader is known, or it is this"
        );
        assert!(!after.fits("b", &partitions));
        assert!(
            !after.fits("a", &BTreeSet::from([9])),
            "there is no such partition"
        );
    }

    #[test]
    fn fewer_messages_than_leaders_is_one_stream() {
        let routes = routes(&["a", "b", "c"], 2);
        assert_eq!(
            routes.openings(&BTreeSet::new(), 0),
            [to("any", &[0, 1, 2])].into()
        );
        assert!(routes.fits("z", &BTreeSet::from([0, 1, 2])));
        assert!(!routes.fits("a", &BTreeSet::from([0])));
        assert!(
            routes.openings(&BTreeSet::from([1]), 1).is_empty(),
            "only once the others have ended"
        );
    }

    #[test]
    fn there_are_never_more_streams_than_messages_wanted() {
        let routes = routes(&["a", "b", "b", "a"], 2);
        let covered = BTreeSet::from([1]);
        assert_eq!(routes.openings(&covered, 1), [to("any", &[0, 2, 3])].into());
    }
}
