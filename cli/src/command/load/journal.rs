//! Where the records of a ledger go: a file, stdout, or memory.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use roadstead_client::ledger::{Record, SEPARATOR};

/// A line on stdout gets no more records when it has so many bytes: a container's log is cut into
/// lines of 16 KiB.
const LINE: usize = 8 << 10;
/// A record waits so long on its way to stdout, at most.
const LATE: Duration = Duration::from_millis(250);

/// Takes records from any task.
#[derive(Clone)]
pub struct Journal(Arc<Mutex<Target>>);

enum Target {
    Memory(Vec<Record>),
    /// One write per record: a process that is killed leaves all of them.
    File(Writer<File>),
    /// Many records share a line: every line of a container's log passes through half of
    /// Kubernetes, and a thousand a second are more work for it than the messages for the cluster.
    Stdout(Writer<std::io::Stdout>, String),
}

struct Writer<W> {
    to: W,
    failed: Option<std::io::Error>,
}

impl Journal {
    /// Keeps the records.
    pub fn in_memory() -> Self {
        Self::of(Target::Memory(Vec::new()))
    }

    /// Writes a line per record to a file, or for `-` several in a line to stdout.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn to(path: &Path) -> anyhow::Result<Self> {
        if path.as_os_str() != "-" {
            let file = File::create(path);
            let file = file.with_context(|| format!("cannot create {}", path.display()))?;
            return Ok(Self::of(Target::File(Writer::new(file))));
        }
        let journal = Self::of(Target::Stdout(
            Writer::new(std::io::stdout()),
            String::new(),
        ));
        let target = Arc::downgrade(&journal.0);
        thread::spawn(move || write_out(&target));
        Ok(journal)
    }

    fn of(target: Target) -> Self {
        Self(Arc::new(Mutex::new(target)))
    }

    /// Takes in what happened. What cannot be written is reported by [`Self::finish`].
    pub fn enter(&self, record: Record) {
        match &mut *lock(&self.0) {
            Target::Memory(records) => records.push(record),
            Target::File(file) => file.write(&format!("{record}\n")),
            Target::Stdout(stdout, line) => {
                if !line.is_empty() {
                    line.push(SEPARATOR);
                }
                line.push_str(&record.to_string());
                if line.len() >= LINE {
                    stdout.write_line(line);
                }
            }
        }
    }

    /// The records kept; empty for a file.
    ///
    /// # Errors
    /// When a record could not be written.
    pub fn finish(&self) -> anyhow::Result<Vec<Record>> {
        let failed = match &mut *lock(&self.0) {
            Target::Memory(records) => return Ok(std::mem::take(records)),
            Target::File(file) => file.failed.take(),
            Target::Stdout(stdout, line) => {
                stdout.write_line(line);
                stdout.failed.take()
            }
        };
        match failed {
            Some(error) => Err(error).context("cannot write the ledger: it is not complete"),
            None => Ok(Vec::new()),
        }
    }
}

impl<W: Write> Writer<W> {
    fn new(to: W) -> Self {
        Self { to, failed: None }
    }

    fn write(&mut self, text: &str) {
        let written = self.to.write_all(text.as_bytes());
        if let Err(error) = written.and_then(|()| self.to.flush()) {
            self.failed.get_or_insert(error);
        }
    }

    /// Writes the line, and leaves it empty for the next one.
    fn write_line(&mut self, line: &mut String) {
        if !line.is_empty() {
            line.push('\n');
            self.write(line);
            line.clear();
        }
    }
}

/// Writes what waits, now and then, for as long as there is a journal.
fn write_out(target: &Weak<Mutex<Target>>) {
    while let Some(target) = target.upgrade() {
        if let Target::Stdout(stdout, line) = &mut *lock(&target) {
            stdout.write_line(line);
        }
        drop(target);
        thread::sleep(LATE);
    }
}

fn lock(target: &Mutex<Target>) -> std::sync::MutexGuard<'_, Target> {
    target.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time that records carry, in microseconds since 1970.
pub fn clock_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}
