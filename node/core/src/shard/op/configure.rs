//! Creates a partition or changes what it promises.

use crate::codec::{Decoded, Reader};
use crate::kv::KvError;
use crate::shard::config::{Ordering, PartitionConfig};
use crate::shard::id::{PartitionId, put_partition, read_partition};
use crate::shard::keys;
use crate::shard::partition::{Partition, Step};
use crate::shard::reply::{Refusal, Reply};
use crate::shard::tenants::TenantWeight;
use crate::shard::timer::Timer;

/// Creates a partition or replaces its configuration.
///
/// A configuration whose `revision` is not higher than the present one changes nothing, so it may
/// be said again at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configure {
    /// The partition.
    pub partition: PartitionId,
    /// What it promises from now on.
    pub config: PartitionConfig,
}

impl Configure {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_partition(out, self.partition);
        self.config.encode(out);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            partition: read_partition(r)?,
            config: PartitionConfig::decode(r)?,
        })
    }

    /// The partition as new; its configuration is written.
    pub(crate) fn create(self, step: &mut Step<'_>) -> Result<Result<Partition, Refusal>, KvError> {
        let mut partition = Partition::new(self.partition, self.config);
        if let Err(refusal) = check(&partition, &partition.config) {
            return Ok(Err(refusal));
        }
        partition.configure_groups(step)?;
        write(step, &partition);
        Ok(Ok(partition))
    }

    /// Changes a partition that is there.
    pub(crate) fn apply(self, p: &mut Partition, step: &mut Step<'_>) -> Result<Reply, KvError> {
        if self.config.revision <= p.config.revision {
            return Ok(Reply::Configured(false));
        }
        if self.config.ordering != p.config.ordering {
            return Ok(Reply::Refused(Refusal::OrderingFixed));
        }
        if self.config.sticky_keys != p.config.sticky_keys {
            return Ok(Reply::Refused(Refusal::StickyFixed));
        }
        if let Err(refusal) = check(p, &self.config) {
            return Ok(Reply::Refused(refusal));
        }
        let before = std::mem::replace(&mut p.config, self.config);
        write(step, p);
        if p.config.rate != before.rate {
            p.cut_rate(step.now);
        }
        if p.config.partitions != before.partitions {
            p.grown(step.now);
        }
        p.configure_groups(step)?;
        p.refile_expiry(step)?;
        if p.state.retained > 0 && p.config.retain_ms != before.retain_ms {
            p.file(step.kv, step.now, Timer::Retention(0));
        }
        Ok(Reply::Configured(true))
    }
}

fn check(p: &Partition, config: &PartitionConfig) -> Result<(), Refusal> {
    if !TenantWeight::may_be(&config.weights) {
        return Err(Refusal::BadWeights);
    }
    let by_key = config.ordering == Ordering::PerKey && config.weights.is_empty();
    if config.sticky_keys && !by_key {
        return Err(Refusal::BadSticky);
    }
    p.check_groups(&config.groups)
}

fn write(step: &mut Step<'_>, p: &Partition) {
    let mut row = Vec::new();
    p.config.encode(&mut row);
    step.kv.put(&keys::config(p.id()), row.into());
}
