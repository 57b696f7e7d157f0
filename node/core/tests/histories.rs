//! Histories of a shard that can be read: `histories/*.txt`, commands and what came of them.
//! `UPDATE=1 cargo test -p roadstead-core --test histories` writes down what comes of them now.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "the stories are files, and UPDATE is asked for from outside"
)]

#[path = "world/carried.rs"]
mod carried;
mod histories {
    pub mod by_hand;
    pub mod command;
    pub mod consume;
    pub mod groups;
    pub mod shard;
    pub mod words;
}

use std::path::Path;

use histories::command::Command;
use histories::shard::Shard;

/// The story with what comes of its commands now. Blank lines and comments stay as they are;
/// what follows a command, up to a blank line, is its output.
fn tell(text: &str) -> String {
    let mut shard = Shard::new();
    let mut told = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        told += line;
        told.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        while lines.peek().is_some_and(|line| line.starts_with("  ")) {
            lines.next();
        }
        for line in shard.run(&Command::parse(line)) {
            told += "  ";
            told += &line;
            told.push('\n');
        }
    }
    told
}

#[test]
fn every_history_comes_out_as_it_is_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let mut stories = 0;
    let mut wrong = Vec::new();
    for file in std::fs::read_dir(folder).expect("the folder is there") {
        let path = file.expect("it can be listed").path();
        if path.extension().is_none_or(|end| end != "txt") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let told = tell(&text);
        stories += 1;
        if told == text {
            continue;
        }
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, told).expect("it can be written");
            continue;
        }
        for (n, (is, was)) in told.lines().zip(text.lines()).enumerate() {
            if is != was {
                wrong.push(format!(
                    "{}:{}: {is:?}, told {was:?}",
                    path.display(),
                    n + 1
                ));
                break;
            }
        }
    }
    assert!(stories >= 8, "only {stories} stories");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
