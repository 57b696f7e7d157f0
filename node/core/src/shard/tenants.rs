//! Tenants take turns: how many messages each may have before it is the next one's.

use super::lines::{decode, encode};
use super::stream::Stream;
use crate::codec::{Decoded, Put, Reader};

/// Tenants with a weight of their own, per queue at most.
pub const MAX_WEIGHTS: usize = 100;
/// The highest weight.
pub const MAX_WEIGHT: u32 = 1_000;

/// How many messages a tenant gets in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantWeight {
    /// [`crate::shard::key_hash`] of the tenant's name, not 0.
    pub tenant: u64,
    /// 1..=[`MAX_WEIGHT`]; a tenant that is not named has 1.
    pub weight: u32,
}

impl TenantWeight {
    pub(crate) fn encode_all(weights: &[Self], out: &mut Vec<u8>) {
        out.put_varint(weights.len() as u64);
        for of in weights {
            out.put_u64(of.tenant);
            out.put_varint(u64::from(of.weight));
        }
    }

    pub(crate) fn decode_all(r: &mut Reader<'_>) -> Decoded<Vec<Self>> {
        let count = r.count(9, "number of weights")?;
        let mut weights = Vec::with_capacity(count);
        for _ in 0..count {
            weights.push(Self {
                tenant: r.u64("tenant")?,
                weight: r.varint_u32("weight")?,
            });
        }
        Ok(weights)
    }

    /// Whether a queue may have these: the tenants rise, and neither they nor their weights are too
    /// many.
    pub(crate) fn may_be(weights: &[Self]) -> bool {
        let in_range = |of: &Self| of.tenant != 0 && (1..=MAX_WEIGHT).contains(&of.weight);
        let rise = weights.windows(2).all(|two| two[0].tenant < two[1].tenant);
        rise && weights.len() <= MAX_WEIGHTS && weights.iter().all(in_range)
    }

    /// The weight of a stream's tenant. Where two share a stream, the higher one.
    pub(crate) fn of_stream(weights: &[Self], stream: Stream) -> u64 {
        let same = |of: &&Self| Stream::new(stream.lane(), of.tenant) == stream;
        let own = weights.iter().filter(same).map(|of| of.weight).max();
        u64::from(own.unwrap_or(1))
    }
}

/// Whose turn it is in a lane, and how many messages it may take yet; where keys are sticky, which
/// slots had their turn in this round, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Turn {
    pub(crate) stream: Stream,
    pub(crate) left: u64,
}

impl Turn {
    pub(crate) fn encode(self) -> Vec<u8> {
        encode(&[u64::from(self.stream.number()), self.left])
    }

    pub(crate) fn decode(value: &[u8]) -> Decoded<Self> {
        let [stream, left] = decode(value)?;
        Ok(Self {
            stream: Stream::of(stream as u32),
            left,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_and_turns_come_back_and_their_bytes_are_frozen() {
        let weights = [(5, 3), (0x0102, 300)];
        let weights = weights.map(|(tenant, weight)| TenantWeight { tenant, weight });
        let mut bytes = Vec::new();
        TenantWeight::encode_all(&weights, &mut bytes);
        let expected = [
            2, 0, 0, 0, 0, 0, 0, 0, 5, 3, 0, 0, 0, 0, 0, 0, 1, 2, 0xac, 2,
        ];
        assert_eq!(bytes, expected);
        let mut r = Reader::new(&bytes);
        assert_eq!(TenantWeight::decode_all(&mut r), Ok(weights.to_vec()));
        assert!(TenantWeight::decode_all(&mut Reader::new(&bytes[..9])).is_err());
        let turn = Turn {
            stream: Stream::new(1, 4),
            left: 7,
        };
        assert_eq!(turn.encode(), [1, 0x85, 0x80, 0x80, 8, 7]);
        assert_eq!(Turn::decode(&turn.encode()), Ok(turn));
    }

    #[test]
    fn weights_rise_by_tenant_and_are_in_range() {
        let of = |tenant, weight| TenantWeight { tenant, weight };
        assert!(TenantWeight::may_be(&[]));
        assert!(TenantWeight::may_be(&[of(1, 1), of(2, MAX_WEIGHT)]));
        for wrong in [
            &[of(2, 1), of(1, 1)][..],
            &[of(1, 1), of(1, 1)],
            &[of(0, 1)],
            &[of(1, 0)],
            &[of(1, MAX_WEIGHT + 1)],
        ] {
            assert!(!TenantWeight::may_be(wrong), "{wrong:?}");
        }
        let many: Vec<_> = (1..=101).map(|tenant| of(tenant, 1)).collect();
        assert!(!TenantWeight::may_be(&many) && TenantWeight::may_be(&many[1..]));
    }

    #[test]
    fn a_tenant_that_is_not_named_has_the_weight_1() {
        let weights = [(5, 3), (9, 4)].map(|(tenant, weight)| TenantWeight { tenant, weight });
        for (tenant, weight) in [(5, 3), (9, 4), (7, 1), (0, 1)] {
            let stream = Stream::new(2, tenant);
            assert_eq!(TenantWeight::of_stream(&weights, stream), weight);
        }
        assert_eq!(
            TenantWeight::of_stream(&weights, Stream::new(2, 5).others()),
            1
        );
    }
}
