//! Every row of the state file, in transactions so short that they keep no page from being used
//! again.

use std::fmt::Write as _;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Walk;
use crate::store::check::{TABLES, row_is_bad};
use crate::store::env::{Env, EnvError, LmdbEnv, Table};

/// A transaction ends after this many bytes of rows, rows, or time.
const PIECE_BYTES: u64 = 256 << 10;
const PIECE_ROWS: usize = 1_024;
const PIECE_TIME: Duration = Duration::from_secs(1);

/// After this many bytes the file is unmapped, so that its pages can leave the page cache.
const ROUND: u64 = 256 << 20;

/// Where a walk is.
struct Place {
    /// Tables before this one are done.
    table: usize,
    /// The last row that was read of it.
    before: Option<Vec<u8>>,
}

struct Piece {
    bytes: u64,
    bad: Option<String>,
    ended: bool,
}

/// Walks all rows and says what is wrong with the first bad one. `unmapped` is called now and
/// then, while nothing of the file is mapped here.
pub(super) fn walk(
    state: &Path,
    walk: &mut Walk<'_>,
    unmapped: &mut dyn FnMut(),
) -> io::Result<Option<String>> {
    let mut place = Place {
        table: 0,
        before: None,
    };
    while place.table < TABLES.len() {
        let round = round(state, &mut place, walk);
        unmapped();
        match round {
            Ok(None) => {}
            Ok(bad) => return Ok(bad),
            Err(EnvError::Damaged(what)) => return Ok(Some(what)),
            Err(EnvError::Io(error)) => return Err(error),
            Err(error @ EnvError::Full(_)) => return Err(io::Error::other(error)),
        }
    }
    Ok(None)
}

fn round(state: &Path, place: &mut Place, walk: &mut Walk<'_>) -> Result<Option<String>, EnvError> {
    let env = LmdbEnv::open_beside(state)?;
    let mut bytes = 0;
    while let Some(table) = TABLES.get(place.table).filter(|_| bytes < ROUND) {
        let begun = Instant::now();
        let piece = piece(&env, *table, place)?;
        if piece.bad.is_some() {
            return Ok(piece.bad);
        }
        if piece.ended {
            *place = Place {
                table: place.table + 1,
                before: None,
            };
        }
        bytes += piece.bytes;
        walk.read(piece.bytes, 0, begun.elapsed())?;
    }
    Ok(None)
}

fn piece(env: &LmdbEnv, table: Table, place: &mut Place) -> Result<Piece, EnvError> {
    let from = match &place.before {
        Some(before) => [before, &[0][..]].concat(),
        None => vec![0],
    };
    let (begun, mut rows) = (Instant::now(), 0);
    let mut piece = Piece {
        bytes: 0,
        bad: None,
        ended: true,
    };
    env.view()?
        .scan(table, &from, &[0xFF; 24], &mut |key, value| {
            if let Some(what) = row_is_bad(table, place.before.as_deref(), key, value) {
                piece.bad = Some(format!("{what} (table {table:?}, row {})", hex(key)));
                return ControlFlow::Break(());
            }
            place.before = Some(key.to_vec());
            piece.bytes += (key.len() + value.len()) as u64;
            rows += 1;
            let full = piece.bytes >= PIECE_BYTES || rows >= PIECE_ROWS;
            if full || begun.elapsed() >= PIECE_TIME {
                piece.ended = false;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
    Ok(piece)
}

fn hex(key: &[u8]) -> String {
    key.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Pace, Rest};
    use super::*;
    use crate::store::env::{Change, Write};

    struct Rows(Vec<(Table, Vec<u8>, Vec<u8>)>);

    impl Change for Rows {
        fn each(&self, write: &mut Write<'_>) -> Result<(), EnvError> {
            self.0
                .iter()
                .try_for_each(|(table, key, value)| write(*table, key, Some(value)))
        }
    }

    struct Sleepless;

    impl Rest for Sleepless {
        fn rest(&mut self, _: Duration) -> io::Result<()> {
            Ok(())
        }
    }

    fn payload(n: u32, bad: bool) -> (Table, Vec<u8>, Vec<u8>) {
        let part = vec![n as u8; 2_000];
        let crc = crc32c::crc32c(&part) ^ u32::from(bad);
        let value = [&crc.to_le_bytes()[..], &part].concat();
        (
            Table::Payloads,
            [&[1], &n.to_be_bytes()[..]].concat(),
            value,
        )
    }

    fn walked(rows: Vec<(Table, Vec<u8>, Vec<u8>)>) -> (Option<String>, u64) {
        let dir = tempfile::tempdir().unwrap();
        let env = LmdbEnv::open(dir.path(), 1 << 30).unwrap();
        env.commit(&Rows(rows)).unwrap();
        // Within one process LMDB may be open once.
        drop(env);
        let mut walk_of = Walk {
            pace: Pace(u64::MAX),
            rest: &mut Sleepless,
            bytes: 0,
        };
        let bad = walk(dir.path(), &mut walk_of, &mut || {}).unwrap();
        (bad, walk_of.bytes)
    }

    #[test]
    fn every_row_is_read_over_many_transactions() {
        let other = (0..5_000_u32).map(|n| (Table::Rows, n.to_be_bytes().to_vec(), vec![7; 9]));
        let rows = (0..2_000)
            .map(|n| payload(n, false))
            .chain(other.filter(|row| row.1 > vec![0]));
        let rows: Vec<_> = rows.collect();
        let bytes: usize = rows
            .iter()
            .map(|(_, key, value)| key.len() + value.len())
            .sum();
        assert_eq!(walked(rows), (None, bytes as u64));
        assert_eq!(walked(Vec::new()), (None, 0));
    }

    #[test]
    fn a_bad_row_is_named() {
        let rows = (0..2_000).map(|n| payload(n, n == 1_234)).collect();
        let bad = walked(rows).0.unwrap();
        assert!(
            bad.contains("CRC32C of a payload") && bad.contains("row 01000004d2"),
            "{bad}"
        );
        let bad = walked(vec![(Table::Groups, vec![0, 1], vec![9])])
            .0
            .unwrap();
        assert!(bad.contains("row of a group is unreadable"), "{bad}");
    }
}
