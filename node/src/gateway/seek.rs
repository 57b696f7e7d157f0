//! Lets a consumer group begin with another message, over the shards of a queue.

use std::time::Duration;

use futures_util::future::join_all;
use roadstead_proto::v1::seek_group_request::To;
use roadstead_proto::v1::shard_call::Call;
use roadstead_proto::v1::shard_reply::Reply;
use roadstead_proto::v1::{
    SeekGroupRequest, SeekGroupResponse, SeekPosition, ShardSeek, shard_seek,
};

use super::groups::Named;
use super::messages::check_partition;
use super::queues::odd_answer;
use super::validate::known;
use super::{ApiError, Gateway};
use crate::auth::{Action, Principal};
use crate::runtime::Runtime;

const SEEK_PATIENCE: Duration = Duration::from_mins(1);

impl<R: Runtime> Gateway<R> {
    /// Lets a consumer group begin with another message.
    pub async fn seek_group(
        &self,
        principal: &Principal,
        request: SeekGroupRequest,
    ) -> Result<SeekGroupResponse, ApiError> {
        let meant = Named::only(request.queue.as_ref(), &request.group);
        let (info, group_id) = self
            .queue_and_group(principal, Action::SeekGroup, meant)
            .await?;
        let about = |error: ApiError| error.about(info.reference());
        check_partition(&info, request.partition).map_err(about)?;
        let to = target(&request).map_err(about)?;
        let only: Vec<u32> = request.partition.into_iter().collect();
        let shards = info.by_shard(&only);
        let asked = shards.into_iter().map(|(shard, partitions)| {
            let seek = ShardSeek {
                queue_id: info.id(),
                queue: Some(info.reference().clone()),
                group_id,
                partitions,
                to: Some(to),
            };
            let answer = self.ask(principal, shard, Call::Seek(seek), SEEK_PATIENCE);
            async move { (shard, answer.await) }
        });
        let mut sum = SeekGroupResponse {
            messages: 0,
            done: true,
        };
        for (shard, answer) in join_all(asked).await {
            let Reply::Seek(sought) = answer? else {
                return Err(odd_answer(shard));
            };
            sum.messages += sought.messages;
            sum.done &= sought.done;
        }
        let (queue, group) = (info.reference().to_string(), &request.group);
        tracing::info!(%principal, queue, group, ?to, messages = sum.messages, "group sought");
        Ok(sum)
    }
}

/// Where the group shall begin.
fn target(request: &SeekGroupRequest) -> Result<shard_seek::To, ApiError> {
    match request.to {
        None => {
            let message = "to is missing: name a position, a sequence or a time";
            Err(ApiError::invalid("to", message))
        }
        Some(To::Position(position)) => match known("position", position)? {
            SeekPosition::Unspecified => {
                let message = "position is unspecified: BEGINNING or END";
                Err(ApiError::invalid("position", message))
            }
            SeekPosition::Beginning | SeekPosition::End => Ok(shard_seek::To::Position(position)),
        },
        Some(To::Sequence(_)) if request.partition.is_none() => {
            let message = "partition is missing: each partition has sequences of its own";
            Err(ApiError::invalid("partition", message))
        }
        Some(To::Sequence(sequence)) => Ok(shard_seek::To::Sequence(sequence)),
        Some(To::Time(time)) => {
            let seconds = u64::try_from(time.seconds);
            let nanos = u64::try_from(time.nanos);
            let (Ok(seconds), Ok(nanos)) = (seconds, nanos) else {
                let message = "time is before 1970";
                return Err(ApiError::invalid("time", message));
            };
            // Rounded up: what came before it is not meant.
            let ms = seconds.saturating_mul(1_000);
            let ms = ms.saturating_add(nanos.div_ceil(1_000_000));
            Ok(shard_seek::To::TimeMs(ms))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_where_to_begin() {
        let of = |to, partition| {
            let request = SeekGroupRequest {
                to,
                partition,
                ..SeekGroupRequest::default()
            };
            target(&request).map_err(|error| error.detail.field)
        };
        let position = |position: SeekPosition| Some(To::Position(position.into()));
        let end = SeekPosition::End;
        let sought = shard_seek::To::Position(end.into());
        assert_eq!(of(position(end), None), Ok(sought));
        let unspecified = position(SeekPosition::Unspecified);
        assert_eq!(of(unspecified, None), Err("position".into()));
        assert_eq!(of(Some(To::Position(9)), None), Err("position".into()));
        assert_eq!(of(None, None), Err("to".into()));
        let sequence = Some(To::Sequence(7));
        assert_eq!(of(sequence, None), Err("partition".into()));
        assert_eq!(of(sequence, Some(1)), Ok(shard_seek::To::Sequence(7)));
        let time = |seconds, nanos| Some(To::Time(prost_types::Timestamp { seconds, nanos }));
        assert_eq!(of(time(2, 1), None), Ok(shard_seek::To::TimeMs(2_001)));
        assert_eq!(of(time(-1, 0), None), Err("time".into()));
    }
}
