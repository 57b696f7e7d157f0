//! One pass over the journal's segments, oldest first.

use std::time::Duration;

use crate::store::failure::Damage;
use crate::store::journal::{Checked, Journal, SegmentCheck};

/// The segments that were in use when the pass began.
pub(super) struct JournalPass {
    /// Number of the next segment.
    next: u32,
    /// Number of the last one, if there is any.
    last: Option<u32>,
    check: Option<SegmentCheck>,
}

/// What one step came to.
pub(super) enum Step {
    /// Bytes were read, which took the disk a time.
    Read(usize, Duration),
    /// There is another segment.
    Next,
    /// The same place is to be read again after a while.
    Doubtful(Damage),
    /// A segment cannot be read now, and why.
    LeftOut(String),
    /// Damage, seen each time.
    Damaged(Damage),
    /// All of them were read.
    Done,
}

impl JournalPass {
    /// A pass over what is in use now.
    pub(super) fn begin(journal: &Journal) -> Self {
        Self {
            next: 0,
            last: journal.newest_segment(),
            check: None,
        }
    }

    /// Reads a bounded piece. Blocks.
    pub(super) fn step(&mut self, journal: &Journal) -> Step {
        let Some(mut check) = self.check.take() else {
            return self.open(journal);
        };
        let step = match check.step() {
            Checked::Whole | Checked::Gone => return Step::Next,
            Checked::Unread(error) => return Step::LeftOut(error.to_string()),
            Checked::Damaged(damage) => return Step::Damaged(damage),
            Checked::Read(bytes, took) => Step::Read(bytes, took),
            Checked::Doubtful(damage) => Step::Doubtful(damage),
        };
        self.check = Some(check);
        step
    }

    fn open(&mut self, journal: &Journal) -> Step {
        match journal.check_from(self.next) {
            Some((number, check)) if self.last.is_some_and(|last| number <= last) => {
                self.next = number + 1;
                match check {
                    Ok(check) => {
                        self.check = Some(check);
                        Step::Next
                    }
                    // Its file may be gone by now, with the segment.
                    Err(_) if !journal.has_segment(number) => Step::Next,
                    Err(error) => Step::LeftOut(format!("journal segment {number}: {error}")),
                }
            }
            _ => Step::Done,
        }
    }
}
