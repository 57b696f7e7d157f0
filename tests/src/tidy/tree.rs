//! The files of the project, as the rules see them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Directories that hold no sources of ours.
const SKIPPED: &[&str] = &[
    ".git",
    "target",
    "__pycache__",
    "node_modules",
    ".venv",
    "stubs",
];

/// Files that are data, not text of ours.
const DATA: &[&str] = &["ndjson", "png", "svg", "lock", "sum", "tar", "gz"];

/// A text file.
#[derive(Debug, Clone)]
pub struct File {
    /// Relative to the top, with `/`.
    pub path: String,
    /// What it holds.
    pub text: String,
}

impl File {
    /// A file made up for a test.
    pub fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// What follows the last dot of its name; empty without one.
    pub fn extension(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// Whether it is a program: Rust, Go, Python or shell.
    pub fn is_program(&self) -> bool {
        matches!(self.extension(), "rs" | "go" | "py" | "sh") || self.text.starts_with("#!")
    }

    /// Whether it is written by hand, not data or a lock file.
    pub fn is_written(&self) -> bool {
        !DATA.contains(&self.extension())
    }
}

/// All files of the project.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// In order of path.
    pub files: Vec<File>,
}

impl Tree {
    /// Reads every text file below `top`.
    pub fn read(top: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        let mut waiting = vec![PathBuf::new()];
        while let Some(dir) = waiting.pop() {
            for entry in fs::read_dir(top.join(&dir))? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let path = dir.join(&name);
                let kind = entry.file_type()?;
                if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                    waiting.push(path);
                } else if kind.is_file() && name != ".git" {
                    let Ok(text) = fs::read_to_string(top.join(&path)) else {
                        continue;
                    };
                    files.push(File {
                        path: path.to_string_lossy().into_owned(),
                        text,
                    });
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { files })
    }

    /// A tree made up for a test.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| File::new(path, text))
            .collect();
        Self { files }
    }

    /// The file of this path.
    pub fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Files with this extension.
    pub fn with_extension<'a>(&'a self, extension: &'a str) -> impl Iterator<Item = &'a File> {
        self.files
            .iter()
            .filter(move |file| file.extension() == extension)
    }
}
