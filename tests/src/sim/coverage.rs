//! What happened how often: a fault or a command that never came shows nothing.

use std::collections::BTreeMap;
use std::fmt;

/// Everything that a run of many seeds must have seen. An empty cell fails the run.
pub const CELLS: &[&str] = &[
    // Faults.
    "crash of a follower",
    "crash of a leader",
    "crash of all",
    "restart",
    "link broken",
    "one-way cut",
    "two-way cut",
    "wall clock step",
    "slow disk",
    "client request lost",
    "client answer lost",
    "client stream broken",
    // Orders.
    "leader transfer asked",
    "leader transfer done",
    // Commands and their answers.
    "send acknowledged",
    "send found to be a duplicate",
    "send retried",
    "delivery",
    "redelivery",
    "redelivery after a lease ended",
    "ack done",
    "ack stale",
    "ack unknown",
    "nack with delay",
    "nack unstarted",
    "reject",
    "extend",
    "lease left to end",
    "dead letter",
    "unary receive",
    "stream opened",
    "stream opened again with receipts",
    "session abandoned",
    "stats read",
    "digest alike on all replicas",
];

/// Counts by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    /// Counts one more.
    ///
    /// # Panics
    /// When the name is not among [`CELLS`].
    pub fn count(&mut self, what: &'static str) {
        assert!(
            CELLS.contains(&what),
            "no cell of the coverage table is named {what}"
        );
        *self.0.entry(what).or_default() += 1;
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// The cells that stayed empty.
    pub fn empty(&self) -> Vec<&'static str> {
        CELLS
            .iter()
            .copied()
            .filter(|cell| !self.0.contains_key(cell))
            .collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for cell in CELLS {
            let count = self.0.get(cell).copied().unwrap_or_default();
            writeln!(f, "  {cell:<36} {count:>10}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_cell_is_found() {
        let mut coverage = Coverage::default();
        for cell in &CELLS[1..] {
            coverage.count(cell);
        }
        assert_eq!(coverage.empty(), [CELLS[0]]);
        coverage.count(CELLS[0]);
        assert!(coverage.empty().is_empty());
    }
}
