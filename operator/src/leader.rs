//! Which of several operators acts: the holder of a Lease.
//!
//! Whether another's lease is over is judged by how long it has not changed in our own eyes, never
//! by comparing clocks. Each change of holder raises `leaseTransitions`; it goes with every order
//! to a node, so that an operator that lost its lease and does not know it yet is refused.
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use tracing::{info, warn};

use crate::error::{is_conflict, is_missing};

const DURATION: Duration = Duration::from_secs(15);
const GIVE_UP: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(2);

/// The Lease that operators compete for.
pub struct LeaseLock {
    api: Api<Lease>,
    name: String,
    identity: String,
}

/// Someone else's lease as it was last seen to change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    version: String,
    since: Instant,
}

/// What can be done with the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// Nobody holds it, or its time is over.
    Take,
    /// We hold it.
    Ours,
    /// Someone else holds it.
    Wait(Seen),
}

impl LeaseLock {
    /// The Lease `namespace/name`, wanted by `identity`.
    pub fn new(client: &Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
        }
    }

    /// Waits until the lease is ours; returns its number of transitions, at least 1.
    pub async fn acquire(&self) -> u64 {
        let mut seen = None;
        loop {
            match self.try_acquire(&mut seen).await {
                Ok(Some(fence)) => {
                    info!(lease = self.name, fence, "leads");
                    return fence;
                }
                Ok(None) => {}
                Err(error) => {
                    warn!(lease = self.name, %error, "cannot take the lease; trying again");
                }
            }
            tokio::time::sleep(crate::backoff::jitter(PAUSE)).await;
        }
    }

    async fn try_acquire(&self, seen: &mut Option<Seen>) -> Result<Option<u64>, kube::Error> {
        let lease = match self.api.get(&self.name).await {
            Ok(lease) => Some(lease),
            Err(error) if is_missing(&error) => None,
            Err(error) => return Err(error),
        };
        match judge(lease.as_ref(), &self.identity, seen.take(), Instant::now()) {
            Verdict::Wait(now) => {
                *seen = Some(now);
                Ok(None)
            }
            Verdict::Take | Verdict::Ours => self.write(lease, true).await,
        }
    }

    /// Renews the lease until it is lost.
    pub async fn hold(&self, fence: u64) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < GIVE_UP {
            tokio::time::sleep(PAUSE).await;
            match tokio::time::timeout(PAUSE, self.renew()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => {
                    warn!(lease = self.name, fence, "another operator took the lease");
                    return;
                }
                Ok(Err(error)) => warn!(lease = self.name, %error, "cannot renew the lease"),
                Err(_) => warn!(lease = self.name, "the API server does not answer"),
            }
        }
        warn!(
            lease = self.name,
            fence, "the lease could not be renewed in time"
        );
    }

    async fn renew(&self) -> Result<bool, kube::Error> {
        let lease = self.api.get(&self.name).await?;
        let holder = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref());
        if holder != Some(&self.identity) {
            return Ok(false);
        }
        self.write(Some(lease), true)
            .await
            .map(|fence| fence.is_some())
    }

    /// Gives the lease back, so that another can take it at once.
    pub async fn release(&self) {
        let released = async {
            let lease = self.api.get(&self.name).await?;
            self.write(Some(lease), false).await
        };
        if let Err(error) = released.await {
            warn!(lease = self.name, %error, "cannot give the lease back; it ends by itself");
        }
    }

    /// Writes the lease as ours (or as nobody's); `None` when another writer was faster.
    async fn write(&self, lease: Option<Lease>, ours: bool) -> Result<Option<u64>, kube::Error> {
        let exists = lease.is_some();
        let mut lease = lease.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            ..Lease::default()
        });
        let spec = lease.spec.get_or_insert_default();
        claim(
            spec,
            ours.then_some(self.identity.as_str()),
            jiff::Timestamp::now(),
        );
        let fence = spec.lease_transitions.unwrap_or(1);
        let params = PostParams::default();
        let written = if exists {
            self.api.replace(&self.name, &params, &lease).await
        } else {
            self.api.create(&params, &lease).await
        };
        match written {
            Ok(_) => Ok(Some(u64::try_from(fence).unwrap_or(1))),
            Err(error) if is_conflict(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn claim(spec: &mut LeaseSpec, holder: Option<&str>, now: jiff::Timestamp) {
    if let Some(holder) = holder
        && spec.holder_identity.as_deref() != Some(holder)
    {
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0) + 1);
        spec.acquire_time = Some(MicroTime(now));
    }
    spec.holder_identity = holder.map(str::to_owned);
    spec.renew_time = Some(MicroTime(now));
    spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
}

fn judge(lease: Option<&Lease>, me: &str, seen: Option<Seen>, now: Instant) -> Verdict {
    let Some(lease) = lease else {
        return Verdict::Take;
    };
    let spec = lease.spec.as_ref();
    match spec.and_then(|spec| spec.holder_identity.as_deref()) {
        None | Some("") => return Verdict::Take,
        Some(holder) if holder == me => return Verdict::Ours,
        Some(_) => {}
    }
    let version = lease.resource_version().unwrap_or_default();
    let seen = match seen {
        Some(seen) if seen.version == version => seen,
        _ => Seen {
            version,
            since: now,
        },
    };
    let seconds = spec
        .and_then(|spec| spec.lease_duration_seconds)
        .unwrap_or(0);
    let duration = u64::try_from(seconds).map_or(DURATION, Duration::from_secs);
    if now.duration_since(seen.since) > duration {
        Verdict::Take
    } else {
        Verdict::Wait(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, version: &str) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.resource_version = Some(version.into());
        claim(
            lease.spec.get_or_insert_default(),
            Some(holder),
            jiff::Timestamp::UNIX_EPOCH,
        );
        lease
    }

    #[test]
    fn another_lease_is_over_only_when_it_did_not_change_for_its_whole_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let wait = |verdict| match verdict {
            Verdict::Wait(seen) => Some(seen),
            other => panic!("{other:?}"),
        };
        let seen = wait(judge(Some(&lease("a", "1")), "b", None, at(0)));
        let seen = wait(judge(Some(&lease("a", "1")), "b", seen, at(15)));
        let seen = wait(judge(Some(&lease("a", "2")), "b", seen, at(16)));
        let seen = wait(judge(Some(&lease("a", "2")), "b", seen, at(31)));
        assert_eq!(
            judge(Some(&lease("a", "2")), "b", seen, at(32)),
            Verdict::Take
        );
    }

    #[test]
    fn free_and_own_leases() {
        let now = Instant::now();
        assert_eq!(judge(None, "a", None, now), Verdict::Take);
        assert_eq!(judge(Some(&lease("a", "1")), "a", None, now), Verdict::Ours);
        let mut free = lease("a", "1");
        claim(
            free.spec.as_mut().unwrap(),
            None,
            jiff::Timestamp::UNIX_EPOCH,
        );
        assert_eq!(judge(Some(&free), "b", None, now), Verdict::Take);
    }

    #[test]
    fn transitions_rise_only_with_the_holder() {
        let mut spec = LeaseSpec::default();
        let now = jiff::Timestamp::UNIX_EPOCH;
        let mut fences = Vec::new();
        for holder in [Some("a"), Some("a"), None, Some("a"), Some("b")] {
            claim(&mut spec, holder, now);
            fences.push(spec.lease_transitions.unwrap());
        }
        assert_eq!(fences, [1, 1, 1, 2, 3]);
    }
}
