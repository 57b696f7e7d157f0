//! `roadstead load check`

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use roadstead_client::ledger::{Findings, Name, check, records_of};
use serde_json::{Value, json};

use crate::output::{Output, note};

/// Which ledgers.
#[derive(Debug, Args)]
pub struct Check {
    /// Ledgers of all producers and consumers of a run
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Pass over lines that are no records: logs of pods hold others too
    #[arg(long)]
    lenient: bool,
}

impl Check {
    pub fn run(self, output: &Output) -> anyhow::Result<()> {
        let mut records = Vec::new();
        for path in &self.files {
            let show = path.display();
            let file = File::open(path).with_context(|| format!("cannot open {show}"))?;
            for (number, line) in BufReader::new(file).lines().enumerate() {
                let line = line.with_context(|| format!("cannot read {show}"))?;
                match records_of(&line) {
                    Ok(found) => records.extend(found),
                    Err(_) if self.lenient => {}
                    Err(error) => return Err(error).context(format!("{show}:{}", number + 1)),
                }
            }
        }
        let findings = check(&records);
        output.print(&json(&findings), || findings.to_string())?;
        if findings.is_clean() && findings.sent == 0 {
            bail!(
                "the ledger holds no acknowledged send, so it proves nothing; name the ledgers of \
                 the producers too"
            );
        }
        if findings.is_clean() {
            return Ok(());
        }
        for line in examples(&findings) {
            note(&line);
        }
        bail!("the ledger is not clean")
    }
}

fn names(names: &[Name]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn json(findings: &Findings) -> Value {
    let reordered = findings
        .reordered
        .iter()
        .map(|(name, key)| format!("{name} of key {key}"));
    json!({
        "clean": findings.is_clean() && findings.sent > 0,
        "sent": findings.sent,
        "failed": findings.failed,
        "maybe": findings.maybe,
        "acked": findings.acked,
        "unanswered": findings.unanswered,
        "lost": findings.lost,
        "duplicates": findings.duplicates,
        "doubled": names(&findings.doubled),
        "reordered": reordered.collect::<Vec<_>>(),
        "unfinished": findings.unfinished,
        "unknown": names(&findings.unknown),
    })
}

/// The first few of each kind of finding.
pub fn examples(findings: &Findings) -> Vec<String> {
    let reordered: Vec<Name> = findings
        .reordered
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    let kinds = [
        ("lost", findings.lost.clone()),
        ("stored twice", names(&findings.doubled)),
        ("out of order", names(&reordered)),
        ("from nowhere", names(&findings.unknown)),
    ];
    let kinds = kinds.into_iter().filter(|(_, found)| !found.is_empty());
    let line = |(what, found): (&str, Vec<String>)| {
        let some: Vec<&str> = found.iter().take(5).map(String::as_str).collect();
        format!("{what}: {} of {}", some.join(", "), found.len())
    };
    kinds.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    fn run(lines: &str, lenient: bool) -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("ledger");
        std::fs::write(&path, lines)?;
        let output = Output {
            format: Format::Json,
        };
        Check {
            files: vec![path],
            lenient,
        }
        .run(&output)
    }

    #[test]
    fn the_exit_says_whether_the_ledger_is_clean() {
        let good = "sent\tp/1\ta\t\t4\nreceived\tp/1\ta\t\t5\nacked\ta\n";
        assert!(run(good, false).is_ok());
        let lost = format!("{good}sent\tp/2\tb\t\t6\n");
        assert!(
            run(&lost, false)
                .unwrap_err()
                .to_string()
                .contains("not clean")
        );
    }

    #[test]
    fn a_line_that_is_no_record_is_named() {
        let error = run("sent\tp/1\ta\t\t4\nhello\n", false).unwrap_err();
        assert!(format!("{error:#}").contains("ledger:2"), "{error:#}");
        assert!(run("hello\nsent\tp/1\ta\t\t4\nreceived\tp/1\ta\t\t5\n", true).is_ok());
    }

    #[test]
    fn without_a_send_nothing_is_proved() {
        for nothing in ["", "hello\n"] {
            let said = run(nothing, true).unwrap_err().to_string();
            assert!(said.contains("proves nothing"), "{said}");
        }
    }
}
