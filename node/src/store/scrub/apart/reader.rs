//! The process that reads the state file, as the node sees it.

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::{FILE, Walked, damage};
use crate::store::check::{CRASHES, DAMAGED};
use crate::store::failure::Damage;
use crate::store::scrub::Walker;

/// Least time that a walk may take.
const PATIENCE: Duration = Duration::from_hours(1);
/// A walk reads pages and rows, and yields: it may take this many times as long as reading the
/// file once at its rate.
const SLACK: u64 = 20;
/// The lines of a walk are shorter.
const MOST_OUTPUT: u64 = 4096;

/// What a process has found.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store::scrub) enum Verdict {
    /// Nothing is wrong with these many bytes; the note says what was not looked at.
    Sound { bytes: u64, note: Option<String> },
    /// It found damage, or crashed, as it does on damage.
    Damaged(Damage),
    /// It could not look to the end, and why.
    Unknown(String),
}

/// A running process. It ends with this value.
pub(in crate::store::scrub) struct Reader {
    child: Child,
    begun: Instant,
    patience: Duration,
}

impl Reader {
    /// Starts to read a state file of about `size` bytes at `rate` bytes a second.
    pub(in crate::store::scrub) fn start(
        walker: &Walker,
        rate: u64,
        size: u64,
    ) -> io::Result<Self> {
        let mut command = Command::new(&walker.binary);
        command
            .args(["check-data", "--while-running", "--rate", &rate.to_string()])
            .arg(&walker.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let seconds = (size / rate.max(1)).saturating_mul(SLACK);
        Ok(Self {
            child: command.spawn()?,
            begun: Instant::now(),
            patience: PATIENCE.saturating_add(Duration::from_secs(seconds)),
        })
    }

    /// What it has found, once it has ended. Does not wait.
    pub(in crate::store::scrub) fn look(&mut self) -> Option<Verdict> {
        match self.child.try_wait() {
            Ok(None) if self.begun.elapsed() < self.patience => None,
            Ok(None) => Some(Verdict::Unknown(format!(
                "it was not done after {:?}",
                self.patience
            ))),
            Ok(Some(status)) => Some(self.verdict(status)),
            Err(error) => Some(Verdict::Unknown(format!(
                "how it ended is unknown: {error}"
            ))),
        }
    }

    fn verdict(&mut self, status: ExitStatus) -> Verdict {
        let mut text = String::new();
        if let Some(output) = self.child.stdout.take()
            && let Err(error) = output.take(MOST_OUTPUT).read_to_string(&mut text)
        {
            tracing::warn!(%error, "what the walk through the state file said is lost");
        }
        let walked = Walked::read(&text);
        match (status.code(), status.signal()) {
            (Some(0), _) => Verdict::Sound {
                bytes: walked.bytes,
                note: walked.note,
            },
            (Some(code), _) if code == i32::from(DAMAGED) => {
                let unsaid = || damage(0, format!("reading {FILE} ended with {status}"));
                Verdict::Damaged(walked.damage.unwrap_or_else(unsaid))
            }
            (_, Some(signal)) if CRASHES.contains(&signal) => {
                Verdict::Damaged(damage(0, format!("reading it ended with {status}")))
            }
            _ => Verdict::Unknown(format!("the process that reads it ended with {status}")),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    fn start(dir: &Path, script: &str) -> Reader {
        let binary = dir.join("walker");
        std::fs::write(&binary, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
        let dir = dir.to_owned();
        Reader::start(&Walker { binary, dir }, 1 << 20, 0).unwrap()
    }

    fn verdict(mut reader: Reader) -> Verdict {
        loop {
            if let Some(verdict) = reader.look() {
                return verdict;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn damage_and_crashes_count_and_what_was_done_to_the_process_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let found = |script| verdict(start(dir.path(), script));
        let sound = Verdict::Sound {
            bytes: 7,
            note: Some("not all of it".to_owned()),
        };
        let asked = "test \"$1 $2 $3 $4\" = 'check-data --while-running --rate 1048576' || exit 1";
        let script = format!("{asked}; echo bytes 7; echo note not all of it");
        assert_eq!(found(&script), sound);
        let bad = damage(8192, "bits differ".to_owned());
        let script = "echo bytes 7; echo damage 8192 bits differ; exit 10";
        assert_eq!(found(script), Verdict::Damaged(bad));
        for (script, text) in [
            ("exit 10", "exit status: 10"),
            ("kill -BUS $$", "signal: 7"),
        ] {
            let verdict = found(script);
            assert!(
                matches!(&verdict, Verdict::Damaged(damage) if damage.what.contains(text)),
                "{verdict:?}"
            );
        }
        for script in ["exit 1", "exit 101", "kill -KILL $$", "kill -TERM $$"] {
            let verdict = found(script);
            assert!(
                matches!(verdict, Verdict::Unknown(_)),
                "{script}: {verdict:?}"
            );
        }
        let mut late = start(dir.path(), "exec sleep 60");
        late.patience = Duration::from_millis(50);
        assert!(matches!(verdict(late), Verdict::Unknown(_)));
    }

    #[test]
    fn the_process_ends_with_whom_it_reads_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = start(dir.path(), "exec sleep 60");
        assert_eq!(reader.look(), None);
        let process = format!("/proc/{}", reader.child.id());
        assert!(Path::new(&process).exists());
        drop(reader);
        assert!(!Path::new(&process).exists());
    }
}
