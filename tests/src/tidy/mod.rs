//! The house rules that no compiler holds, as functions from the tree of files to findings.
//!
//! Each rule has a test beside it that feeds it a violation; `tests/tidy.rs` runs all of them over
//! the real tree.

pub mod features;
pub mod imports;
pub mod modules;
pub mod node_code;
pub mod sizes;
pub mod source;
pub mod text;
pub mod tree;

use std::fmt;

pub use tree::{File, Tree};

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// File, relative to the top of the tree.
    pub path: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl Finding {
    /// A finding at a line (from 1; 0 for the whole file).
    pub fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// A rule: the places of a tree that break it.
pub type Rule = fn(&Tree) -> Vec<Finding>;

/// Every rule with its name.
pub const RULES: &[(&str, Rule)] = &[
    ("sizes of files and lines", sizes::check),
    ("words and markers that do not belong", text::check),
    ("who may import whom", imports::check),
    ("test features stay out of images", features::check),
    ("every module is reachable", modules::check),
    ("node code can be simulated", node_code::check),
];
