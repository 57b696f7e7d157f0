//! What a queue may ask of priorities and tenants.

use std::collections::{BTreeMap, BTreeSet};

use super::spec::{Checks, QueueSpec};
use crate::codec::{Decoded, Put, Reader};
use crate::shard::{MAX_WEIGHT, MAX_WEIGHTS, Ordering, TenantWeight, key_hash};

/// Longest aging: 24 h in ms.
pub const MAX_AGING_MS: u64 = 24 * 3_600_000;
/// Aging where the queue does not say: 60 s in ms.
pub const DEFAULT_AGING_MS: u64 = 60_000;
/// Longest name of a tenant in bytes.
pub const MAX_TENANT_BYTES: usize = 128;

/// How many messages a tenant gets in a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantShare {
    /// Its name: 1..=128 bytes.
    pub tenant: String,
    /// 1..=1,000; a tenant that is not named has 1.
    pub weight: u32,
}

impl TenantShare {
    pub(super) fn encode_all(shares: &[Self], out: &mut Vec<u8>) {
        out.put_varint(shares.len() as u64);
        for share in shares {
            out.put_prefixed(share.tenant.as_bytes());
            out.put_varint(u64::from(share.weight));
        }
    }

    pub(super) fn decode_all(r: &mut Reader<'_>) -> Decoded<Vec<Self>> {
        let count = r.count(2, "number of weights")?;
        let read = |r: &mut Reader<'_>| {
            let tenant = r.text(MAX_TENANT_BYTES, "name of tenant")?;
            let weight = r.varint_u32("weight")?;
            Ok(Self { tenant, weight })
        };
        (0..count).map(|_| read(r)).collect()
    }

    /// What the partitions are told.
    pub(super) fn weights(shares: &[Self]) -> Vec<TenantWeight> {
        let weight = |share: &Self| TenantWeight {
            tenant: key_hash(share.tenant.as_bytes()),
            weight: share.weight,
        };
        let mut weights: Vec<_> = shares.iter().map(weight).collect();
        weights.sort_by_key(|weight| weight.tenant);
        weights
    }
}

impl Checks {
    pub(super) fn fairness(&mut self, spec: &QueueSpec) {
        self.time("priorities.aging", spec.aging_ms, 0, MAX_AGING_MS);
        let says_aging = ![0, DEFAULT_AGING_MS].contains(&spec.aging_ms);
        if spec.ordering == Ordering::Strict && says_aging && spec.aging_ms <= MAX_AGING_MS {
            let why = "with ordering Strict messages are received in the order in which they \
                       came, and a priority decides nothing: leave it out";
            self.add("priorities.aging", why.into());
        }
        let field = "fairness.weights";
        if spec.weights.len() > MAX_WEIGHTS {
            let count = spec.weights.len();
            self.add(field, format!("{count} tenants, at most {MAX_WEIGHTS}"));
        }
        if spec.ordering == Ordering::Strict && !spec.weights.is_empty() {
            let why = "with ordering Strict messages are received in the order in which they \
                       came, and tenants take no turns";
            self.add(field, why.into());
        }
        let mut names = BTreeSet::new();
        let mut hashes = BTreeMap::new();
        for TenantShare { tenant, weight } in &spec.weights {
            if !(1..=MAX_TENANT_BYTES).contains(&tenant.len()) {
                let len = tenant.len();
                let why = format!("a name of {len} bytes is not in 1..{MAX_TENANT_BYTES}");
                self.add(field, why);
            }
            self.range(field, u64::from(*weight), 1, u64::from(MAX_WEIGHT));
            if !names.insert(tenant) {
                self.add(field, format!("{tenant:?} is there twice"));
            } else if let Some(other) = hashes.insert(key_hash(tenant.as_bytes()), tenant) {
                let why = format!("{tenant:?} and {other:?} cannot be told apart: rename one");
                self.add(field, why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::validate;

    fn share(tenant: &str, weight: u32) -> TenantShare {
        TenantShare {
            tenant: tenant.into(),
            weight,
        }
    }

    fn fields(weights: Vec<TenantShare>) -> Vec<&'static str> {
        let spec = QueueSpec {
            weights,
            ..QueueSpec::default()
        };
        let violations = validate(&spec).err().unwrap_or_default();
        violations.iter().map(|v| v.field).collect()
    }

    #[test]
    fn tenants_are_named_once_and_weights_are_in_range() {
        let field = "fairness.weights";
        let long = "x".repeat(MAX_TENANT_BYTES);
        assert_eq!(fields(vec![share("a", 1), share(&long, 1_000)]), [""; 0]);
        for wrong in [share("", 1), share(&(long + "x"), 1)] {
            assert_eq!(fields(vec![wrong]), [field]);
        }
        assert_eq!(fields(vec![share("a", 0), share("b", 1_001)]), [field; 2]);
        assert_eq!(fields(vec![share("a", 1), share("a", 2)]), [field]);
        let many = |count| (0..count).map(|n| share(&n.to_string(), 1)).collect();
        assert_eq!(fields(many(MAX_WEIGHTS)), [""; 0]);
        assert_eq!(fields(many(MAX_WEIGHTS + 1)), [field]);
    }

    #[test]
    fn aging_has_a_bound_and_strict_order_knows_no_turns() {
        let spec = QueueSpec {
            ordering: Ordering::Strict,
            aging_ms: MAX_AGING_MS + 1,
            weights: vec![share("a", 2)],
            ..QueueSpec::default()
        };
        let violations = validate(&spec).expect_err("it is wrong");
        let fields: Vec<_> = violations.iter().map(|v| v.field).collect();
        assert_eq!(fields, ["priorities.aging", "fairness.weights"]);
        assert_eq!(violations[0].message, "86400001ms is not in 0s..24h");
    }

    #[test]
    fn a_strict_order_has_no_aging_but_the_default() {
        let of = |ordering, aging_ms| {
            let spec = QueueSpec {
                ordering,
                aging_ms,
                ..QueueSpec::default()
            };
            validate(&spec).is_ok()
        };
        for aging in [0, DEFAULT_AGING_MS] {
            assert!(of(Ordering::Strict, aging));
        }
        assert!(!of(Ordering::Strict, 5_000) && of(Ordering::PerKey, 5_000));
    }

    #[test]
    fn partitions_hear_of_tenants_in_order_of_their_hashes() {
        let shares = ["a", "b", "c", "d"].map(|name| share(name, 7));
        let weights = TenantShare::weights(&shares);
        assert!(TenantWeight::may_be(&weights));
        assert_eq!(weights.len(), 4);
        assert!(weights.contains(&TenantWeight {
            tenant: key_hash(b"c"),
            weight: 7
        }));
    }
}
