//! The clock runs as it should, alone and as one of a group.

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
    follower.followed(7_000, 3 * MS);
    follower.followed(8_000, 900 * MS);
    assert_eq!(follower.now(1_000 * MS, 8_100), 8_100);
}

#[test]
fn who_leads_again_goes_on_from_the_leader_between() {
    let mut clock = ClusterClock::new(10_000, 0);
    assert_eq!(clock.now(5_000 * MS, 15_000), 15_000);
    // It took over two seconds late, and leased something for a second.
    clock.followed(13_000, 5_000 * MS);
    assert_eq!(clock.now(5_100 * MS, 13_100), 13_100);
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

/// A replica of the simulated group: its clock, and how much of the log it has applied.
struct Replica {
    clock: ClusterClock,
    applied: usize,
}

impl Replica {
    fn apply(&mut self, log: &[(u64, usize, u64)], own: usize, upto: usize, now: u64) {
        for (time_ms, leader, _) in &log[self.applied..upto] {
            if *leader == own {
                self.clock.applied(*time_ms, now);
            } else {
                self.clock.followed(*time_ms, now);
            }
        }
        self.applied = upto;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Otherwise leases would end early: whoever leads, however late it applies, and whatever the
    /// wall clocks say, the log's time runs at most 1 % faster than real time.
    #[test]
    fn the_time_in_the_log_does_not_run_fast_whoever_leads(
        steps in proptest::collection::vec((0_usize..3, 0_usize..3, 0_u64..4_000), 1..80),
        walls in proptest::array::uniform3(0_u64..2_000_000),
    ) {
        let clock = ClusterClock::new(1_000_000, 0);
        let mut replicas = [(); 3].map(|()| Replica { clock, applied: 0 });
        let (mut log, mut leader, mut now) = (Vec::<(u64, usize, u64)>::new(), 0, 0);
        for (kind, who, ms) in steps {
            match kind {
                0 => leader = who,
                1 => {
                    let behind = log.len() - replicas[who].applied;
                    let upto = replicas[who].applied + behind.min(ms as usize % 4);
                    replicas[who].apply(&log, who, upto, now);
                }
                _ => {
                    now += ms * MS;
                    let replica = &mut replicas[leader];
                    replica.apply(&log, leader, log.len(), now);
                    let time = replica.clock.now(now, walls[leader] + now / MS);
                    let before = log.last().copied().unwrap_or((1_000_000, 0, 0));
                    prop_assert!(time >= before.0, "{time} ms after {before:?}");
                    for (earlier, _, at) in &log {
                        let most = (now - at) / MS * 101 / 100 + 2;
                        prop_assert!(time - earlier <= most, "{earlier} + {most} < {time} ms");
                    }
                    log.push((time, leader, now));
                }
            }
        }
    }
}
