//! Running programs: bounded in time, and with errors that say what was run.
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const POLL: Duration = Duration::from_millis(10);

/// What a program left behind.
#[derive(Debug)]
pub struct Finished {
    /// Whether it ended with exit code 0.
    pub ok: bool,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

/// A program to be run, with its words, its input and its time limit.
pub struct Tool {
    command: Command,
    input: Option<String>,
    limit: Duration,
}

impl Tool {
    /// The program of this name or path, with 60 s to end.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            command: Command::new(program),
            input: None,
            limit: Duration::from_mins(1),
        }
    }

    /// Adds words.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.command.args(words);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it in this folder.
    #[must_use]
    pub fn current_dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Gives it something to read.
    #[must_use]
    pub fn input(mut self, text: impl Into<String>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// Sets the time after which it is ended and counts as failed.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end. Fails when it cannot be started or outlives its limit.
    pub fn finish(mut self) -> Result<Finished> {
        let words = words(&self.command);
        self.command
            .stdin(if self.input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self
            .command
            .spawn()
            .with_context(|| format!("cannot start: {words}"))?;
        let feeder = feed(&mut child, self.input.take());
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let ended = wait(&mut child, self.limit)?;
        if let Some(feeder) = feeder {
            // A program that ends without reading all of its input is judged by its exit code.
            drop(feeder.join());
        }
        let (stdout, stderr) = (text(stdout), text(stderr));
        let Some(ok) = ended else {
            let limit = self.limit.as_secs();
            bail!(
                "not done within {limit} s: {words}{}",
                said(&stdout, &stderr)
            );
        };
        Ok(Finished { ok, stdout, stderr })
    }

    /// Runs it to its end; what it wrote to its standard output. Fails unless it succeeds.
    pub fn output(self) -> Result<String> {
        let words = words(&self.command);
        let done = self.finish()?;
        if !done.ok {
            bail!("failed: {words}{}", said(&done.stdout, &done.stderr));
        }
        Ok(done.stdout)
    }

    /// Starts it with what it writes going to `out`; the caller ends it.
    pub fn start(mut self, out: impl Into<Stdio>) -> Result<Background> {
        let words = words(&self.command);
        let child = self
            .command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start: {words}"))?;
        Ok(Background(child))
    }
}

/// A program that runs until this is dropped.
#[derive(Debug)]
pub struct Background(Child);

impl Background {
    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to end.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn words(command: &Command) -> String {
    let mut words = command.get_program().to_string_lossy().into_owned();
    for word in command.get_args() {
        words.push(' ');
        words.push_str(&word.to_string_lossy());
    }
    words
}

fn said(stdout: &str, stderr: &str) -> String {
    let mut text = String::new();
    for (name, said) in [("stdout", stdout), ("stderr", stderr)] {
        let said = said.trim();
        if !said.is_empty() {
            let from = said.len().saturating_sub(4_000);
            let from = (from..said.len())
                .find(|&at| said.is_char_boundary(at))
                .unwrap_or(0);
            text.extend(["\n  ", name, ": ", &said[from..]]);
        }
    }
    text
}

fn feed(child: &mut Child, input: Option<String>) -> Option<JoinHandle<std::io::Result<()>>> {
    let (mut pipe, input) = (child.stdin.take()?, input?);
    Some(thread::spawn(move || pipe.write_all(input.as_bytes())))
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is still worth showing.
            drop(pipe.read_to_end(&mut all));
        }
        all
    })
}

fn text(reader: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
}

/// Whether it succeeded, or `None` where it had to be ended.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<bool>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Tool {
        Tool::new("sh").args(["-c", script])
    }

    #[test]
    fn gives_input_and_returns_output() {
        let text = "x".repeat(300_000);
        assert_eq!(sh("cat").input(text.clone()).output().unwrap(), text);
    }

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let error = sh("echo why >&2; exit 3").output().unwrap_err().to_string();
        assert!(
            error.contains("failed: sh -c") && error.contains("stderr: why"),
            "{error}"
        );
    }

    #[test]
    fn what_hangs_is_ended() {
        let began = Instant::now();
        let slow = sh("echo begun; exec sleep 60").limit(Duration::from_millis(200));
        let error = slow.output().unwrap_err().to_string();
        assert!(
            error.contains("not done within") && error.contains("begun"),
            "{error}"
        );
        assert!(began.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_long_answer_is_cut_between_characters() {
        let said = said("", &"ä".repeat(5_000));
        assert!(said.len() < 4_100 && said.ends_with('ä'));
    }

    #[test]
    fn a_background_program_ends_with_its_handle() {
        let mut sleeper = sh("exec sleep 60").start(Stdio::null()).unwrap();
        assert!(sleeper.runs());
        let pid = sleeper.0.id();
        drop(sleeper);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
