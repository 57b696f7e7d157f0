//! The numbers of a node in the `OpenMetrics` text format.

mod families;
mod queues;

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;
use roadstead_proto::v1::GroupReport;

use self::families::Families;
use super::observation::Observation;
use super::process::{self, MS_PER_TICK, ProcessNumbers};
use crate::catalog::divergence::DigestCounts;
use crate::metrics::{LATENCY_BUCKETS_MICROS, LatencyNumbers};
use crate::raft::types::CATALOG;
use crate::store::metrics::SYNC_BUCKETS_MICROS;

/// What the response to a scrape is.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes everything that is observed.
///
/// # Errors
/// Never, in practice: text is written to memory.
pub fn encode(observation: Observation) -> Result<String, fmt::Error> {
    let mut roadstead = Registry::with_prefix("roadstead");
    roadstead.register_collector(Box::new(NodeNumbers(observation)));
    let mut os = Registry::with_prefix("process");
    os.register_collector(Box::new(process::read()));
    let mut text = String::new();
    encode_registry(&mut text, &roadstead)?;
    encode_registry(&mut text, &os)?;
    encode_eof(&mut text)?;
    Ok(text)
}

struct NodeNumbers(Observation);

impl fmt::Debug for NodeNumbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeNumbers")
    }
}

impl Collector for NodeNumbers {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut to = Families(encoder);
        let seen = &self.0;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        to.gauges(
            "build_info",
            "Version of the binary; always 1",
            [(version, 1)],
        )?;
        queues::queues(&mut to, seen)?;
        shards(&mut to, seen)?;
        digests(&mut to, seen)?;
        store(&mut to, seen)?;
        listeners(&mut to, seen)
    }
}

impl Collector for ProcessNumbers {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut to = Families(encoder);
        to.gauge(
            "resident_memory_bytes",
            "Physical memory in use",
            self.resident_bytes,
        )?;
        to.gauge(
            "virtual_memory_bytes",
            "Address space in use",
            self.virtual_bytes,
        )?;
        to.gauge("open_fds", "Open file descriptors", self.open_files)?;
        let time = Duration::from_millis(self.cpu_ticks * MS_PER_TICK);
        to.seconds("cpu_seconds", "Time on a processor", time)
    }
}

fn shards(to: &mut Families<'_>, seen: &Observation) -> fmt::Result {
    let rows = |pick: fn(&GroupReport, u64) -> u64| {
        seen.groups
            .iter()
            .map(move |group| (label(group), pick(group, seen.node_id)))
    };
    to.gauges("raft_term", "Raft term", rows(|g, _| g.term))?;
    let leads = rows(|g, me| u64::from(g.leader == me));
    to.gauges("raft_is_leader", "1 where this node leads", leads)?;
    let known = rows(|g, _| u64::from(g.leader != 0));
    to.gauges("raft_has_leader", "1 where a leader is known", known)?;
    to.gauges(
        "raft_committed_index",
        "Highest committed entry",
        rows(|g, _| g.committed_index),
    )?;
    to.gauges(
        "raft_applied_index",
        "Highest applied entry",
        rows(|g, _| g.applied_index),
    )?;
    let lag = rows(|g, _| g.replicas.iter().filter_map(|r| r.lag).max().unwrap_or(0));
    to.gauges(
        "raft_replica_lag_entries",
        "Entries that the slowest replica lacks",
        lag,
    )?;
    let LatencyNumbers { micros, buckets } = &seen.commits;
    let histogram = (&LATENCY_BUCKETS_MICROS[..], &buckets[..]);
    to.latency(
        "commit_latency_seconds",
        "From proposal to applied",
        *micros,
        histogram,
    )
}

fn digests(to: &mut Families<'_>, seen: &Observation) -> fmt::Result {
    let rows = |pick: fn(&DigestCounts) -> u64| {
        seen.digests
            .iter()
            .map(move |(group, counts)| ([("shard", group.to_string())], pick(counts)))
    };
    to.counters(
        "shard_digests_agreed",
        "Pieces of rows that all voters have alike",
        rows(|counts| counts.agreed),
    )?;
    to.counters(
        "shard_digest_mismatches",
        "Pieces of rows that two voters have not alike",
        rows(|counts| counts.mismatched),
    )
}

fn label(group: &GroupReport) -> [(&'static str, String); 1] {
    let name = if group.group == u32::from(CATALOG) {
        "catalog".to_owned()
    } else {
        group.group.to_string()
    };
    [("shard", name)]
}

fn store(to: &mut Families<'_>, seen: &Observation) -> fmt::Result {
    let store = &seen.store;
    let histogram = (&SYNC_BUCKETS_MICROS[..], &store.sync_buckets[..]);
    to.latency(
        "journal_fsync_seconds",
        "Syncs of the journal",
        store.sync_micros,
        histogram,
    )?;
    let bytes = store.journal_bytes_written;
    to.counter(
        "journal_written_bytes",
        "Bytes written to the journal",
        bytes,
    )?;
    to.counter(
        "journal_entries",
        "Entries written to the journal",
        store.entries,
    )?;
    to.gauge(
        "journal_bytes",
        "Size of the journal's segments that hold something",
        store.journal_bytes,
    )?;
    to.gauge(
        "journal_segments",
        "Segments that hold something",
        store.segments,
    )?;
    to.counter(
        "journal_segments_recycled",
        "Segments used again",
        store.segments_recycled,
    )?;
    to.gauge(
        "journal_tail_bytes",
        "Entries held in memory",
        store.tail_bytes,
    )?;
    to.counter("lmdb_commits", "Commits of state rows", store.commits)?;
    to.gauge("lmdb_bytes", "Size of the state file", store.lmdb_bytes)?;
    to.gauge(
        "lmdb_overlay_bytes",
        "State rows not yet committed",
        store.overlay_bytes,
    )?;
    to.counter(
        "lmdb_moved_bytes",
        "Payloads moved from the journal",
        store.payload_bytes_moved,
    )?;
    to.counter(
        "disk_space_waits",
        "Writes that waited for disk space",
        store.space_waits,
    )?;
    scrubs(to, seen)?;
    let room = seen.room_for_sends;
    to.gauge(
        "disk_room_bytes",
        "Bytes that may be written before sends are refused",
        room,
    )
}

fn scrubs(to: &mut Families<'_>, seen: &Observation) -> fmt::Result {
    let store = &seen.store;
    to.counter(
        "scrubbed_bytes",
        "Bytes on disk read again to find damage",
        store.scrubbed_bytes,
    )?;
    to.counter("scrubs", "Whole passes over the data", store.scrubs)?;
    to.gauge(
        "scrub_last_timestamp_seconds",
        "When the last whole pass ended; 0 before the first",
        store.last_scrub_seconds,
    )
}

fn listeners(to: &mut Families<'_>, seen: &Observation) -> fmt::Result {
    type Pick = fn(&crate::api::ConnectionNumbers) -> u64;
    let rows = |pick: Pick| {
        seen.connections
            .iter()
            .map(move |(name, numbers)| ([("listener", *name)], pick(numbers)))
    };
    to.gauges("connections", "Open connections", rows(|n| n.open))?;
    to.counters(
        "connections_accepted",
        "Connections accepted",
        rows(|n| n.accepted),
    )?;
    to.counters(
        "connections_refused",
        "Connections over the limit",
        rows(|n| n.refused),
    )?;
    let failed = rows(|n| n.failed_handshakes);
    to.counters(
        "tls_handshakes_failed",
        "TLS handshakes that failed",
        failed,
    )?;
    let expiry = seen
        .certificates
        .iter()
        .map(|(name, at)| ([("listener", *name)], u64::try_from(*at).unwrap_or(0)));
    to.gauges(
        "tls_certificate_expiry_timestamp_seconds",
        "When the certificate expires",
        expiry,
    )
}

#[cfg(test)]
mod tests {
    use roadstead_proto::v1::Replica;

    use super::*;

    #[test]
    fn groups_histograms_and_names_follow_the_format() {
        let mut observation = Observation {
            node_id: 7,
            ..Observation::default()
        };
        let replica = |lag| Replica {
            node_id: 1,
            voter: true,
            lag,
        };
        observation.groups.push(GroupReport {
            group: 1,
            term: 5,
            leader: 7,
            replicas: vec![replica(Some(3)), replica(None)],
            ..GroupReport::default()
        });
        observation.groups.push(GroupReport::default());
        observation.commits.buckets[3] = 2;
        observation.commits.buckets[14] = 1;
        observation.commits.micros = 1_500_000;
        let counts = DigestCounts {
            agreed: 4,
            mismatched: 1,
        };
        observation.digests.insert(1, counts);
        observation
            .connections
            .push(("client", crate::api::ConnectionNumbers::default()));
        let text = encode(observation).unwrap();
        for expected in [
            r#"roadstead_raft_term{shard="1"} 5"#,
            r#"roadstead_raft_is_leader{shard="1"} 1"#,
            r#"roadstead_raft_has_leader{shard="catalog"} 0"#,
            r#"roadstead_raft_replica_lag_entries{shard="1"} 3"#,
            "roadstead_commit_latency_seconds_sum 1.5",
            "roadstead_commit_latency_seconds_count 3",
            r#"roadstead_commit_latency_seconds_bucket{le="0.001"} 2"#,
            r#"roadstead_commit_latency_seconds_bucket{le="+Inf"} 3"#,
            r#"roadstead_shard_digests_agreed_total{shard="1"} 4"#,
            r#"roadstead_shard_digest_mismatches_total{shard="1"} 1"#,
            r#"roadstead_connections_accepted_total{listener="client"} 0"#,
            "# TYPE process_cpu_seconds counter",
        ] {
            assert!(
                text.lines().any(|line| line == expected),
                "{expected} in\n{text}"
            );
        }
        let name = |line: &str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = name(line);
            assert!(
                name.starts_with("roadstead_") || name.starts_with("process_"),
                "{line}"
            );
        }
    }

    /// A row per metric: `| name | kind | what |`.
    fn rows(page: &str) -> Vec<&str> {
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        let mut rows: Vec<_> = rows.collect();
        rows.sort_unstable();
        rows
    }

    #[test]
    fn the_page_for_users_has_every_metric_and_no_other() {
        let text = encode(Observation::default()).unwrap();
        let about = |what: &str, name: &str| {
            let start = format!("# {what} {name} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&start));
            line.unwrap_or_default().trim_end_matches('.').to_owned()
        };
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let printed: Vec<String> = names
            .map(|line| {
                let name = line.split(' ').next().unwrap();
                let (kind, help) = (about("TYPE", name), about("HELP", name));
                let total = if kind == "counter" { "_total" } else { "" };
                format!("| `{name}{total}` | {kind} | {help} |")
            })
            .collect();
        // Not built in: images are made without the pages.
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let page = std::fs::read_to_string(path).unwrap();
        assert_eq!(rows(&page), rows(&printed.join("\n")));
    }
}
