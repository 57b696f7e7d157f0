//! Who receives from a queue, and who of them is drained, over the shards of the queue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use roadstead_proto::v1::consumer_selector::By;
use roadstead_proto::v1::shard_call::Call;
use roadstead_proto::v1::shard_reply::Reply;
use roadstead_proto::v1::{
    ConsumerSelector, DrainConsumersRequest, DrainConsumersResponse, ListConsumersRequest,
    ListConsumersResponse, QueueConsumer, QueueRef, ShardConsumers, ShardDrainConsumers,
    ShardListConsumers,
};

use super::groups::Named;
use super::queues::odd_answer;
use super::{ApiError, Gateway, PATIENCE, validate};
use crate::auth::{Action, Principal};
use crate::runtime::Runtime;
use crate::shard::drains::{DRAIN_MAX_MS, SELECTOR_MAX};
use crate::shard::merge_consumer;
use crate::shard::wire::millis;

const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 1_000;
/// A shard that does not answer is left out after this.
const LIST_PATIENCE: Duration = Duration::from_secs(2);
const DRAIN_DEFAULT_MS: u64 = 600_000;
/// Selectors that are named where it is logged who was drained.
const LOGGED_MAX: usize = 10;

impl<R: Runtime> Gateway<R> {
    /// The sessions of a consumer group, a page at a time.
    pub async fn list_consumers(
        &self,
        principal: &Principal,
        request: ListConsumersRequest,
    ) -> Result<ListConsumersResponse, ApiError> {
        let meant = Named::only(request.queue.as_ref(), &request.group);
        let (info, group_id) = self
            .queue_and_group(principal, Action::ListConsumers, meant)
            .await?;
        let max = validate::count("page_size", request.page_size, PAGE_DEFAULT, PAGE_MAX)?;
        let shards = info.by_shard(&[]);
        let asked = shards.iter().map(|(shard, _)| {
            let list = ShardListConsumers {
                queue_id: info.id(),
                queue: Some(info.reference().clone()),
                group_id,
                after: request.page_token.clone(),
                max_consumers: max,
            };
            let answer = self.ask(principal, *shard, Call::ListConsumers(list), LIST_PATIENCE);
            // A leader that finds no majority does not answer, also when it is this node.
            R::timeout(LIST_PATIENCE, answer)
        });
        let (mut pages, mut partitions_unavailable) = (Vec::new(), 0);
        for ((_, partitions), answer) in shards.iter().zip(join_all(asked).await) {
            match answer {
                Ok(Ok(Reply::Consumers(page))) => pages.push(page),
                _ => partitions_unavailable += partitions.len() as u32,
            }
        }
        let (consumers, next_page_token) = page(pages, max as usize);
        Ok(ListConsumersResponse {
            consumers,
            next_page_token,
            partitions_unavailable,
        })
    }

    /// Drains consumers of a group, or takes that back.
    pub async fn drain_consumers(
        &self,
        principal: &Principal,
        request: DrainConsumersRequest,
    ) -> Result<DrainConsumersResponse, ApiError> {
        let meant = Named::only(request.queue.as_ref(), &request.group);
        let (info, group_id) = self
            .queue_and_group(principal, Action::DrainConsumers, meant)
            .await?;
        let about = |error: ApiError| error.about(info.reference());
        selectors(&request.selectors).map_err(about)?;
        let duration = drained("duration", request.duration.as_ref()).map_err(about)?;
        let for_ms = match (request.drain, duration) {
            (true, duration) => duration.unwrap_or(DRAIN_DEFAULT_MS),
            (false, _) => 0,
        };
        let asked = info.by_shard(&[]).into_iter().map(|(shard, _)| {
            let drain = ShardDrainConsumers {
                queue_id: info.id(),
                queue: Some(info.reference().clone()),
                group_id,
                selectors: request.selectors.clone(),
                duration_ms: for_ms as u32,
            };
            let answer = self.ask(principal, shard, Call::DrainConsumers(drain), PATIENCE);
            async move { (shard, answer.await) }
        });
        let mut sessions = BTreeSet::new();
        for (shard, answer) in join_all(asked).await {
            let Reply::Drained(drained) = answer? else {
                return Err(odd_answer(shard));
            };
            sessions.extend(drained.sessions);
        }
        let consumers = sessions.len() as u32;
        let QueueRef { namespace, name } = info.reference();
        let (queue, group) = (format!("{namespace}/{name}"), &request.group);
        let who = named(&request.selectors);
        if request.drain {
            tracing::info!(%principal, queue, group, who, consumers, for_ms, "consumers drained");
        } else {
            tracing::info!(%principal, queue, group, who, consumers, "consumers not drained");
        }
        Ok(DrainConsumersResponse { consumers })
    }
}

/// How long a consumer is drained, in milliseconds; None: it was not said.
pub(super) fn drained(
    field: &str,
    duration: Option<&prost_types::Duration>,
) -> Result<Option<u64>, ApiError> {
    let Some(duration) = duration else {
        return Ok(None);
    };
    if let Some(ms @ 1..=DRAIN_MAX_MS) = millis(duration) {
        return Ok(Some(ms));
    }
    let message = format!("{field} is not within 1..{DRAIN_MAX_MS} ms");
    Err(ApiError::invalid(field, message))
}

fn selectors(selectors: &[ConsumerSelector]) -> Result<(), ApiError> {
    validate::batch("selectors", selectors.len())?;
    for (index, selector) in selectors.iter().enumerate() {
        let (field, value) = match &selector.by {
            None => {
                let message = "by is missing: name, pod_uid or session_id";
                return Err(ApiError::invalid(
                    &format!("selectors[{index}].by"),
                    message,
                ));
            }
            Some(By::Name(name)) => ("name", name),
            Some(By::PodUid(uid)) => ("pod_uid", uid),
            Some(By::SessionId(session)) => ("session_id", session),
        };
        if value.is_empty() || value.len() > SELECTOR_MAX {
            let message = format!(
                "{field} has {} bytes, allowed are 1..{SELECTOR_MAX}",
                value.len()
            );
            let field = format!("selectors[{index}].{field}");
            return Err(ApiError::invalid(&field, message));
        }
    }
    Ok(())
}

fn named(selectors: &[ConsumerSelector]) -> String {
    let text = |selector: &ConsumerSelector| match &selector.by {
        Some(By::Name(name)) => name.clone(),
        Some(By::PodUid(uid)) => format!("pod {uid}"),
        Some(By::SessionId(session)) => format!("session {session}"),
        None => String::new(),
    };
    let first: Vec<_> = selectors.iter().take(LOGGED_MAX).map(text).collect();
    let others = selectors.len() - first.len();
    let first = first.join(", ");
    match others {
        0 => first,
        _ => format!("{first} and {others} others"),
    }
}

/// Joins what shards say of sessions. Behind the last one of a shard that has more nothing is
/// complete.
fn page(shards: Vec<ShardConsumers>, max: usize) -> (Vec<QueueConsumer>, String) {
    let ends = shards.iter().filter(|shard| shard.more);
    let ends = ends.filter_map(|shard| shard.consumers.last());
    let end = ends.map(|last| last.session_id.clone()).min();
    let mut all = BTreeMap::<String, QueueConsumer>::new();
    for one in shards.into_iter().flat_map(|shard| shard.consumers) {
        match all.get_mut(&one.session_id) {
            Some(sum) => merge_consumer(sum, &one),
            None => drop(all.insert(one.session_id.clone(), one)),
        }
    }
    let known = all.len();
    let complete = |one: &QueueConsumer| end.as_ref().is_none_or(|end| one.session_id <= *end);
    let consumers: Vec<_> = all.into_values().take_while(complete).take(max).collect();
    let last = consumers.last().map(|last| last.session_id.clone());
    let more = end.is_some() || consumers.len() < known;
    let next = last.filter(|_| more).unwrap_or_default();
    (consumers, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(sessions: &[&str], more: bool) -> ShardConsumers {
        let one = |session: &&str| QueueConsumer {
            session_id: (*session).to_owned(),
            in_flight: 1,
            idle_ms: if more { 7 } else { 9 },
            ..QueueConsumer::default()
        };
        ShardConsumers {
            consumers: sessions.iter().map(one).collect(),
            more,
        }
    }

    #[test]
    fn a_page_ends_where_a_shard_says_no_more() {
        let of = |shards: Vec<ShardConsumers>, max| {
            let (consumers, next) = page(shards, max);
            let seen = consumers
                .iter()
                .map(|one| (one.session_id.clone(), one.in_flight));
            (seen.collect::<Vec<_>>(), next)
        };
        let seen = |all: &[(&str, u32)]| -> Vec<(String, u32)> {
            all.iter()
                .map(|(one, count)| ((*one).to_owned(), *count))
                .collect()
        };
        let all = || vec![shard(&["a", "b"], false), shard(&["b", "c"], false)];
        assert_eq!(
            of(all(), 3),
            (seen(&[("a", 1), ("b", 2), ("c", 1)]), String::new())
        );
        assert_eq!(of(all(), 2), (seen(&[("a", 1), ("b", 2)]), "b".to_owned()));
        let cut = vec![shard(&["a", "b"], true), shard(&["a", "d"], false)];
        assert_eq!(of(cut, 10), (seen(&[("a", 2), ("b", 1)]), "b".to_owned()));
        assert_eq!(of(Vec::new(), 2), (Vec::new(), String::new()));
    }

    #[test]
    fn selectors_and_times_are_bounded() {
        let named = |by| ConsumerSelector { by: Some(by) };
        let of = |all: &[ConsumerSelector]| selectors(all).map_err(|error| error.detail.field);
        let good = [named(By::Name("a".into())), named(By::PodUid("b".into()))];
        assert_eq!(of(&good), Ok(()));
        assert_eq!(of(&[]), Err("selectors".into()));
        let many = vec![good[0].clone(); 1_001];
        assert_eq!(of(&many), Err("selectors".into()));
        assert_eq!(of(&many[1..]), Ok(()));
        let none = ConsumerSelector { by: None };
        assert_eq!(of(&[good[0].clone(), none]), Err("selectors[1].by".into()));
        let long = named(By::SessionId("s".repeat(254)));
        assert_eq!(of(&[long]), Err("selectors[0].session_id".into()));
        let empty = named(By::Name(String::new()));
        assert_eq!(of(&[empty]), Err("selectors[0].name".into()));
        let for_time = |seconds, nanos| {
            let duration = prost_types::Duration { seconds, nanos };
            drained("duration", Some(&duration)).ok()
        };
        assert_eq!(for_time(3_600, 0), Some(Some(3_600_000)));
        assert_eq!(for_time(0, 1), Some(Some(1)));
        assert_eq!(
            (for_time(3_600, 1), for_time(0, 0), for_time(-1, 0)),
            (None, None, None)
        );
    }
}
