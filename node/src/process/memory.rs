//! How much memory a node may use, and what it uses it for.
//!
//! An eighth, 32 MiB at most, holds recent entries, which else come from the page cache. An eighth
//! holds rows on their way to LMDB, an eighth requests of clients that are not answered yet, and an
//! eighth answers that clients have not read. The other half is for the copies of requests on their
//! way through Raft, for connections, peers and the page cache. Each part has a least size, so a
//! node with less than 512 MiB may use more than it was told.

use std::fs;
use std::path::{Path, PathBuf};

use crate::api::MAX_MESSAGE;
use crate::store::StoreOptions;

/// Memory assumed where nothing says how much there is.
const UNKNOWN: u64 = 1 << 30;

/// The memory that this process may use, in bytes: what was asked for, else the cgroup's limit,
/// else the machine's memory.
pub fn limit(asked: Option<u64>) -> u64 {
    asked.or_else(cgroup).or_else(machine).unwrap_or(UNKNOWN)
}

/// The lowest limit of the cgroup that this process is in, and of those around it.
fn cgroup() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let texts = limit_files(&own).into_iter().map(fs::read_to_string);
    let limits = texts.filter_map(|text| cgroup_limit(&text.ok()?));
    limits.min()
}

/// Where limits may stand, by what `/proc/self/cgroup` says: `id:controllers:path` for each
/// hierarchy, without controllers for version 2. Within a container the path may be the one
/// outside, and the container's own cgroup the root.
fn limit_files(own: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (root, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|one| one == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let own = Path::new(path.trim_start_matches('/'));
        let around = own.ancestors().map(|path| Path::new(root).join(path));
        files.extend(around.map(|directory| directory.join(file)));
    }
    files
}

/// A limit as cgroups write it; none when it is `max` or v1's largest number of pages.
fn cgroup_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < 1 << 60)
}

fn machine() -> Option<u64> {
    machine_total(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn machine_total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Sizes of the store for a node that may use `memory` bytes, on a volume of `disk` bytes.
///
/// Of the volume, the journal keeps an eighth at most before payloads move on.
pub fn store_options(memory: u64, disk: u64, segment: u64) -> StoreOptions {
    let share = |parts: u64, least: u64, most: u64| {
        usize::try_from((memory / parts).clamp(least, most)).unwrap_or(usize::MAX)
    };
    let standard = StoreOptions::default();
    StoreOptions {
        segment_bytes: u32::try_from(segment).unwrap_or(standard.segment_bytes),
        window_bytes: (disk / 8).clamp(2 * segment, standard.window_bytes.max(2 * segment)),
        tail_bytes: share(8, 4 << 20, 32 << 20),
        overlay_bytes: share(32, 1 << 20, 32 << 20),
        overlay_limit: share(8, 4 << 20, 128 << 20),
        ..standard
    }
}

/// Bytes that the client listener may hold of requests, and as many of answers, on a node that may
/// use `memory` bytes.
pub fn listener_bytes(memory: u64) -> usize {
    usize::try_from(memory / 8).unwrap_or(usize::MAX)
}

/// Streams of messages that a node serves at a time that may use `memory` bytes: one takes up to
/// 2 MiB where its client does not read.
pub fn streams(memory: u64) -> usize {
    usize::try_from(memory >> 21).unwrap_or(usize::MAX).max(64)
}

/// Bytes of sends that one shard may hold at a time, on a node that may use `memory` bytes. A
/// client's largest request always fits.
pub fn intake_bytes(memory: u64) -> usize {
    usize::try_from((memory / 64).clamp(MAX_MESSAGE as u64, 64 << 20)).unwrap_or(usize::MAX)
}

/// Bytes of deliveries that the consumers of one shard may have unread, on a node that may use
/// `memory` bytes.
pub fn unread_bytes(memory: u64) -> usize {
    usize::try_from((memory / 64).clamp(1 << 20, 64 << 20)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        assert_eq!(cgroup_limit("2147483648\n"), Some(2 << 30));
        assert_eq!(cgroup_limit("max\n"), None);
        assert_eq!(cgroup_limit("9223372036854771712\n"), None);
        assert_eq!(
            machine_total("MemFree: 1 kB\nMemTotal:   16 kB\n"),
            Some(16 * 1024)
        );
        assert_eq!(machine_total("nothing"), None);
    }

    #[test]
    fn limits_are_looked_for_where_the_process_is_and_around_it() {
        let files = |own| {
            let files = limit_files(own).into_iter();
            files
                .map(|file| file.display().to_string())
                .collect::<Vec<_>>()
        };
        let v2 = [
            "/sys/fs/cgroup/pod/box/memory.max",
            "/sys/fs/cgroup/pod/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(files("0::/pod/box\n"), v2);
        let v1 = [
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(files("5:cpu,cpuacct:/b\n4:memory:/a\n0::/\n"), v1);
        assert!(files("nonsense").is_empty());
    }

    #[test]
    fn what_was_asked_for_wins_and_there_is_always_some_memory() {
        assert_eq!(limit(Some(5)), 5);
        assert!(limit(None) > 1 << 20);
    }

    #[test]
    fn sizes_stay_within_memory_and_disk() {
        for memory in [64 << 20, 512 << 20, 2 << 30, 64 << 30] {
            for disk in [1 << 30, 20 << 30, 4 << 40] {
                let sizes = store_options(memory, disk, 64 << 20);
                assert!((sizes.tail_bytes + sizes.overlay_limit) as u64 <= memory / 2);
                assert!(sizes.overlay_bytes < sizes.overlay_limit);
                assert!(sizes.window_bytes >= 128 << 20 && sizes.window_bytes <= disk / 4);
            }
        }
        let tail = |memory| store_options(memory, 20 << 30, 64 << 20).tail_bytes;
        assert_eq!((tail(128 << 20), tail(2 << 30)), (16 << 20, 32 << 20));
    }
}
