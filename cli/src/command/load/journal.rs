//! Where the records of a ledger go: a file, stdout, or memory.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use roadstead_client::ledger::Record;

/// Takes records from any task.
#[derive(Clone)]
pub struct Journal(Arc<Mutex<Target>>);

enum Target {
    Memory(Vec<Record>),
    Lines(Box<dyn Write + Send>, Option<std::io::Error>),
}

impl Journal {
    /// Keeps the records.
    pub fn in_memory() -> Self {
        Self(Arc::new(Mutex::new(Target::Memory(Vec::new()))))
    }

    /// Writes a line per record to a file, or to stdout for `-`.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn to(path: &Path) -> anyhow::Result<Self> {
        let lines: Box<dyn Write + Send> = if path.as_os_str() == "-" {
            Box::new(std::io::stdout())
        } else {
            let file = std::fs::File::create(path);
            Box::new(file.with_context(|| format!("cannot create {}", path.display()))?)
        };
        Ok(Self(Arc::new(Mutex::new(Target::Lines(lines, None)))))
    }

    /// Takes in what happened. What cannot be written is reported by [`Self::finish`].
    pub fn enter(&self, record: Record) {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Target::Memory(records) => records.push(record),
            // One write per line: a process that is killed leaves whole lines.
            Target::Lines(lines, failed) => {
                if let Err(error) = lines.write_all(format!("{record}\n").as_bytes()) {
                    failed.get_or_insert(error);
                }
            }
        }
    }

    /// The records kept; empty for a file.
    ///
    /// # Errors
    /// When a record could not be written.
    pub fn finish(&self) -> anyhow::Result<Vec<Record>> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Target::Memory(records) => Ok(std::mem::take(records)),
            Target::Lines(lines, failed) => {
                if let Some(error) = failed.take() {
                    return Err(error).context("cannot write the ledger: it is not complete");
                }
                lines.flush().context("cannot write the ledger")?;
                Ok(Vec::new())
            }
        }
    }
}
