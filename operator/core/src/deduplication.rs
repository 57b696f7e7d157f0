//! Deduplication: from Queue manifests to queues, and what of it cannot change in place.
use roadstead_crds as crds;
use roadstead_proto::v1;

use crate::queue::duration;
use crate::validate::Violation;

/// What the node is asked for; absent: the manifest asks for none.
pub(crate) fn specification(
    spec: &crds::QueueSpec,
) -> Result<Option<v1::Deduplication>, Violation> {
    let Some(setting) = &spec.deduplication else {
        return Ok(None);
    };
    let scope = setting.scope.map(|scope| match scope {
        crds::DeduplicationScope::Queue => v1::DeduplicationScope::Queue,
        crds::DeduplicationScope::Key => v1::DeduplicationScope::Key,
    });
    let keyed = spec.ordering == crds::Ordering::PerKey;
    let by = match setting.by {
        crds::DeduplicateBy::Id => v1::DeduplicateBy::Id,
        crds::DeduplicateBy::Content => v1::DeduplicateBy::Content,
    };
    Ok(Some(v1::Deduplication {
        by: by.into(),
        scope: scope.unwrap_or_else(|| default_scope(keyed)).into(),
        window: Some(duration(&setting.window, "spec.deduplication.window")?),
        max_ids: u64::try_from(setting.max_ids).unwrap_or(0),
    }))
}

fn default_scope(keyed: bool) -> v1::DeduplicationScope {
    if keyed {
        v1::DeduplicationScope::Key
    } else {
        v1::DeduplicationScope::Queue
    }
}

/// A setting in which what is left out has its default.
pub(crate) fn settle(setting: &mut v1::Deduplication, ordering: v1::Ordering) {
    if setting.by() == v1::DeduplicateBy::Unspecified {
        setting.set_by(v1::DeduplicateBy::Id);
    }
    if setting.scope() == v1::DeduplicationScope::Unspecified {
        setting.set_scope(default_scope(ordering == v1::Ordering::PerKey));
    }
    setting.window.get_or_insert(prost_types::Duration {
        seconds: 300,
        nanos: 0,
    });
    if setting.max_ids == 0 {
        setting.max_ids = 1_000_000;
    }
}

/// How what exists differs from what is wanted, in what stays while there is deduplication.
pub(crate) fn fixed(have: &v1::QueueSpec, want: &v1::QueueSpec) -> Vec<String> {
    let (Some(before), Some(after)) = (&have.deduplication, &want.deduplication) else {
        return Vec::new();
    };
    let mut fixed = Vec::new();
    if before.scope != after.scope {
        let (have, want) = (before.scope(), after.scope());
        fixed.push(format!("deduplication.scope is {have:?}, not {want:?}"));
    }
    if have.partitions < want.partitions {
        fixed.push(format!(
            "partitions is {}, not {}, and stays while there is deduplication",
            have.partitions, want.partitions
        ));
    }
    fixed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Difference, difference};

    fn spec(partitions: u32, scope: v1::DeduplicationScope) -> v1::QueueSpec {
        v1::QueueSpec {
            partitions,
            deduplication: Some(v1::Deduplication {
                scope: scope.into(),
                ..v1::Deduplication::default()
            }),
            ..v1::QueueSpec::default()
        }
    }

    #[test]
    fn what_remembers_an_id_stays_where_it_is() {
        use v1::DeduplicationScope::{Key, Queue, Unspecified};
        let have = spec(2, Queue);
        assert_eq!(difference(&have, &spec(2, Unspecified)), Difference::None);
        let said = |want: &v1::QueueSpec| match difference(&have, want) {
            Difference::Fixed(said) => said,
            other => panic!("{other:?}"),
        };
        assert!(said(&spec(2, Key)).contains("scope is Queue, not Key"));
        assert!(said(&spec(3, Queue)).contains("partitions is 2, not 3, and stays"));
        let none = v1::QueueSpec {
            deduplication: None,
            ..spec(3, Queue)
        };
        assert_eq!(difference(&have, &none), Difference::Changeable);
        let mut longer = spec(2, Queue);
        if let Some(setting) = &mut longer.deduplication {
            setting.max_ids = 7;
        }
        assert_eq!(difference(&have, &longer), Difference::Changeable);
    }
}
