//! How a leader tells the cluster's time: pure arithmetic over readings that the shell makes.

/// Share of the elapsed time by which the clock may run faster or slower to approach wall time.
const SLEW_DIVISOR: u64 = 100;
const NS_PER_MS: u64 = 1_000_000;

/// One replica's estimate of the cluster time.
///
/// Cluster time is the last logged time plus the monotonic time that has passed since, slewed to
/// wall time by at most 1 %, and never goes back: a wall clock that is an hour off expires
/// nothing. Monotonic readings are in ns from any fixed instant of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterClock {
    /// Cluster time in ns since 1970 …
    base: u64,
    /// … at this monotonic reading, in ns.
    at: u64,
    /// Highest time told by `now`, in ns too.
    told: u64,
}

impl ClusterClock {
    /// A clock that goes on from `logged_ms`, the newest time in the log (0: none yet).
    pub fn new(logged_ms: u64, monotonic_ns: u64) -> Self {
        Self {
            base: logged_ms.saturating_mul(NS_PER_MS),
            at: monotonic_ns,
            told: 0,
        }
    }

    /// Notes that an entry of the time `logged_ms` was applied at this reading.
    ///
    /// A time that this replica told itself is old news: the clock has gone on since.
    pub fn applied(&mut self, logged_ms: u64, monotonic_ns: u64) {
        let logged = logged_ms.saturating_mul(NS_PER_MS);
        if logged > self.told && logged > self.base {
            self.base = logged;
            self.at = monotonic_ns;
        }
    }

    /// Sets the clock forward to `median_ms` at once, if that is later: for a group none of whose
    /// replicas has run on (a new cluster, or all were down), with [`median`] of the wall clocks.
    pub fn restarted(&mut self, median_ms: u64, monotonic_ns: u64) {
        let estimate = self.estimate(monotonic_ns);
        self.base = estimate.max(median_ms.saturating_mul(NS_PER_MS));
        self.at = self.at.max(monotonic_ns);
    }

    /// The cluster time in ms since 1970, for the entry that is about to be proposed.
    pub fn now(&mut self, monotonic_ns: u64, wall_ms: u64) -> u64 {
        let elapsed = monotonic_ns.saturating_sub(self.at);
        let estimate = self.estimate(monotonic_ns);
        let most = elapsed / SLEW_DIVISOR;
        let wall = wall_ms.saturating_mul(NS_PER_MS);
        // A wall clock that shows this millisecond may be anywhere within it.
        let target = estimate.clamp(wall, wall.saturating_add(NS_PER_MS - 1));
        let slewed = target.clamp(estimate - most.min(estimate), estimate.saturating_add(most));
        self.told = slewed.max(self.told);
        self.base = self.told;
        self.at = self.at.max(monotonic_ns);
        self.told / NS_PER_MS
    }

    /// The cluster time in ms without telling it to the log: for what is shown to clients.
    pub fn peek(&self, monotonic_ns: u64) -> u64 {
        self.estimate(monotonic_ns).max(self.told) / NS_PER_MS
    }

    /// Monotonic ns until the clock, at its slowest, has reached `time_ms`; 0: it has.
    pub fn until(&self, time_ms: u64, monotonic_ns: u64) -> u64 {
        let left = time_ms
            .saturating_mul(NS_PER_MS)
            .saturating_sub(self.estimate(monotonic_ns));
        left.saturating_add(left / (SLEW_DIVISOR - 1))
    }

    fn estimate(&self, monotonic_ns: u64) -> u64 {
        self.base
            .saturating_add(monotonic_ns.saturating_sub(self.at))
    }
}

/// The lower median of wall clocks in ms; None when there are none.
pub fn median(walls_ms: &[u64]) -> Option<u64> {
    let mut sorted = walls_ms.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = NS_PER_MS;

    #[test]
    fn it_runs_with_the_monotonic_clock_and_keeps_parts_of_a_millisecond() {
        let mut clock = ClusterClock::new(1_000, 0);
        for step in 1..=10_000 {
            clock.now(step * 100_000, 1_000 + step / 10);
        }
        assert_eq!(clock.peek(1_000 * MS), 2_000);
    }

    #[test]
    fn a_wall_clock_an_hour_off_moves_it_by_one_percent_at_most() {
        let hour = 3_600_000;
        let mut fast = ClusterClock::new(10 * hour, 0);
        let mut slow = fast;
        for second in 1..=100 {
            fast.now(second * 1_000 * MS, 11 * hour);
            slow.now(second * 1_000 * MS, 9 * hour);
        }
        assert_eq!(fast.peek(100_000 * MS), 10 * hour + 101_000);
        assert_eq!(slow.peek(100_000 * MS), 10 * hour + 99_000);
    }

    #[test]
    fn applying_what_it_told_itself_does_not_hold_it_back() {
        let mut leader = ClusterClock::new(0, 0);
        leader.restarted(5_000, 0);
        assert_eq!(leader.now(0, 5_000), 5_000);
        leader.applied(5_000, 40 * MS);
        assert_eq!(leader.now(50 * MS, 5_050), 5_050);
    }

    #[test]
    fn a_follower_goes_on_from_the_last_time_it_applied() {
        let mut follower = ClusterClock::new(0, 0);
        follower.applied(7_000, 3 * MS);
        follower.applied(8_000, 900 * MS);
        assert_eq!(follower.now(1_000 * MS, 8_100), 8_100);
    }

    #[test]
    fn a_restart_goes_forward_to_the_median_and_never_back() {
        let mut clock = ClusterClock::new(9_000, 0);
        clock.restarted(median(&[20_000, 1, 15_000]).unwrap(), 10 * MS);
        assert_eq!(clock.peek(10 * MS), 15_000);
        clock.restarted(3, 20 * MS);
        assert_eq!(clock.peek(20 * MS), 15_010);
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[4, 2]), Some(2));
    }

    #[test]
    fn a_wait_is_long_enough_for_the_slowest_clock() {
        let mut clock = ClusterClock::new(1_000, 0);
        let wait = clock.until(2_000, 0);
        assert_eq!(clock.until(1_000, 0), 0);
        assert!(clock.now(wait, 0) + 1 >= 2_000);
    }

    proptest! {
        #[test]
        fn it_never_goes_back(
            steps in proptest::collection::vec((0_u64..3, 0_u64..20_000, 0_u64..20_000), 1..60),
        ) {
            let (mut clock, mut last, mut mono) = (ClusterClock::new(0, 0), 0, 0);
            for (kind, a, b) in steps {
                mono += a * 1_000;
                match kind {
                    0 => clock.applied(b, mono),
                    1 => clock.restarted(b, mono),
                    _ => {
                        let now = clock.now(mono, b);
                        prop_assert!(now >= last, "{now} after {last}");
                        last = now;
                    }
                }
            }
        }
    }
}
