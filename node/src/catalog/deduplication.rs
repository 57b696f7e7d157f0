//! Deduplication as the API has it, from and to the core's.

use roadstead_core::catalog::{DEFAULT_IDS, DEFAULT_WINDOW_MS};
use roadstead_core::shard::{DeduplicateBy, Deduplication, DeduplicationScope, Ordering};
use roadstead_proto::v1;

use super::convert::milliseconds;
use crate::gateway::ApiError;
use crate::gateway::validate::known;
use crate::shard::wire::duration_ms;

/// The setting that a request asks for; what is absent takes its default, which for the scope
/// follows the ordering.
pub(super) fn from_wire(
    wire: Option<&v1::Deduplication>,
    ordering: Ordering,
) -> Result<Option<Deduplication>, ApiError> {
    let Some(wire) = wire else { return Ok(None) };
    let field = "spec.deduplication.window";
    Ok(Some(Deduplication {
        by: match known("spec.deduplication.by", wire.by)? {
            v1::DeduplicateBy::Unspecified | v1::DeduplicateBy::Id => DeduplicateBy::Id,
            v1::DeduplicateBy::Content => DeduplicateBy::Content,
        },
        scope: match known("spec.deduplication.scope", wire.scope)? {
            v1::DeduplicationScope::Unspecified if ordering == Ordering::PerKey => {
                DeduplicationScope::Key
            }
            v1::DeduplicationScope::Unspecified | v1::DeduplicationScope::Queue => {
                DeduplicationScope::Queue
            }
            v1::DeduplicationScope::Key => DeduplicationScope::Key,
        },
        window_ms: milliseconds(field, wire.window.as_ref(), DEFAULT_WINDOW_MS)?,
        max_ids: match wire.max_ids {
            0 => DEFAULT_IDS,
            max => max,
        },
    }))
}

/// The setting as the API shows it, defaults filled in.
pub(super) fn to_wire(setting: &Deduplication) -> v1::Deduplication {
    v1::Deduplication {
        by: match setting.by {
            DeduplicateBy::Id => v1::DeduplicateBy::Id,
            DeduplicateBy::Content => v1::DeduplicateBy::Content,
        }
        .into(),
        scope: match setting.scope {
            DeduplicationScope::Queue => v1::DeduplicationScope::Queue,
            DeduplicationScope::Key => v1::DeduplicationScope::Key,
        }
        .into(),
        window: Some(duration_ms(setting.window_ms)),
        max_ids: setting.max_ids,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_setting_takes_the_defaults_and_comes_back_whole() {
        let of = |ordering| {
            let wire = v1::Deduplication::default();
            from_wire(Some(&wire), ordering).unwrap().unwrap()
        };
        let setting = of(Ordering::None);
        let expected = Deduplication {
            by: DeduplicateBy::Id,
            scope: DeduplicationScope::Queue,
            window_ms: 300_000,
            max_ids: 1_000_000,
        };
        assert_eq!(setting, expected);
        assert_eq!(of(Ordering::Strict).scope, DeduplicationScope::Queue);
        assert_eq!(of(Ordering::PerKey).scope, DeduplicationScope::Key);
        let other = Deduplication {
            by: DeduplicateBy::Content,
            scope: DeduplicationScope::Key,
            window_ms: 1_500,
            max_ids: 7,
        };
        for setting in [setting, other] {
            let back = from_wire(Some(&to_wire(&setting)), Ordering::None);
            assert_eq!(back.unwrap(), Some(setting));
        }
        assert_eq!(from_wire(None, Ordering::None).unwrap(), None);
    }

    #[test]
    fn what_an_enum_does_not_know_is_refused_by_name() {
        for (by, scope, field) in [(3, 0, "by"), (0, -1, "scope")] {
            let wire = v1::Deduplication {
                by,
                scope,
                ..v1::Deduplication::default()
            };
            let error = from_wire(Some(&wire), Ordering::None).unwrap_err();
            assert_eq!(error.detail.field, format!("spec.deduplication.{field}"));
        }
    }
}
