//! Looking for damage before the data is used: LMDB can crash the process that maps a damaged
//! file, so this runs before it is opened, and, after an unclean stop, in a process of its own.

use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::data_dir::{NAME as IDENTITY, SUCCESSOR};
use super::env::{Env, LmdbEnv, Table};
use super::failure::Damage;

const PAGE: usize = 4096;
/// All tables, in the order in which they are walked.
pub(super) const TABLES: [Table; 4] = [Table::Groups, Table::Rows, Table::Payloads, Table::Garbage];
/// Where a meta page's contents begin, and what is in them (LMDB's data format 1).
const META: usize = 16;
const MAGIC: u32 = 0xBEEF_C0DE;

/// Exit code of a process that walked and found damage.
pub const DAMAGED: u8 = 10;

/// Signals by which a process ends that met damage; others are sent to it.
pub const CRASHES: [i32; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGABRT,
    libc::SIGILL,
    libc::SIGFPE,
];

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing wrong, or nothing there yet.
    Clean,
    /// LMDB's file ends before its last page. Where the pages that are missing are free ones,
    /// which LMDB never wrote, nothing is wrong: [`walk`] tells.
    Short(Damage),
    /// LMDB alone is damaged: [`drop_lmdb`], if the journal reaches back to each group's first
    /// entry (opening the store tells), else the whole directory must be given up.
    RebuildLmdb(Damage),
    /// The directory must be given up: [`set_aside`].
    Damaged(Damage),
}

/// Checks the shape of LMDB's file without mapping it: its length and both meta pages.
pub fn shape(dir: &Path) -> io::Result<Outcome> {
    let name = "lmdb/data.mdb";
    let file = match File::open(dir.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Outcome::Clean),
        opened => opened?,
    };
    let length = file.metadata()?.len();
    let found = |offset: usize, what: String| Damage {
        file: name.into(),
        offset: offset as u64,
        what,
    };
    let damage = |offset, what| Ok(Outcome::RebuildLmdb(found(offset, what)));
    let mut pages = [0; 2 * PAGE];
    if length < pages.len() as u64 {
        return damage(0, format!("the file has only {length} bytes"));
    }
    file.read_exact_at(&mut pages, 0)?;
    let mut metas = [(0, 0); 2];
    for (n, meta) in metas.iter_mut().enumerate() {
        let at = n * PAGE + META;
        let u32_at = |o: usize| {
            pages[at + o..]
                .first_chunk()
                .map(|b| u32::from_le_bytes(*b))
        };
        let u64_at = |o: usize| {
            pages[at + o..]
                .first_chunk()
                .map(|b| u64::from_le_bytes(*b))
        };
        if u32_at(0) != Some(MAGIC) {
            return damage(at, format!("meta page {n} is not one"));
        }
        // After magic, version, address and map size: two databases of 48 bytes, then these.
        match (u64_at(24 + 96), u64_at(24 + 96 + 8)) {
            (Some(last), Some(txn)) => *meta = (last, txn),
            _ => return damage(at, format!("meta page {n} is cut")),
        }
    }
    let [(last_a, txn_a), (last_b, txn_b)] = metas;
    let fresh = txn_a <= 1 && txn_b <= 1;
    if !fresh && txn_a.abs_diff(txn_b) != 1 {
        return damage(
            0,
            format!("the meta pages are of transactions {txn_a} and {txn_b}"),
        );
    }
    let last = if txn_a > txn_b { last_a } else { last_b };
    let wanted = last.saturating_add(1).saturating_mul(PAGE as u64);
    if length < wanted {
        let what = format!("the file has {length} bytes instead of {wanted}");
        return Ok(Outcome::Short(found(0, what)));
    }
    Ok(Outcome::Clean)
}

/// Walks every row of LMDB, which may crash this process: call it in a process of its own with a
/// timeout, and take a crash or a timeout for [`Outcome::RebuildLmdb`]. `dir` must be locked by
/// whoever started it.
pub fn walk(dir: &Path, map_bytes: usize) -> io::Result<Outcome> {
    match shape(dir)? {
        Outcome::Clean | Outcome::Short(_) => {}
        damaged => return Ok(damaged),
    }
    let state = dir.join("lmdb");
    if !state.join("data.mdb").exists() {
        return Ok(Outcome::Clean);
    }
    let walked = LmdbEnv::open(&state, map_bytes).and_then(|env| {
        let view = env.view()?;
        let mut bad = None;
        for table in TABLES {
            let mut before: Option<Vec<u8>> = None;
            view.scan(table, &[0], &[0xFF; 24], &mut |key, value| {
                bad = row_is_bad(table, before.as_deref(), key, value);
                before = Some(key.to_vec());
                if bad.is_some() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
            if bad.is_some() {
                break;
            }
        }
        Ok(bad)
    });
    let what = match walked {
        Ok(None) => return Ok(Outcome::Clean),
        Ok(Some(what)) => what.to_owned(),
        Err(error) => error.to_string(),
    };
    Ok(Outcome::RebuildLmdb(Damage {
        file: "lmdb/data.mdb".into(),
        offset: 0,
        what,
    }))
}

/// What is wrong with a row that follows the row `before`.
pub(super) fn row_is_bad(
    table: Table,
    before: Option<&[u8]>,
    key: &[u8],
    value: &[u8],
) -> Option<&'static str> {
    if before.is_some_and(|before| before >= key) {
        return Some("rows are out of order");
    }
    let sealed = value.split_first_chunk::<4>();
    match table {
        Table::Payloads
            if sealed
                .is_none_or(|(crc, part)| u32::from_le_bytes(*crc) != crc32c::crc32c(part)) =>
        {
            Some("the CRC32C of a payload does not match")
        }
        Table::Groups if super::rows::keys::GroupRow::decode(value).is_none() => {
            Some("the row of a group is unreadable")
        }
        _ => None,
    }
}

/// Where LMDB's files are while it is not known whether the journal can make them again.
const OLD: &str = "lmdb-damaged";

/// Takes LMDB's files away, to be made again from the journal; [`forget_lmdb`] removes them once
/// that is done.
pub fn drop_lmdb(dir: &Path) -> io::Result<()> {
    if !dir.join("lmdb").exists() {
        // A crash came between this and whoever asked for it.
        return Ok(());
    }
    if dir.join(OLD).exists() {
        // The first one holds what the node had; this one was being made anew.
        remove(&dir.join("lmdb"))?;
    } else {
        fs::rename(dir.join("lmdb"), dir.join(OLD))?;
    }
    File::open(dir)?.sync_all()
}

/// Removes the files that [`drop_lmdb`] took away.
pub fn forget_lmdb(dir: &Path) -> io::Result<()> {
    remove(&dir.join(OLD))
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Renames everything in a damaged data directory (but its lock) into `damaged-N` inside it, so
/// that the node comes back as a new one. Returns where it went.
///
/// The identity goes first, durably: a journal without one is never used, while an identity whose
/// journal is gone would be a node that has forgotten its votes.
pub fn set_aside(dir: &Path) -> io::Result<PathBuf> {
    let free = (0..10_000)
        .map(|n| dir.join(format!("damaged-{n}")))
        .find(|path| !path.exists());
    let target = free.ok_or_else(|| io::Error::other("no name left for the damaged data"))?;
    fs::create_dir(&target)?;
    let mut names: Vec<_> = fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    names.sort_by_key(|entry| entry.file_name() != IDENTITY);
    for entry in names {
        let name = entry.file_name();
        let stays = name == "lock" || name == SUCCESSOR;
        if !stays && !name.to_string_lossy().starts_with("damaged-") {
            fs::rename(entry.path(), target.join(&name))?;
            if name == IDENTITY {
                File::open(dir)?.sync_all()?;
            }
        }
    }
    File::open(dir)?.sync_all()?;
    Ok(target)
}

/// Goes on with [`set_aside`] where it was cut short after a successor was written down.
pub fn finish_set_aside(dir: &Path) -> io::Result<()> {
    let there = |name: &str| dir.join(name).exists();
    if there(SUCCESSOR) && !there(IDENTITY) && (there("journal") || there("lmdb")) {
        set_aside(dir)?;
    }
    Ok(())
}
