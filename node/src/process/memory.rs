//! How much memory a node may use, and what it uses it for.
//!
//! An eighth holds recent entries, an eighth rows on their way to LMDB, an eighth requests of
//! clients that are not answered yet, and an eighth answers that clients have not read. The other
//! half is for the copies of requests on their way through Raft, for connections, peers and the
//! page cache. Each part has a least size, so a node with less than 512 MiB may use more than it
//! was told.

use std::fs;

use crate::api::MAX_MESSAGE;
use crate::store::StoreOptions;

/// Memory assumed where nothing says how much there is.
const UNKNOWN: u64 = 1 << 30;

/// The memory that this process may use, in bytes: what was asked for, else the cgroup's limit,
/// else the machine's memory.
pub fn limit(asked: Option<u64>) -> u64 {
    asked.or_else(cgroup).or_else(machine).unwrap_or(UNKNOWN)
}

fn cgroup() -> Option<u64> {
    let files = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let text = files
        .iter()
        .find_map(|file| fs::read_to_string(file).ok())?;
    cgroup_limit(&text)
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
        tail_bytes: share(8, 4 << 20, 256 << 20),
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

/// Bytes of sends that one shard may hold at a time, on a node that may use `memory` bytes. A
/// client's largest request always fits.
pub fn intake_bytes(memory: u64) -> usize {
    usize::try_from((memory / 64).clamp(MAX_MESSAGE as u64, 64 << 20)).unwrap_or(usize::MAX)
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
        assert_eq!(
            store_options(2 << 30, 20 << 30, 64 << 20).tail_bytes,
            256 << 20
        );
    }
}
