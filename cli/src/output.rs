//! What commands print on stdout: a table for people, JSON for programs.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use serde_json::Value;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// How to print results.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// How to print results
    #[arg(
        long = "output",
        short = 'o',
        global = true,
        value_enum,
        default_value = "table"
    )]
    pub format: Format,
}

impl Output {
    /// Whether programs read it.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints one result: as JSON, or as the text that `text` makes.
    ///
    /// # Errors
    /// When stdout is closed.
    pub fn print(&self, value: &Value, text: impl FnOnce() -> String) -> io::Result<()> {
        match self.format {
            Format::Json => line(&format!("{value:#}")),
            Format::Table => line(&text()),
        }
    }
}

/// Whether arguments that are wrong as a whole ask for JSON.
pub fn json_is_asked_for(arguments: impl IntoIterator<Item = OsString>) -> bool {
    let mut before = OsString::new();
    for argument in arguments {
        let named = (before == "-o" || before == "--output") && argument == "json";
        let joined = ["-ojson", "-o=json", "--output=json"];
        if named || joined.iter().any(|one| argument == *one) {
            return true;
        }
        before = argument;
    }
    false
}

/// The path by which this binary was started, for commands that are to be tried next.
pub fn program() -> String {
    let path = std::env::args_os().next();
    path.map_or_else(
        || "roadstead".to_owned(),
        |path| path.to_string_lossy().into_owned(),
    )
}

/// Prints a line on stdout.
///
/// # Errors
/// When stdout is closed.
pub fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Writes bytes as they are, and a newline.
///
/// # Errors
/// When stdout cannot be written.
pub fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.write_all(b"\n")
}

/// Says something to whoever watches, on stderr, beside the result.
pub fn note(text: &str) {
    // Nothing can be said where stderr is closed.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Rows under a header, without lines between them.
pub fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table.add_rows(rows);
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_seen_in_wrong_arguments_too() {
        let asked = |line: &str| json_is_asked_for(line.split(' ').map(OsString::from));
        assert!(asked("queue get -o json") && asked("--output=json queue"));
        assert!(!asked("send q json") && !asked("queue ls -o table json"));
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a".into(), "1".into()], ["longer".into(), "22".into()]];
        let text = table(["NAME", "N"], rows);
        let column = |line: &str, what: &str| line.rfind(what).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(column(lines[0], "NAME"), column(lines[1], "a"));
        assert_eq!(column(lines[0], "N"), column(lines[1], "1"));
        assert_eq!(column(lines[1], "1"), column(lines[2], "22"));
    }
}
