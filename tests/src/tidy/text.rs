//! Markers of unfinished work, paths of one machine, and words about how this was made.

use super::source::code_only;
use super::{Finding, Tree};

/// Marks of unfinished work, cut in two so that this file does not hold them.
const UNFINISHED: &[(&str, &str)] = &[
    ("to", "do!("),
    ("unimple", "mented!("),
    ("d", "bg!("),
    ("#[ig", "nore"),
    ("FIX", "ME"),
    ("XX", "X:"),
];

/// Paths that exist on one machine only.
const MACHINE_PATHS: &[(&str, &str)] = &[("/wo", "rk/"), ("/ro", "ot/"), ("/fa", "rm/")];

/// Words about tools that write code; this project speaks of itself only.
const MAKERS: &[(&str, &str)] = &[
    ("clau", "de"),
    ("anthro", "pic"),
    ("chat", "gpt"),
    ("open", "ai"),
    ("copi", "lot"),
    ("language ", "model"),
    ("ai-gene", "rated"),
];

/// Settings that name a package registry of somebody's own.
const REGISTRIES: &[(&str, &str)] = &[
    ("GOPROXY=", "http"),
    ("--index", "-url"),
    ("CARGO_REGIS", "TRIES_"),
    ("npm_config_", "registry"),
];

/// Files that point package managers to a registry.
const REGISTRY_FILES: &[&str] = &[".cargo/config.toml", ".cargo/config", ".npmrc", "pip.conf"];

/// Where the lock file may take crates from.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Marks, paths and words that do not belong into the tree.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        if REGISTRY_FILES.iter().any(|name| file.path.ends_with(name)) {
            let what = "a registry is the business of whoever builds; take the file out";
            findings.push(Finding::new(&file.path, 0, what));
        }
        if file.path.ends_with("Cargo.lock") {
            findings.extend(foreign_sources(&file.path, &file.text));
        }
        if !file.is_written() {
            continue;
        }
        if file.extension() == "rs" {
            let code = code_only(&file.text);
            findings.extend(lines_with(
                &file.path,
                &code,
                UNFINISHED,
                "is unfinished; finish it",
            ));
        }
        let text = &file.text;
        let path = &file.path;
        findings.extend(lines_with(
            path,
            text,
            MACHINE_PATHS,
            "exists on one machine only",
        ));
        findings.extend(lines_with(
            path,
            text,
            REGISTRIES,
            "names a registry; leave it out",
        ));
        let lower = text.to_lowercase();
        findings.extend(lines_with(
            path,
            &lower,
            MAKERS,
            "is not about this project",
        ));
    }
    findings
}

fn lines_with(path: &str, text: &str, words: &[(&str, &str)], why: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (head, tail) in words {
        let word = format!("{head}{tail}");
        if !text.contains(&word) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if line
                .match_indices(&word)
                .any(|(at, _)| stands_alone(line, at, &word))
            {
                findings.push(Finding::new(path, number + 1, format!("`{word}` {why}")));
            }
        }
    }
    findings
}

/// A path begins where the word before it ends: one below `$HOME` is not one of a machine, and
/// `openapi` is not a maker.
fn stands_alone(line: &str, at: usize, word: &str) -> bool {
    let before = line[..at].chars().next_back();
    let after = line[at + word.len()..].chars().next();
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if word.starts_with('/') {
        return !(joins(before) || before.is_some_and(|c| ".})-".contains(c)));
    }
    let is_name = word.ends_with(char::is_alphabetic) && word.starts_with(char::is_alphabetic);
    let goes_on = joins(before) && word.starts_with(char::is_alphabetic);
    !(goes_on || is_name && joins(after))
}

fn foreign_sources(path: &str, lock: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in lock.lines().enumerate() {
        if let Some(source) = line.strip_prefix("source = ")
            && source.trim_matches('"') != CRATES_IO
        {
            let what = format!("{source} is not crates.io; use a released crate");
            findings.push(Finding::new(path, number + 1, what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined((head, tail): &(&str, &str)) -> String {
        format!("{head}{tail}")
    }

    #[test]
    fn every_mark_path_and_word_is_found() {
        for mark in UNFINISHED {
            let text = format!("fn a() {{\n    {} \n}}\n", joined(mark));
            let found = check(&Tree::of(&[("a.rs", &text)]));
            assert_eq!(found.len(), 1, "{mark:?}");
            assert_eq!(found[0].line, 2, "{mark:?}");
        }
        for word in [MACHINE_PATHS, REGISTRIES].concat() {
            let text = format!("see {}://x\n", joined(&word));
            assert_eq!(check(&Tree::of(&[("a.md", &text)])).len(), 1, "{word:?}");
        }
        for word in MAKERS {
            let text = format!("Written with {}.\n", joined(word).to_uppercase());
            assert_eq!(check(&Tree::of(&[("a.md", &text)])).len(), 1, "{word:?}");
        }
    }

    #[test]
    fn words_that_only_look_alike_are_left_alone() {
        let text = format!(
            "$HOME{} openapi3 ${{tmp}}{} // speaks of {}\n",
            joined(&MACHINE_PATHS[0]),
            joined(&MACHINE_PATHS[1]),
            "todos"
        );
        assert_eq!(check(&Tree::of(&[("a.md", &text)])), []);
        let comment = format!("// never {}\n", joined(&UNFINISHED[0]));
        assert_eq!(check(&Tree::of(&[("a.rs", &comment)])), []);
    }

    #[test]
    fn a_foreign_source_and_a_registry_file_are_found() {
        let lock = "source = \"git+https://example.com/a\"\n";
        assert_eq!(check(&Tree::of(&[("Cargo.lock", lock)])).len(), 1);
        let fine = format!("source = \"{CRATES_IO}\"\n");
        assert_eq!(check(&Tree::of(&[("Cargo.lock", &fine)])), []);
        assert_eq!(check(&Tree::of(&[(".cargo/config.toml", "")])).len(), 1);
    }
}
