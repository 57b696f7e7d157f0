//! Every `.rs` file is part of a crate.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{code_only, declared_modules};
use super::{File, Finding, Tree};

/// Files that no crate names, and modules without a line of code.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let reached = reached(tree);
    let roots: BTreeSet<String> = roots(tree).into_iter().map(|(path, _)| path).collect();
    let mut findings = Vec::new();
    for file in tree.with_extension("rs") {
        if !reached.contains_key(&file.path) {
            findings.push(Finding::new(
                &file.path,
                0,
                "no `mod` names it; name it or remove it",
            ));
        } else if !roots.contains(&file.path) && code_only(&file.text).trim().is_empty() {
            findings.push(Finding::new(&file.path, 0, "it holds no code; remove it"));
        }
    }
    findings
}

/// The files of crates, each with whether it is compiled for tests only.
pub fn reached(tree: &Tree) -> BTreeMap<String, bool> {
    let mut reached = BTreeMap::new();
    let mut waiting = roots(tree);
    while let Some((path, for_tests)) = waiting.pop() {
        let known = reached.get(&path).copied();
        if known.is_some_and(|only_tests: bool| only_tests <= for_tests) {
            continue;
        }
        let Some(file) = tree.get(&path) else {
            continue;
        };
        reached.insert(path.clone(), for_tests);
        for (module, test_module) in named_by(file) {
            for candidate in places(&path, &module) {
                waiting.push((candidate, for_tests || test_module));
            }
        }
    }
    reached
}

fn named_by(file: &File) -> Vec<(String, bool)> {
    let mut modules = declared_modules(&code_only(&file.text));
    // `#[path = "other.rs"]` names a file beside this one.
    for line in file.text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix("#[path = \"")
            .and_then(|l| l.strip_suffix("\"]"))
        {
            modules.push((name.to_owned(), false));
        }
    }
    modules
}

/// What cargo compiles by itself.
fn roots(tree: &Tree) -> Vec<(String, bool)> {
    let crates: BTreeSet<&str> = tree
        .files
        .iter()
        .filter_map(|file| file.path.strip_suffix("Cargo.toml"))
        .collect();
    let mut roots = Vec::new();
    for file in tree.with_extension("rs") {
        let of = |dir: &&&str| file.path.starts_with(**dir);
        let Some(home) = crates.iter().filter(of).max_by_key(|dir| dir.len()) else {
            continue;
        };
        let inside = &file.path[home.len()..];
        let parts: Vec<&str> = inside.split('/').collect();
        let (is_root, for_tests) = match parts.as_slice() {
            ["build.rs" | "main.rs"] | ["src", "lib.rs" | "main.rs"] | ["src", "bin", _] => {
                (true, false)
            }
            ["tests" | "benches" | "examples", _]
            | ["tests" | "benches" | "examples", _, "main.rs"] => (true, true),
            _ => (named_in_manifest(tree, home, inside), false),
        };
        if is_root {
            roots.push((file.path.clone(), for_tests));
        }
    }
    roots
}

fn named_in_manifest(tree: &Tree, home: &str, inside: &str) -> bool {
    let manifest = tree.get(&format!("{home}Cargo.toml"));
    manifest.is_some_and(|manifest| manifest.text.contains(&format!("path = \"{inside}\"")))
}

fn places(parent: &str, module: &str) -> Vec<String> {
    let (dir, name) = parent.rsplit_once('/').unwrap_or(("", parent));
    if module.contains('.') {
        return vec![format!("{dir}/{module}")];
    }
    let stem = name.trim_end_matches(".rs");
    let is_root = matches!(stem, "mod" | "lib" | "main") || is_target(dir);
    let below = if is_root {
        dir.to_owned()
    } else {
        format!("{dir}/{stem}")
    };
    vec![
        format!("{below}/{module}.rs"),
        format!("{below}/{module}/mod.rs"),
    ]
}

/// Files right below `tests/`, `benches/`, `examples/` and `src/bin/` are roots of their own.
fn is_target(dir: &str) -> bool {
    let last = dir.rsplit('/').next().unwrap_or_default();
    matches!(last, "tests" | "benches" | "examples" | "bin") && !dir.contains("/src/tests")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "fn a() {}\n";

    #[test]
    fn a_file_that_nobody_names_is_found() {
        let tree = Tree::of(&[
            ("a/Cargo.toml", ""),
            ("a/src/lib.rs", "mod b;\npub mod c;\n"),
            ("a/src/b.rs", "mod d;\n"),
            ("a/src/b/d.rs", CODE),
            ("a/src/c/mod.rs", "#[cfg(test)]\nmod e;\n"),
            ("a/src/c/e.rs", CODE),
            ("a/src/lost.rs", CODE),
            ("a/tests/story.rs", "mod help;\n"),
            ("a/tests/help/mod.rs", CODE),
        ]);
        let found = check(&tree);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].path, "a/src/lost.rs");
        let reached = reached(&tree);
        assert_eq!(
            reached.get("a/src/c/e.rs"),
            Some(&true),
            "it is for tests only"
        );
        assert_eq!(reached.get("a/src/b/d.rs"), Some(&false));
    }

    #[test]
    fn an_empty_file_is_found() {
        let lib = "mod a;\n";
        let files = [
            ("Cargo.toml", ""),
            ("src/lib.rs", lib),
            ("src/a.rs", "// nothing yet\n"),
        ];
        assert_eq!(check(&Tree::of(&files)).len(), 1);
    }
}
