//! The state file, read in a process of its own beside the node that uses it.
//!
//! `Reader` is that process as the node sees it; [`walk`] is what it does. It takes no lock of
//! the data directory and writes nothing but its place among LMDB's readers.

mod pages;
mod reader;
mod rows;

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

pub(super) use self::reader::{Reader, Verdict};

use self::pages::{Cached, FilePages};
use super::Pace;
use crate::store::failure::Damage;

/// LMDB's directory inside the data directory, and its file inside that.
const STATE: &str = "lmdb";
const FILE: &str = "lmdb/data.mdb";

/// What a walk has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walked {
    /// Bytes that were read: pages, and then rows.
    pub bytes: u64,
    /// What could not be looked at, and why.
    pub note: Option<String>,
    /// The first damage; the walk ends with it.
    pub damage: Option<Damage>,
}

impl Walked {
    /// The lines that the process writes, of which `Walked::read` makes this again.
    pub fn lines(&self) -> String {
        let mut text = format!("bytes {}\n", self.bytes);
        if let Some(note) = &self.note {
            let _ = writeln!(text, "note {note}");
        }
        if let Some(damage) = &self.damage {
            let _ = writeln!(text, "damage {} {}", damage.offset, damage.what);
        }
        text
    }

    fn read(text: &str) -> Self {
        let mut walked = Self::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("bytes", bytes)) => walked.bytes = bytes.parse().unwrap_or(0),
                Some(("note", note)) => walked.note = Some(note.to_owned()),
                Some(("damage", rest)) => {
                    let (offset, what) = rest.split_once(' ').unwrap_or(("0", rest));
                    walked.damage = Some(damage(offset.parse().unwrap_or(0), what.to_owned()));
                }
                _ => {}
            }
        }
        walked
    }
}

fn damage(offset: u64, what: String) -> Damage {
    Damage {
        file: FILE.to_owned(),
        offset,
        what,
    }
}

/// Sleeps for a walk.
pub trait Rest {
    /// Sleeps; an error once there is nobody any more to walk for.
    fn rest(&mut self, time: Duration) -> io::Result<()>;
}

/// Reads the state file in `dir`, which a node may be using: first each page, on disk and in the
/// page cache, which must not differ; then each row, in short transactions. It blocks, and may
/// crash this process where the file is damaged.
///
/// # Errors
/// When the file cannot be read, which says nothing about what is in it.
pub fn walk(dir: &Path, pace: Pace, rest: &mut dyn Rest) -> io::Result<Walked> {
    let mut walked = Walked::default();
    let mut pages = match FilePages::open(&dir.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(walked),
        opened => opened?,
    };
    let mut cached = Cached::default();
    let mut walk = Walk {
        pace,
        rest,
        bytes: 0,
    };
    if pages.is_direct() {
        walked.damage = pages::compare(&mut pages, &mut cached, &mut walk)?;
    }
    if !pages.is_direct() {
        let why = "the file system has no direct reads: of pages that the page cache holds, the \
                   disk's own bits were not seen";
        walked.note = Some(why.to_owned());
    }
    if walked.damage.is_none() {
        let bad = rows::walk(&dir.join(STATE), &mut walk, &mut || {
            pages.drop_others(&cached);
        })?;
        walked.damage = bad.map(|what| damage(0, what));
    }
    walked.bytes = walk.bytes;
    Ok(walked)
}

/// The pace of a walk, and how far it has come.
struct Walk<'a> {
    pace: Pace,
    rest: &'a mut dyn Rest,
    bytes: u64,
}

impl Walk<'_> {
    /// Rests after a piece that was read in a time, at a cost in bytes beside its own.
    fn read(&mut self, bytes: u64, beside: u64, took: Duration) -> io::Result<()> {
        self.bytes += bytes;
        self.rest.rest(self.pace.pause(bytes + beside, took))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_walk_found_comes_back_from_its_lines() {
        let walked = Walked {
            bytes: 12,
            note: Some("half of it".to_owned()),
            damage: Some(damage(4096, "two words".to_owned())),
        };
        assert_eq!(Walked::read(&walked.lines()), walked);
        assert_eq!(Walked::read("else\n\nbytes x\n"), Walked::default());
    }
}
