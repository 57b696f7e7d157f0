//! Conditions: what they say, and when they changed.
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// What a condition says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its type.
    pub kind: &'static str,
    /// `Some(true)`: True, `Some(false)`: False, `None`: Unknown.
    pub holds: Option<bool>,
    /// In one word, `CamelCase`.
    pub reason: &'static str,
    /// For people: what, why and what to do.
    pub message: String,
}

impl Finding {
    /// A condition that holds or does not.
    pub fn new(
        kind: &'static str,
        holds: bool,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            holds: Some(holds),
            reason,
            message: message.into(),
        }
    }

    /// A condition that nobody can tell.
    pub fn unknown(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            holds: None,
            reason,
            message: message.into(),
        }
    }
}

/// The conditions that follow from `before` and what was found, sorted by type. The time of a
/// condition moves only when its status does; conditions that nothing was found about are kept.
pub fn merge(
    before: &[Condition],
    findings: &[Finding],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let found = |kind: &str| findings.iter().any(|finding| finding.kind == kind);
    let mut conditions: Vec<_> = before
        .iter()
        .filter(|condition| !found(&condition.type_))
        .cloned()
        .collect();
    for finding in findings {
        let status = match finding.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let since = before
            .iter()
            .find(|condition| condition.type_ == finding.kind && condition.status == status)
            .map_or(Time(now), |condition| {
                condition.last_transition_time.clone()
            });
        conditions.push(Condition {
            type_: finding.kind.to_owned(),
            status: status.to_owned(),
            reason: finding.reason.to_owned(),
            message: finding.message.chars().take(1_000).collect(),
            observed_generation: generation,
            last_transition_time: since,
        });
    }
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    conditions
}

/// What is said of a cluster that cannot go on before a person acts. Where nodes serve they go on
/// serving, so what is Ready stays so.
pub fn stuck(before: &[Condition], reason: &'static str, message: &str) -> Vec<Finding> {
    let mut findings = vec![Finding::new("Progressing", false, reason, message)];
    if !is_true(before, "Ready") {
        findings.push(Finding::new("Ready", false, reason, message));
    }
    findings
}

/// Whether a condition of this type is there and True.
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    conditions
        .iter()
        .any(|condition| condition.type_ == kind && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn time_moves_only_with_the_status() {
        let first = merge(
            &[],
            &[Finding::new("Ready", false, "Starting", "a")],
            Some(1),
            at(1),
        );
        let second = merge(
            &first,
            &[Finding::new("Ready", false, "Waiting", "b")],
            Some(2),
            at(2),
        );
        assert_eq!(second[0].last_transition_time, Time(at(1)));
        assert_eq!(
            (second[0].reason.as_str(), second[0].observed_generation),
            ("Waiting", Some(2))
        );
        let third = merge(
            &second,
            &[Finding::new("Ready", true, "Serving", "c")],
            Some(2),
            at(3),
        );
        assert_eq!(third[0].last_transition_time, Time(at(3)));
    }

    #[test]
    fn what_serves_stays_ready_when_it_cannot_go_on() {
        let kinds = |before: &[Condition]| {
            let found = stuck(before, "Refused", "why");
            let kinds: Vec<_> = found.iter().map(|f| (f.kind, f.holds)).collect();
            kinds
        };
        let stopped = ("Progressing", Some(false));
        assert_eq!(kinds(&[]), [stopped, ("Ready", Some(false))]);
        let ready = |holds| merge(&[], &[Finding::new("Ready", holds, "A", "")], None, at(1));
        assert_eq!(kinds(&ready(false)), [stopped, ("Ready", Some(false))]);
        assert_eq!(kinds(&ready(true)), [stopped]);
    }

    #[test]
    fn others_are_kept_and_sorted() {
        let before = merge(&[], &[Finding::new("Zeal", true, "A", "")], None, at(1));
        let after = merge(&before, &[Finding::unknown("Ready", "B", "")], None, at(2));
        let kinds: Vec<_> = after
            .iter()
            .map(|c| (c.type_.as_str(), c.status.as_str()))
            .collect();
        assert_eq!(kinds, [("Ready", "Unknown"), ("Zeal", "True")]);
        assert!(is_true(&after, "Zeal") && !is_true(&after, "Ready"));
    }
}
