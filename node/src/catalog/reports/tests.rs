use roadstead_proto::v1::{LoggedDigest, Replica};

use super::*;
use crate::peers::codec::boot_to_wire;

fn report(node_id: u64, term: u64) -> ReportMember {
    let group = GroupReport {
        group: 1,
        term,
        leader: node_id,
        ..GroupReport::default()
    };
    ReportMember {
        node_id,
        groups: vec![group],
        ..ReportMember::default()
    }
}

#[test]
fn the_leader_of_the_newest_term_counts() {
    let reports = Reports::default();
    reports.note(1, 0, report(7, 5));
    reports.note(1, 0, report(8, 4));
    assert_eq!(reports.leaders(0)[&1].leader, 7);
}

/// A member that votes in group 1 with the others, and reports digests of these entries.
fn digested(node_id: u64, digests: &[(u64, u64)]) -> ReportMember {
    let replica = |node_id| Replica {
        node_id,
        voter: true,
        lag: None,
    };
    let digest = |(index, hash): &(u64, u64)| LoggedDigest {
        term: 5,
        index: *index,
        hash: *hash,
    };
    let mut report = report(node_id, 5);
    report.groups[0].leader = 7;
    report.groups[0].replicas = [7, 8, 9].map(replica).to_vec();
    report.groups[0].digests = digests.iter().map(digest).collect();
    report
}

/// How much news a report brings, and what its sender is told.
fn heard(reports: &Reports, (epoch, now_ms): (u64, u64), report: ReportMember) -> (usize, bool) {
    let node = report.node_id;
    reports.note(epoch, now_ms, report);
    let news = reports.compare(node, &reports.leaders(now_ms));
    (news.len(), reports.damage(node).is_some())
}

#[test]
fn a_member_whose_rows_are_others_is_told_so_with_each_report_from_then_on() {
    let reports = Reports::default();
    assert_eq!(
        heard(&reports, (1, 0), digested(7, &[(10, 1), (11, 2)])),
        (0, false)
    );
    assert_eq!(
        heard(&reports, (1, 0), digested(8, &[(10, 1), (11, 3)])),
        (1, false)
    );
    assert_eq!(
        heard(&reports, (1, 0), digested(9, &[(11, 2), (12, 4)])),
        (1, false)
    );
    assert_eq!(heard(&reports, (1, 9), digested(8, &[(99, 1)])), (0, true));
    assert_eq!(heard(&reports, (1, 9), digested(7, &[(99, 1)])), (0, false));
    let counts = DigestCounts {
        agreed: 0,
        mismatched: 1,
    };
    assert_eq!(reports.digest_counts(), BTreeMap::from([(1, counts)]));
    reports.begin(2, 20);
    assert_eq!(
        heard(&reports, (2, 20), digested(8, &[])),
        (0, true),
        "nor is it forgotten"
    );
    assert_eq!(reports.digest_counts(), BTreeMap::from([(1, counts)]));
}

#[test]
fn without_a_group_s_leader_nobody_knows_who_votes() {
    let reports = Reports::default();
    heard(&reports, (1, 0), digested(7, &[(10, 1)]));
    heard(&reports, (1, FRESH_MS), digested(8, &[(10, 2)]));
    let none = DigestCounts::default();
    assert_eq!(reports.digest_counts(), BTreeMap::from([(1, none)]));
    assert_eq!(
        heard(&reports, (1, FRESH_MS), digested(7, &[(10, 1)])),
        (1, false)
    );
}

#[test]
fn of_a_report_with_too_many_digests_the_newest_count() {
    let reports = Reports::default();
    let many: Vec<_> = (0..10_000).map(|index| (index, index)).collect();
    heard(&reports, (1, 0), digested(7, &many));
    assert_eq!(reports.lock().digests_of(1).len(), REMEMBERED);
    let passed_on = reports.leaders(0);
    assert!(passed_on[&1].digests.is_empty(), "nobody else needs them");
    let last = 9_999;
    assert_eq!(
        heard(&reports, (1, 0), digested(8, &[(5, 6), (last, 0)])).0,
        1
    );
}

#[test]
fn who_is_silent_leads_nothing_and_gets_nothing() {
    let reports = Reports::default();
    let ready = ReportMember {
        may_lead: true,
        ..report(7, 5)
    };
    reports.note(1, 1_000, ready);
    let late = 1_000 + FRESH_MS;
    assert!(reports.may_lead(7, late - 1) && !reports.may_lead(7, late));
    assert_eq!(reports.leaders(late - 1).len(), 1);
    assert_eq!(reports.leaders(late).len(), 0);
}

#[test]
fn a_new_leader_knows_all_when_every_group_or_every_member_is_heard_of() {
    let reports = Reports::default();
    let complete = |groups: [GroupId; 2], members: [NodeId; 2]| {
        reports.are_complete(3, &groups.into(), &members.into())
    };
    reports.note(2, 10, report(7, 5));
    assert!(!complete([1, 1], [7, 7]), "in an epoch before");
    reports.begin(3, 20);
    assert!(!complete([1, 1], [7, 7]));
    reports.note(3, 30, report(7, 5));
    assert!(complete([1, 1], [7, 8]) && complete([1, 2], [7, 7]));
    assert!(!complete([1, 2], [7, 8]));
    assert_eq!((reports.led_for(3, 50), reports.led_for(2, 50)), (30, 0));
    assert!(reports.heard_since(7, 29) && !reports.heard_since(7, 30));
}

#[test]
fn who_is_silent_becomes_unreachable_and_a_new_leader_is_patient() {
    let reports = Reports::default();
    reports.begin(1, 1_000);
    assert!(reports.alive(7, 1_000 + UNREACHABLE_AFTER_MS - 1));
    assert!(!reports.alive(7, 1_000 + UNREACHABLE_AFTER_MS));
    reports.note(1, 20_000, report(7, 1));
    assert!(reports.alive(7, 20_001));
}

#[test]
fn who_was_told_is_forgiven_from_the_next_start_on() {
    let reports = Reports::default();
    let started = |nonce, digests: &[(u64, u64)]| ReportMember {
        boot: Some(boot_to_wire(&Boot::default().next(nonce))),
        ..digested(8, digests)
    };
    heard(&reports, (1, 0), digested(7, &[(10, 1)]));
    heard(&reports, (1, 0), digested(9, &[(10, 1)]));
    // That they differ, and who is damaged.
    assert_eq!(heard(&reports, (1, 0), started(5, &[(10, 2)])), (2, true));
    assert!(heard(&reports, (1, 1), started(5, &[(10, 2)])).1);
    // Another leader of the catalog on this node, and what the others say of that entry again.
    assert!(!heard(&reports, (2, 2), started(6, &[])).1);
    heard(&reports, (2, 3), digested(7, &[(10, 1)]));
    heard(&reports, (2, 3), digested(9, &[(10, 1)]));
    assert!(!heard(&reports, (2, 4), started(6, &[])).1);
    assert!(
        heard(&reports, (2, 5), started(6, &[(10, 2)])).1,
        "rotten again"
    );
}
