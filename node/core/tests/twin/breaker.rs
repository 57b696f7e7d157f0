//! What the twin knows of circuit breakers.

use roadstead_core::shard::*;

use super::model::{Circuit, Effects, Partition};

impl Partition {
    /// A delivery of a group has ended.
    pub fn outcome(&mut self, group: u32, id: MessageId, failed: bool, fx: &mut Effects) {
        let partition = self.id;
        let group_of = self.groups.get_mut(&group).expect("it is there");
        let Some(setting) = group_of.setting.breaker else {
            return;
        };
        let mut tell = |kind| fx.events.push((partition, group, id, kind));
        let now = fx.now;
        let until = now + setting.open_ms;
        let opened = EventKind::BreakerOpened { until };
        match &mut group_of.breaker {
            Circuit::Open(until) if now < *until => {}
            Circuit::Open(_) | Circuit::HalfOpen => {
                group_of.breaker = if failed {
                    tell(opened);
                    Circuit::Open(until)
                } else {
                    tell(EventKind::BreakerClosed);
                    Circuit::default()
                };
            }
            Circuit::Closed(begun, outcomes) => {
                if outcomes.is_empty() || now - *begun >= setting.window_ms {
                    outcomes.clear();
                    *begun = now;
                }
                outcomes.push(failed);
                let failures = outcomes.iter().filter(|failed| **failed).count();
                let percent = failures * 100 / outcomes.len();
                let enough = outcomes.len() >= setting.min_deliveries as usize;
                if enough && percent >= usize::from(setting.error_percent) {
                    tell(opened);
                    group_of.breaker = Circuit::Open(until);
                }
            }
        }
    }

    /// The open time of breakers may be over.
    pub fn try_breakers(&mut self, now: u64) {
        for group in self.groups.values_mut() {
            if matches!(group.breaker, Circuit::Open(until) if until <= now) {
                group.breaker = Circuit::HalfOpen;
            }
        }
    }

    /// Whether a group gets deliveries.
    pub fn delivers(&self, group: u32) -> bool {
        let group = &self.groups[&group];
        !group.setting.paused && !matches!(group.breaker, Circuit::Open(_))
    }
}

/// What is told of a breaker.
pub fn told(breaker: &Circuit) -> BreakerState {
    match breaker {
        Circuit::Closed(..) => BreakerState::Closed,
        Circuit::Open(until) => BreakerState::Open { until: *until },
        Circuit::HalfOpen => BreakerState::HalfOpen,
    }
}
