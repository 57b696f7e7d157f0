//! How a leader tells the cluster's time: pure arithmetic over readings that the shell makes.

/// The longest time that a message may be delayed, wait or be kept: a year of 365 days, in ms.
pub const YEAR_MS: u64 = 365 * 24 * 3_600_000;

/// Share of the elapsed time by which the clock may run faster or slower to approach wall time.
const SLEW_DIVISOR: u64 = 100;
const NS_PER_MS: u64 = 1_000_000;

/// One replica's estimate of the cluster time.
///
/// Cluster time is the last logged time plus the monotonic time that has passed since, slewed to
/// wall time by at most 1 %, and never behind the log: a wall clock that is an hour off expires
/// nothing. Monotonic readings are in ns from any fixed instant of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterClock {
    /// Cluster time in ns since 1970 …
    base: u64,
    /// … at this monotonic reading, in ns.
    at: u64,
    /// Highest time told by `now` since the last one that another leader told, in ns too.
    told: u64,
    /// Newest time in the log, in ns.
    logged: u64,
}

impl ClusterClock {
    /// A clock that goes on from `logged_ms`, the newest time in the log (0: none yet).
    pub fn new(logged_ms: u64, monotonic_ns: u64) -> Self {
        let logged = logged_ms.saturating_mul(NS_PER_MS);
        Self {
            base: logged,
            at: monotonic_ns,
            told: 0,
            logged,
        }
    }

    /// Notes that an entry which this node proposed, of the time `logged_ms`, was applied at this
    /// reading.
    ///
    /// A time that this replica told itself is old news: the clock has gone on since.
    pub fn applied(&mut self, logged_ms: u64, monotonic_ns: u64) {
        if logged_ms.saturating_mul(NS_PER_MS) > self.told {
            self.followed(logged_ms, monotonic_ns);
        }
    }

    /// Notes that an entry which another node proposed, of the time `logged_ms`, was applied at
    /// this reading.
    ///
    /// The clock goes on from there even when it was ahead: the other one was slow to apply what
    /// was logged before it led, and a lease that it granted lasts by its clock. Were this one to
    /// lead again by its own, such a lease would end before its time.
    pub fn followed(&mut self, logged_ms: u64, monotonic_ns: u64) {
        let logged = logged_ms.saturating_mul(NS_PER_MS);
        if logged >= self.logged {
            self.logged = logged;
            self.base = logged;
            self.told = logged;
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
#[path = "clock_tests.rs"]
mod tests;
