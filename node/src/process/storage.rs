//! Opens what a node keeps on disk, after looking for damage.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::{memory, scrub};
use crate::config::NodeConfig;
pub use crate::store::check::DAMAGED;
use crate::store::check::{self, CRASHES, Outcome};
use crate::store::data_dir::DataDir;
use crate::store::disk::{Disk, FsDisk};
use crate::store::drivers::StoreThreads;
use crate::store::env::LmdbEnv;
use crate::store::{Damage, Store, StoreError, give_up_reserve};

/// What a data directory holds.
pub enum Opened {
    /// It can be used.
    Sound(Storage),
    /// It must not be used again.
    Damaged(Damaged),
}

/// A data directory whose data must not be used again.
pub struct Damaged {
    /// What is wrong.
    pub damage: Damage,
    /// Whose it is.
    pub data_dir: DataDir,
    root: PathBuf,
}

/// An open data directory; its background threads run.
pub struct Storage {
    /// Who it belongs to.
    pub data_dir: DataDir,
    /// Journal and rows.
    pub store: Store,
    /// Write the journal and commit the rows.
    pub threads: StoreThreads,
}

/// LMDB's directory inside the data directory.
const STATE: &str = "lmdb";
/// Least size of LMDB's map in bytes; it is address space, not memory or disk.
const MIN_MAP: u64 = 64 << 30;
/// How long the walk through the data may take before it counts as damaged.
const WALK: Duration = Duration::from_mins(10);
/// How often the walk is looked at.
const POLL: Duration = Duration::from_millis(10);
/// Bytes that a start needs for its own notes.
const LEAST_FREE: u64 = 4 << 20;

impl Storage {
    /// Opens the directory of a node that may use `memory` bytes. Blocks while the data is checked
    /// and the journal is read. After a crash every row is walked by `walker`, where it is given;
    /// it also reads them again and again while the node runs.
    ///
    /// Rows that are damaged are made anew from the journal, as far as that goes back: see
    /// [`Store::lost_groups`].
    ///
    /// # Errors
    /// When it cannot be read, or it cannot be told whose it is.
    pub fn open(config: &NodeConfig, memory: u64, walker: Option<&Path>) -> anyhow::Result<Opened> {
        let disk = FsDisk::open(&config.data_dir)?;
        let root = disk.root().to_owned();
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let space = disk
            .space()
            .context("the size of the volume cannot be found out")?;
        let map = map_bytes(space.total);
        if space.free < LEAST_FREE && give_up_reserve(&*disk) {
            tracing::warn!(
                free = space.free,
                "no disk space to start: the reserve was given up"
            );
        }
        check::finish_set_aside(&root).context("the damaged data cannot be set aside")?;
        let opened = DataDir::open(Arc::clone(&disk), rand::random());
        let mut data_dir = opened.with_context(|| give_up(&root))?;
        if data_dir.was_clean() {
            // It served and stopped in order since: what was made anew is whole.
            check::forget_lmdb(&root).context("LMDB's damaged files cannot be removed")?;
        }
        let mut options = memory::store_options(memory, space.total, config.segment_size);
        options.nonce = rand::random();
        options.window_bytes = config.journal_window.unwrap_or(options.window_bytes);
        options.scrub = scrub::options(config, walker, &root);
        match found(&data_dir, &root, walker)? {
            Outcome::Clean => {}
            Outcome::RebuildLmdb(damage) | Outcome::Short(damage) => {
                tracing::error!(%damage, "LMDB is damaged; it is made anew");
                check::drop_lmdb(&root).context("LMDB's files cannot be removed")?;
                data_dir.note_damage(None)?;
            }
            Outcome::Damaged(damage) => return Ok(Opened::damaged(damage, data_dir, root)),
        }
        let env = LmdbEnv::open(&root.join(STATE), map)?;
        if let Some(reserve) = config.reserve {
            (options.reserve_bytes, options.reserve_percent) = (reserve, 0);
        }
        let (store, drivers) = match Store::open(disk, Arc::new(env), &options) {
            Err(StoreError::Damage(damage)) => {
                return Ok(Opened::damaged(damage, data_dir, root));
            }
            opened => opened?,
        };
        let threads = drivers
            .start_threads()
            .context("a thread of the store cannot start")?;
        Ok(Opened::Sound(Self {
            data_dir,
            store,
            threads,
        }))
    }
}

impl Opened {
    fn damaged(damage: Damage, data_dir: DataDir, root: PathBuf) -> Self {
        Self::Damaged(Damaged {
            damage,
            data_dir,
            root,
        })
    }
}

impl Damaged {
    /// Renames the data, so that the next start is that of a node that takes this one's place.
    /// Only where the cluster has said that it does without it. Returns where the data went.
    ///
    /// # Errors
    /// When the disk refuses it.
    pub fn set_aside(mut self) -> anyhow::Result<PathBuf> {
        // A disk that reads well the next time does not undo that it was given up.
        self.data_dir.note_damage(Some(self.damage.clone()))?;
        self.data_dir.write_successor(rand::random())?;
        let root = &self.root;
        check::set_aside(root).with_context(|| format!("{} cannot be set aside", root.display()))
    }

    /// Why it is not given up, and what a person can do.
    pub fn why_it_stays(&self, why: &anyhow::Error) -> anyhow::Error {
        let (damage, otherwise) = (&self.damage, give_up(&self.root));
        anyhow::anyhow!(
            "{damage}; the cluster cannot do without it now: {why:#}; started again, the node asks \
             again; {otherwise}"
        )
    }
}

/// Walks a data directory that another process has locked for this. True when it is sound.
///
/// # Errors
/// When it cannot be read.
pub fn walk(root: &Path) -> anyhow::Result<bool> {
    belongs_to_a_node(root)?;
    match check::walk(root, usize::try_from(MIN_MAP).unwrap_or(usize::MAX))? {
        Outcome::Clean => Ok(true),
        Outcome::RebuildLmdb(damage) | Outcome::Short(damage) | Outcome::Damaged(damage) => {
            tracing::error!(%damage, "the data is damaged");
            Ok(false)
        }
    }
}

/// Renames the data of a node that is not running, so that it comes back as a new node.
///
/// # Errors
/// When it is no node's, a node runs on it or it cannot be renamed.
pub fn set_aside(root: &Path) -> anyhow::Result<PathBuf> {
    belongs_to_a_node(root)?;
    let _locked = FsDisk::open(root)?;
    check::set_aside(root).with_context(|| format!("{} cannot be set aside", root.display()))
}

/// Its identity may be what is damaged, so a journal alone will do.
pub(super) fn belongs_to_a_node(root: &Path) -> anyhow::Result<()> {
    if root.join("identity").exists() || root.join("journal").exists() {
        return Ok(());
    }
    bail!(
        "{} is no data directory of a node: it has neither an identity nor a journal",
        root.display()
    )
}

/// What was found while the node ran, or is found now: by its shape, and where the last stop was
/// not in order or the shape leaves a doubt, by a walk.
fn found(data_dir: &DataDir, root: &Path, walker: Option<&Path>) -> anyhow::Result<Outcome> {
    if let Some(damage) = data_dir.damage().cloned() {
        let of_rows = damage.file.starts_with(STATE);
        return Ok(if of_rows {
            Outcome::RebuildLmdb(damage)
        } else {
            Outcome::Damaged(damage)
        });
    }
    let shape = check::shape(root)?;
    let walker = match &shape {
        Outcome::Clean => walker.filter(|_| !data_dir.was_clean()),
        Outcome::Short(_) if walker.is_some() => walker,
        _ => return Ok(shape),
    };
    let walked = walker.and_then(|binary| walk_apart(binary, root, WALK));
    Ok(walked.map_or(Outcome::Clean, |what| {
        Outcome::RebuildLmdb(Damage {
            file: format!("{STATE}/data.mdb"),
            offset: 0,
            what,
        })
    }))
}

/// Walks the data in a process of its own: LMDB may crash on what is damaged. Says what is wrong.
fn walk_apart(binary: &Path, root: &Path, patience: Duration) -> Option<String> {
    let started = Instant::now();
    let mut command = Command::new(binary);
    command
        .arg("check-data")
        .arg(root)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            tracing::warn!(%error, "the data could not be walked; damage would be found in use");
            return None;
        }
    };
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return verdict(status),
            Ok(None) if started.elapsed() < patience => std::thread::sleep(POLL),
            _ => {
                // It may have ended by itself just now.
                let _ = child.kill();
                let _ = child.wait();
                tracing::warn!(
                    ?patience,
                    "walking the data took too long; it goes unwalked"
                );
                return None;
            }
        }
    }
}

/// Only what speaks of the data counts: a walk can also be killed, or fail by itself.
fn verdict(status: ExitStatus) -> Option<String> {
    if status.code() == Some(i32::from(DAMAGED)) {
        return Some("rows are damaged".to_owned());
    }
    if status
        .signal()
        .is_some_and(|signal| CRASHES.contains(&signal))
    {
        return Some(format!("walking the data ended with {status}"));
    }
    if !status.success() {
        tracing::warn!(%status, "the data could not be walked; damage would be found in use");
    }
    None
}

fn map_bytes(volume: u64) -> usize {
    usize::try_from(volume.max(MIN_MAP)).unwrap_or(usize::MAX)
}

fn give_up(root: &Path) -> String {
    let root = root.display();
    format!(
        "the data in {root} cannot be used; if every shard has a healthy majority without this \
         node, run `roadstead-node set-aside {root}` and start it again: it comes back as a new \
         node, and the old data is kept beside"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn walker(directory: &Path, script: &str) -> PathBuf {
        let path = directory.join("walker");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_walk_tells_of_damage_by_what_it_finds_and_by_crashing_only() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let table = [
            ("test \"$1\" = check-data && test -d \"$2\"", None),
            ("exit 10", Some("rows are damaged")),
            ("kill -SEGV $$", Some("signal")),
            ("exec sleep 60", None),
            ("exit 1", None),
            ("kill -TERM $$", None),
        ];
        for (script, expected) in table {
            let found = walk_apart(&walker(root, script), root, Duration::from_millis(300));
            match expected {
                None => assert_eq!(found, None, "{script}"),
                Some(text) => assert!(found.as_ref().unwrap().contains(text), "{found:?}"),
            }
        }
        assert_eq!(walk_apart(Path::new("/nowhere"), root, WALK), None);
    }

    #[test]
    fn what_is_no_nodes_is_neither_sound_nor_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let (root, nowhere) = (directory.path(), directory.path().join("nowhere"));
        std::fs::write(root.join("notes.yaml"), "kind: Queue").unwrap();
        for elsewhere in [root, &nowhere] {
            let error = walk(elsewhere).unwrap_err().to_string();
            assert!(error.contains("no data directory"), "{error}");
            let error = set_aside(elsewhere).unwrap_err().to_string();
            assert!(error.contains("no data directory"), "{error}");
        }
        assert!(!nowhere.exists(), "nothing is made");
        std::fs::write(root.join("identity"), "").unwrap();
        assert!(walk(root).unwrap(), "it has no rows yet");
        set_aside(root).unwrap();
        assert!(root.join("damaged-0").join("identity").exists());
    }

    /// LMDB does not write a page that it took and gave back within one transaction.
    #[test]
    fn a_file_that_ends_before_its_last_page_is_walked() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let state = root.join(STATE);
        let disk: Arc<dyn Disk> = Arc::new(FsDisk::open(root).unwrap());
        let data_dir = DataDir::open(disk, 7).unwrap();
        drop(LmdbEnv::open(&state, 1 << 20).unwrap());
        let file = std::fs::File::options()
            .write(true)
            .open(state.join("data.mdb"))
            .unwrap();
        let length = file.metadata().unwrap().len();
        assert!(length >= 3 * 4_096, "{length}");
        file.set_len(length - 4_096).unwrap();
        let walked = |script: &str| {
            let walker = walker(root, script);
            found(&data_dir, root, Some(&walker)).unwrap()
        };
        assert_eq!(walked("exit 0"), Outcome::Clean);
        assert!(matches!(walked("exit 10"), Outcome::RebuildLmdb(_)));
        let alone = found(&data_dir, root, None).unwrap();
        assert!(matches!(alone, Outcome::Short(_)), "{alone:?}");
    }

    #[test]
    fn what_was_noted_counts_before_what_can_be_seen() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let state = root.join(STATE);
        let disk: Arc<dyn Disk> = Arc::new(FsDisk::open(root).unwrap());
        let mut data_dir = DataDir::open(disk, 7).unwrap();
        drop(LmdbEnv::open(&state, 1 << 20).unwrap());
        assert_eq!(found(&data_dir, root, None).unwrap(), Outcome::Clean);
        let damage = |file: &str| Damage {
            file: file.to_owned(),
            offset: 4_096,
            what: "it has rotted".to_owned(),
        };
        let (rows, journal) = (damage("lmdb/data.mdb"), damage("journal/00000003"));
        data_dir.note_damage(Some(rows.clone())).unwrap();
        let expected = Outcome::RebuildLmdb(rows);
        assert_eq!(found(&data_dir, root, None).unwrap(), expected);
        data_dir.note_damage(Some(journal.clone())).unwrap();
        let expected = Outcome::Damaged(journal);
        assert_eq!(found(&data_dir, root, None).unwrap(), expected);
        data_dir.note_damage(None).unwrap();
        std::fs::write(state.join("data.mdb"), [0; 8192]).unwrap();
        let rebuild = found(&data_dir, root, None).unwrap();
        assert!(matches!(rebuild, Outcome::RebuildLmdb(_)), "{rebuild:?}");
    }
}
