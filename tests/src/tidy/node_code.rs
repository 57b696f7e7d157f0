//! Node code runs on virtual time: it asks only its `Runtime` and its `Clock`.

use std::collections::BTreeSet;

use super::modules::reached;
use super::source::{code_only, without_tests};
use super::{Finding, Tree};

/// What node code may not use, and what to use instead.
const BANNED: &[(&str, &str)] = &[
    ("tokio::spawn", "spawn by `NodeScope`"),
    ("tokio::task::", "spawn by `NodeScope`"),
    ("tokio::time", "use `R::sleep` and `R::timeout`"),
    ("tokio::select!", "use `R::select2`, which is biased"),
    (
        "tokio::sync::watch",
        "its wake-up order is random; use `Notify` and a value",
    ),
    ("HashMap", "its order differs between runs; use `BTreeMap`"),
    ("HashSet", "its order differs between runs; use `BTreeSet`"),
    ("SystemTime", "ask `Clock::wall_ms`"),
    ("Instant::now", "ask `Clock::monotonic_ns` or `R::Instant`"),
    (
        "spawn_blocking",
        "the simulator cannot run it; give it to a thread of the store",
    ),
    (
        "std::thread",
        "only the store has threads, behind its drivers",
    ),
    ("rand::rng(", "its seed is not ours; use `R::thread_rng`"),
    ("thread_rng", "its seed is not ours; use `R::thread_rng`"),
];

/// Ways of the runtime itself that contain a banned word.
const FINE: &[&str] = &["R::Instant::now", "R::thread_rng", "R::spawn_blocking"];

/// Places that are outside the simulation: what may be used there and why.
const OUTSIDE: &[(&str, &[&str], &str)] = &[
    (
        "node/src/main.rs",
        ANYTHING,
        "the process: signals and exit",
    ),
    (
        "node/src/process",
        ANYTHING,
        "the process: listeners and threads on tokio",
    ),
    (
        "node/src/api/",
        ANYTHING,
        "tonic's side of the gateway; the simulation calls the gateway",
    ),
    ("node/src/http/", ANYTHING, "health and metrics over HTTP"),
    (
        "node/src/tls/",
        ANYTHING,
        "certificates are valid by the machine's clock",
    ),
    (
        "node/src/auth/token/",
        ANYTHING,
        "asks the API server over HTTPS",
    ),
    (
        "node/src/transport/grpc",
        ANYTHING,
        "the transport over tonic",
    ),
    (
        "node/src/ordered.rs",
        &["tokio::task::"],
        "lifts tokio's limit of steps, which the simulator does not have; spawns nothing",
    ),
    (
        "node/src/store/drivers.rs",
        &["std::thread"],
        "the seam: threads here, tasks in simulation",
    ),
    ("node/src/store/disk/fs", &["std::thread"], "the real disk"),
    (
        "node/src/store/env/lmdb",
        ANYTHING,
        "the real LMDB; the simulation has its own",
    ),
    (
        "node/src/store/env/check",
        ANYTHING,
        "a child process checks LMDB before it is opened",
    ),
    (
        "node/src/store/disk/direct",
        &["Instant::now"],
        "measures the real disk",
    ),
    (
        "node/src/store/scrub/apart/",
        ANYTHING,
        "a process of its own reads LMDB beside the node, and the node looks after it",
    ),
    (
        "node/src/store/metrics.rs",
        &["SystemTime"],
        "tells people when a scrub ended; decides nothing by it",
    ),
    (
        "node/src/store/journal/writer.rs",
        &["Instant::now"],
        "measures its own syncs for the metrics; decides nothing by it",
    ),
    (
        "node/src/store/rows/committer.rs",
        &["Instant::now"],
        "measures its own commits for the metrics; decides nothing by it",
    ),
];

const ANYTHING: &[&str] = &[];

/// Uses of what cannot be simulated, in the node's code but not in its tests.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let for_tests: BTreeSet<String> = reached(tree)
        .into_iter()
        .filter_map(|(path, tests)| tests.then_some(path))
        .collect();
    let mut findings = Vec::new();
    for file in tree.with_extension("rs") {
        let is_node = file.path.starts_with("node/src/") && !for_tests.contains(&file.path);
        if !is_node {
            continue;
        }
        let code = without_tests(&code_only(&file.text));
        for (line, path) in used(&code) {
            let fine = FINE.iter().any(|fine| path.contains(fine));
            let banned = BANNED
                .iter()
                .find(|(banned, _)| !fine && path.contains(banned));
            if let Some((banned, instead)) = banned
                && !is_outside(&file.path, banned)
            {
                let what = format!("`{banned}` cannot be simulated: {instead}");
                findings.push(Finding::new(&file.path, line, what));
            }
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

fn is_outside(path: &str, banned: &str) -> bool {
    OUTSIDE.iter().any(|(place, uses, _)| {
        path.starts_with(place) && (uses.is_empty() || uses.contains(&banned))
    })
}

/// Every line of code, and every path that a `use` brings in, each with its line.
fn used(code: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = code
        .lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line.to_owned()))
        .collect();
    for (at, _) in code.match_indices("use ") {
        let begins = at == 0 || code[..at].ends_with(['\n', ' ', ')']);
        let statement = code[at + 4..].split(';').next().unwrap_or_default();
        if begins && statement.contains('{') {
            let line = code[..at].matches('\n').count() + 1;
            let compact: String = statement.split_whitespace().collect();
            found.extend(expand("", &compact).into_iter().map(|path| (line, path)));
        }
    }
    found
}

/// The paths of a `use` tree without spaces: `a::{b,c::{d,e}}`.
fn expand(prefix: &str, tree: &str) -> Vec<String> {
    let Some((head, rest)) = tree.split_once('{') else {
        return vec![format!("{prefix}{tree}")];
    };
    let prefix = format!("{prefix}{head}");
    let (mut depth, mut start, mut paths) = (0_i32, 0, Vec::new());
    for (at, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                paths.extend(expand(&prefix, &rest[start..at]));
                start = at + 1;
            }
            '}' if depth == 0 => {
                paths.extend(expand(&prefix, &rest[start..at]));
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: [usize; 0] = [];

    fn found(path: &str, text: &str) -> Vec<usize> {
        let tree = Tree::of(&[
            ("node/Cargo.toml", ""),
            ("node/src/lib.rs", "mod a;\n#[cfg(test)]\nmod t;\n"),
            (path, text),
        ]);
        check(&tree)
            .into_iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn every_banned_use_is_found() {
        for (banned, _) in BANNED {
            let text = format!("fn a() {{\n    let _ = {banned};\n}}\n");
            assert_eq!(found("node/src/a.rs", &text), [2], "{banned}");
        }
    }

    #[test]
    fn a_use_that_hides_in_a_group_is_found() {
        let text = "use tokio::{\n    sync::{mpsc, watch},\n    net,\n};\n";
        assert_eq!(found("node/src/a.rs", text), [1]);
        assert_eq!(
            found("node/src/a.rs", "use tokio::sync::{mpsc, oneshot};\n"),
            NOTHING
        );
    }

    #[test]
    fn tests_comments_and_the_runtime_itself_are_fine() {
        let text = "// no HashMap\nfn a() { R::Instant::now(); let _ = \"SystemTime\"; }\n\
                    #[cfg(test)]\nmod tests {\n    fn b() { tokio::spawn(c()); }\n}\n";
        assert_eq!(found("node/src/a.rs", text), NOTHING);
        assert_eq!(
            found("node/src/t.rs", "fn a() { tokio::spawn(b()); }\n"),
            NOTHING
        );
        assert_eq!(
            found("client/src/a.rs", "fn a() { tokio::spawn(b()); }\n"),
            NOTHING
        );
    }

    #[test]
    fn outside_the_simulation_only_what_is_listed_is_fine() {
        assert_eq!(
            found("node/src/main.rs", "fn a() { tokio::spawn(b()); }\n"),
            NOTHING
        );
        assert_eq!(
            found("node/src/store/drivers.rs", "use std::thread;\n"),
            NOTHING
        );
        assert_eq!(
            found(
                "node/src/store/drivers.rs",
                "fn a() { tokio::spawn(b()); }\n"
            ),
            [1]
        );
    }
}
