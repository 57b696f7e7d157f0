//! Pages of a walk through a queue: which shard comes next, and the token that says so.
//!
//! A walk goes through the shards in order of their numbers, in each through its partitions in
//! order, and in each of those as the state machine says.

use std::fmt::Write as _;

use bytes::Bytes;
use roadstead_proto::v1::WalkPlace;

use super::ApiError;
use super::shards::QueueInfo;
use crate::raft::types::GroupId;

/// A shard that a walk has to go through, and from where on.
pub type Station = (GroupId, Option<WalkPlace>);

/// The shards that are left, from the token's place on; of `only` one partition the one.
pub fn stations(
    info: &QueueInfo,
    token: &str,
    only: Option<u32>,
) -> Result<Vec<Station>, ApiError> {
    let place = read(info, token)?;
    if let Some(only) = only.filter(|only| *only >= info.partitions()) {
        let message = format!(
            "filter.partition is {only}, and the queue has {} partitions: 0..{}",
            info.partitions(),
            info.partitions() - 1
        );
        return Err(ApiError::invalid("filter.partition", message).about(info.reference()));
    }
    let only: Vec<u32> = only.into_iter().collect();
    let shards = info.by_shard(&only).into_iter().map(|(shard, _)| shard);
    let Some(place) = place else {
        return Ok(shards.map(|shard| (shard, None)).collect());
    };
    let begun = info.shard(place.partition);
    let left = shards.filter(|shard| Some(*shard) >= begun);
    let station = |shard| (shard, Some(place.clone()).filter(|_| Some(shard) == begun));
    Ok(left.map(station).collect())
}

/// The token of the page that goes on at a place; `None` where the walk is over.
pub fn token(info: &QueueInfo, place: Option<&WalkPlace>) -> String {
    let Some(place) = place else {
        return String::new();
    };
    let mut token = format!("{}.{}.", info.id(), place.partition);
    for byte in &place.walk {
        let _ = write!(token, "{byte:02x}");
    }
    token
}

/// The beginning of a shard.
pub fn beginning(info: &QueueInfo, shard: GroupId) -> WalkPlace {
    let mut partitions = 0..info.partitions();
    let first = partitions.find(|partition| info.shard(*partition) == Some(shard));
    WalkPlace {
        partition: first.unwrap_or(0),
        walk: Bytes::new(),
    }
}

fn read(info: &QueueInfo, token: &str) -> Result<Option<WalkPlace>, ApiError> {
    if token.is_empty() {
        return Ok(None);
    }
    let place = parse(info, token).ok_or_else(|| {
        let message = "page_token is not one that a page of this queue was answered with";
        ApiError::invalid("page_token", message).about(info.reference())
    })?;
    Ok(Some(place))
}

fn parse(info: &QueueInfo, token: &str) -> Option<WalkPlace> {
    let mut parts = token.splitn(3, '.');
    let queue: u64 = parts.next()?.parse().ok()?;
    let partition: u32 = parts.next()?.parse().ok()?;
    let hex = parts.next()?;
    let is_hex = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    if queue != info.id() || partition >= info.partitions() || !is_hex {
        return None;
    }
    let pairs = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair)
            .ok()
            .filter(|text| text.len() == 2)?;
        u8::from_str_radix(text, 16).ok()
    };
    let walk: Option<Vec<u8>> = pairs.map(byte).collect();
    Some(WalkPlace {
        partition,
        walk: walk?.into(),
    })
}

#[cfg(test)]
mod tests {
    use roadstead_core::shard::PartitionConfig;
    use roadstead_proto::v1::Queue;

    use super::*;

    fn queue() -> QueueInfo {
        QueueInfo {
            queue: Queue {
                id: 7,
                shards: vec![3, 1, 3, 2],
                ..Queue::default()
            },
            config: PartitionConfig::default(),
            deleting: false,
        }
    }

    #[test]
    fn a_walk_goes_from_shard_to_shard_and_on_from_its_token() {
        let queue = queue();
        let shards = |token: &str, only| {
            let stations = stations(&queue, token, only).unwrap();
            let shown = stations.into_iter().map(|(shard, place)| {
                let place = place.map(|place| (place.partition, place.walk.to_vec()));
                (shard, place)
            });
            shown.collect::<Vec<_>>()
        };
        assert_eq!(shards("", None), [(1, None), (2, None), (3, None)]);
        let place = WalkPlace {
            partition: 3,
            walk: Bytes::from_static(&[1, 0xff]),
        };
        let token = token(&queue, Some(&place));
        assert_eq!(token, "7.3.01ff");
        assert_eq!(
            shards(&token, None),
            [(2, Some((3, vec![1, 0xff]))), (3, None)]
        );
        assert_eq!(shards("", Some(2)), [(3, None)]);
        assert_eq!(beginning(&queue, 3).partition, 0);
        assert_eq!(super::token(&queue, None), "");
    }

    #[test]
    fn what_is_no_token_of_this_queue_is_refused() {
        for wrong in [
            "x", "7.0", "8.0.", "7.4.", "7.0.f", "7.0.zz", "7.0.é1", "7..", "-7.0.", "7.0.+1",
        ] {
            let error = stations(&queue(), wrong, None).map(|_| wrong).unwrap_err();
            assert_eq!(error.code, tonic::Code::InvalidArgument, "{wrong}");
            assert_eq!(error.detail.field, "page_token");
        }
        let error = stations(&queue(), "", Some(4)).unwrap_err();
        assert_eq!(error.detail.field, "filter.partition");
    }
}
