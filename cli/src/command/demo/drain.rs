//! What became of acks whose answer was lost with the leader.

use roadstead_client::ledger::Findings;
use roadstead_client::proto::QueueStats;

/// No message is left: none waits, is leased or on its way, and all counts are there.
pub fn is_empty(stats: &QueueStats) -> bool {
    let left = stats.ready + stats.in_flight + stats.delayed + stats.blocked + stats.outbox;
    left == 0 && stats.partitions_unavailable == 0
}

/// Counts acks without an answer as done where the queue's counters leave nothing else that can
/// have become of their messages; says which were counted so and why, or why they were not.
pub fn conclude(findings: &mut Findings, stats: &QueueStats) -> Option<String> {
    let unanswered = findings.unanswered;
    if unanswered == 0 {
        return None;
    }
    let (sent, acked) = (stats.sent_total, stats.acked_total);
    let elsewhere = stats.dead_lettered_total + stats.expired_total;
    if is_empty(stats) && elsewhere == 0 && sent == acked {
        findings.acked += unanswered;
        findings.unanswered = 0;
        return Some(format!(
            "{unanswered} of the acks had no direct answer, it was lost with the leader; that they \
             were done is inferred from the queue's counters: {sent} sent, {acked} acked, none \
             ready, in flight, delayed, dead-lettered or expired"
        ));
    }
    Some(format!(
        "{unanswered} acks lost their answer with the leader and count as unknown: the queue says \
         {sent} sent, {acked} acked, {} ready, {} in flight, {} delayed, {} dead-lettered, {} \
         expired",
        stats.ready + stats.blocked,
        stats.in_flight,
        stats.delayed,
        stats.dead_lettered_total,
        stats.expired_total
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Findings {
        Findings {
            sent: 20,
            acked: 17,
            unanswered: 3,
            ..Findings::default()
        }
    }

    fn gone() -> QueueStats {
        QueueStats {
            sent_total: 20,
            acked_total: 20,
            ..QueueStats::default()
        }
    }

    #[test]
    fn an_ack_counts_where_its_message_can_only_have_been_acked() {
        let mut all = findings();
        let remark = conclude(&mut all, &gone()).unwrap();
        assert_eq!(all.to_string(), "sent=20 acked=20 lost=0 duplicates=0");
        assert!(
            remark.starts_with("3 of the acks had no direct answer"),
            "{remark}"
        );
        assert!(remark.contains("inferred"), "{remark}");
        assert_eq!(conclude(&mut all, &gone()), None);
    }

    #[test]
    fn an_ack_stays_unknown_where_its_message_may_be_elsewhere() {
        let changes: [fn(&mut QueueStats); 7] = [
            |stats| stats.ready = 1,
            |stats| stats.in_flight = 1,
            |stats| stats.outbox = 1,
            |stats| stats.dead_lettered_total = 1,
            |stats| stats.expired_total = 1,
            |stats| stats.partitions_unavailable = 1,
            |stats| stats.acked_total = 19,
        ];
        for change in changes {
            let (mut all, mut stats) = (findings(), gone());
            change(&mut stats);
            let remark = conclude(&mut all, &stats).unwrap();
            assert_eq!((all.acked, all.unanswered), (17, 3), "{stats:?}");
            assert!(remark.contains("unknown"), "{remark}");
        }
    }
}
