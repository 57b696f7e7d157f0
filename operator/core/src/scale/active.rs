//! Whether a scaler has anything to do.
use super::SourceLoad;
use crate::conditions::Finding;

/// The condition `Active`. `replicas`: what the target asks for now; `stale`: a source of the
/// backlog is not known.
pub fn active(replicas: u32, sources: &[SourceLoad], stale: bool) -> Finding {
    let kind = "Active";
    if replicas > 0 || sources.iter().any(|source| source.lag > 0) {
        let message = "there is something to do, or a consumer runs";
        return Finding::new(kind, true, "Working", message);
    }
    if stale {
        let message = "no consumer runs, and the backlog is not known";
        return Finding::unknown(kind, "BacklogUnknown", message);
    }
    Finding::new(kind, false, "Idle", "nothing to do, at zero")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_idle_only_where_nothing_runs_and_nothing_is_known_to_wait() {
        let source = |lag| SourceLoad {
            lag,
            ..SourceLoad::default()
        };
        let (none, some) = ([source(0)], [source(0), source(3)]);
        for (replicas, sources, stale, holds, reason) in [
            (0, &none[..], false, Some(false), "Idle"),
            (4, &none, false, Some(true), "Working"),
            (0, &some, false, Some(true), "Working"),
            (0, &none, true, None, "BacklogUnknown"),
            (0, &[], true, None, "BacklogUnknown"),
            (4, &none, true, Some(true), "Working"),
            (0, &some, true, Some(true), "Working"),
        ] {
            let finding = active(replicas, sources, stale);
            let said = (finding.holds, finding.reason);
            assert_eq!(said, (holds, reason), "{replicas} {sources:?} {stale}");
        }
    }
}
