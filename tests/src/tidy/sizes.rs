//! Files of 400 lines and lines of 100 columns at most.

use super::{Finding, Tree};

/// Lines of a program at most.
const LINES: usize = 400;

/// Columns of a line of Rust at most.
const COLUMNS: usize = 100;

/// Programs that are too long, and lines of Rust that are too wide. A line that is one long
/// address stays.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.is_program()) {
        let lines = file.text.lines().count();
        if lines > LINES {
            let what = format!("{lines} lines; split it by idea, a file has at most {LINES}");
            findings.push(Finding::new(&file.path, 0, what));
        }
        if file.extension() != "rs" {
            continue;
        }
        for (number, line) in file.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS && !line.contains("://") {
                let what = format!("{columns} columns; a line has at most {COLUMNS}");
                findings.push(Finding::new(&file.path, number + 1, what));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_found_in_every_language() {
        let long = "x\n".repeat(LINES + 1);
        let script = format!("#!/bin/sh\n{long}");
        let fits = "x\n".repeat(LINES);
        let tree = Tree::of(&[
            ("a.rs", &long),
            ("b.py", &long),
            ("c.go", &long),
            ("d", &script),
            ("e.rs", &fits),
            ("f.md", &long),
        ]);
        let found: Vec<_> = check(&tree)
            .into_iter()
            .map(|finding| finding.path)
            .collect();
        assert_eq!(found, ["a.rs", "b.py", "c.go", "d"]);
    }

    #[test]
    fn a_wide_line_is_found_by_characters_not_bytes() {
        let wide = "x".repeat(COLUMNS + 1);
        let text = format!(
            "ok\n{wide}\n{}\n// see https://{wide}\n",
            "ä".repeat(COLUMNS)
        );
        let found = check(&Tree::of(&[("a.rs", &text)]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].line, 2);
    }
}
