//! What the operating system knows of this process.

use std::fs;
use std::sync::OnceLock;

/// Numbers of the process, from /proc; 0 where that cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessNumbers {
    /// Bytes in physical memory.
    pub resident_bytes: u64,
    /// Bytes of address space; much more than memory, since the state file is mapped.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub open_files: u64,
    /// Time on a processor, in clock ticks of 10 ms.
    pub cpu_ticks: u64,
}

/// A clock tick in /proc, on every Linux that Rust supports.
pub const MS_PER_TICK: u64 = 10;

/// Reads the numbers.
pub fn read() -> ProcessNumbers {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let mut pages = statm
        .split(' ')
        .map(|field| field.parse::<u64>().unwrap_or(0));
    ProcessNumbers {
        virtual_bytes: pages.next().unwrap_or(0) * page_size(),
        resident_bytes: pages.next().unwrap_or(0) * page_size(),
        open_files: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        cpu_ticks: cpu_ticks(&stat),
    }
}

/// User and system time; the fields after the command's name, which may hold spaces.
fn cpu_ticks(stat: &str) -> u64 {
    let Some((_, fields)) = stat.rsplit_once(") ") else {
        return 0;
    };
    fields
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum()
}

fn page_size() -> u64 {
    static SIZE: OnceLock<u64> = OnceLock::new();
    *SIZE.get_or_init(|| {
        // The kernel's own word for it; 4 KiB where it does not say.
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        let line = smaps
            .lines()
            .find_map(|line| line.strip_prefix("KernelPageSize:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.trim().parse::<u64>().ok())
            .unwrap_or(4)
            * 1024
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_spaces_does_not_move_the_fields() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 100 0 0 0 12 30 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), 42);
        assert_eq!(cpu_ticks(""), 0);
    }

    #[test]
    fn this_process_has_memory_and_files() {
        let numbers = read();
        assert!(numbers.resident_bytes > 1 << 20 && numbers.virtual_bytes > numbers.resident_bytes);
        assert!(numbers.open_files >= 3);
    }
}
