//! What a queue may ask of deduplication, and what of it cannot change in place.

use super::reply::Refusal;
use super::spec::{Checks, QueueSpec};
use crate::shard::{Deduplication, DeduplicationScope, Ordering};

/// Shortest deduplication window: 1 s in ms.
pub const MIN_WINDOW_MS: u64 = 1_000;
/// Longest deduplication window: 24 h in ms.
pub const MAX_WINDOW_MS: u64 = 24 * 3_600_000;
/// How long an id is remembered where the queue does not say: 5 min in ms, as SQS has it.
pub const DEFAULT_WINDOW_MS: u64 = 300_000;
/// Ids of a queue that are remembered at one time at most: 1.1 GB of rows on each replica.
pub const MAX_IDS: u64 = 10_000_000;
/// Ids of a queue that are remembered, where it does not say.
pub const DEFAULT_IDS: u64 = 1_000_000;

impl Checks {
    pub(super) fn deduplication(&mut self, spec: &QueueSpec) {
        let Some(setting) = &spec.deduplication else {
            return;
        };
        let Deduplication {
            window_ms, max_ids, ..
        } = *setting;
        let field = "deduplication.window";
        self.time(field, window_ms, MIN_WINDOW_MS, MAX_WINDOW_MS);
        self.range("deduplication.max_ids", max_ids, 1, MAX_IDS);
        let partitions = u64::from(spec.partitions);
        self.share("deduplication.max_ids", max_ids, partitions);
        let in_queue = setting.scope == DeduplicationScope::Queue;
        if in_queue && spec.ordering == Ordering::PerKey && spec.partitions > 1 {
            let why = "scope Queue needs 1 partition where ordering is PerKey: messages go to \
                       partitions by their keys, so an id is known among those of its key only; \
                       use scope Key";
            self.add("deduplication.scope", why.into());
        }
    }
}

/// Refuses a change after which ids would be looked for where nothing remembers them.
pub(super) fn changeable(old: &QueueSpec, new: &QueueSpec) -> Result<(), Refusal> {
    let (Some(before), Some(after)) = (&old.deduplication, &new.deduplication) else {
        return Ok(());
    };
    if before.scope != after.scope {
        let why = "ids are remembered in the other scope: take deduplication away first";
        return Err(Refusal::Immutable {
            field: "deduplication.scope",
            why,
        });
    }
    // With order by key, partitions that a key had before are asked for as long as they remember.
    if old.partitions != new.partitions && old.ordering != Ordering::PerKey {
        let why = "ids would be looked for in other partitions than those that remember them: \
                   take deduplication away first";
        return Err(Refusal::Immutable {
            field: "partitions",
            why,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::spec::validate;
    use crate::codec::Reader;
    use crate::shard::DeduplicateBy;

    const SETTING: Deduplication = Deduplication {
        by: DeduplicateBy::Id,
        scope: DeduplicationScope::Queue,
        window_ms: DEFAULT_WINDOW_MS,
        max_ids: DEFAULT_IDS,
    };

    fn spec(setting: Deduplication) -> QueueSpec {
        QueueSpec {
            deduplication: Some(setting),
            ..QueueSpec::default()
        }
    }

    fn fields(spec: &QueueSpec) -> Vec<&'static str> {
        let violations = validate(spec).err().unwrap_or_default();
        violations.iter().map(|v| v.field).collect()
    }

    #[test]
    fn window_and_cap_have_bounds() {
        for window_ms in [MIN_WINDOW_MS, MAX_WINDOW_MS] {
            let setting = Deduplication {
                window_ms,
                ..SETTING
            };
            assert_eq!(fields(&spec(setting)), [""; 0]);
        }
        let short = Deduplication {
            window_ms: MIN_WINDOW_MS - 1,
            max_ids: 0,
            ..SETTING
        };
        let both = ["deduplication.window", "deduplication.max_ids"];
        assert_eq!(fields(&spec(short)), both);
        let long = Deduplication {
            window_ms: MAX_WINDOW_MS + 1,
            max_ids: MAX_IDS + 1,
            ..SETTING
        };
        assert_eq!(fields(&spec(long)), both);
        let few = QueueSpec {
            partitions: 8,
            ..spec(Deduplication {
                max_ids: 7,
                ..SETTING
            })
        };
        assert_eq!(fields(&few), ["deduplication.max_ids"]);
    }

    #[test]
    fn a_specification_with_it_comes_back() {
        let mut out = Vec::new();
        spec(SETTING).encode(&mut out);
        let read = QueueSpec::decode(&mut Reader::new(&out));
        assert_eq!(read, Ok(spec(SETTING)));
        out[0] = 2;
        assert!(QueueSpec::decode(&mut Reader::new(&out)).is_err());
    }

    #[test]
    fn the_scope_of_a_queue_needs_one_partition_where_keys_are_ordered() {
        use DeduplicationScope::{Key, Queue};
        let of = |ordering, partitions, scope| {
            let setting = Deduplication { scope, ..SETTING };
            fields(&QueueSpec {
                partitions,
                ordering,
                ..spec(setting)
            })
        };
        assert_eq!(of(Ordering::PerKey, 2, Queue), ["deduplication.scope"]);
        assert_eq!(of(Ordering::PerKey, 1, Queue), [""; 0]);
        assert_eq!(of(Ordering::PerKey, 2, Key), [""; 0]);
        assert_eq!(of(Ordering::None, 2, Queue), [""; 0]);
    }

    #[test]
    fn what_remembers_an_id_stays_where_it_is() {
        let field = |old: &QueueSpec, new: &QueueSpec| match changeable(old, new) {
            Err(Refusal::Immutable { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        let (one, none) = (spec(SETTING), QueueSpec::default());
        let more = |of: &QueueSpec| QueueSpec {
            partitions: 2,
            ..of.clone()
        };
        assert_eq!(field(&one, &more(&one)), "partitions");
        let by_key = spec(Deduplication {
            scope: DeduplicationScope::Key,
            ..SETTING
        });
        assert_eq!(field(&one, &by_key), "deduplication.scope");
        let longer = spec(Deduplication {
            window_ms: MAX_WINDOW_MS,
            by: DeduplicateBy::Content,
            ..SETTING
        });
        let keyed = QueueSpec {
            ordering: Ordering::PerKey,
            ..by_key
        };
        for (old, new) in [
            (&one, &longer),
            (&none, &more(&one)),
            (&one, &more(&none)),
            (&keyed, &more(&keyed)),
        ] {
            assert!(changeable(old, new).is_ok());
        }
    }
}
