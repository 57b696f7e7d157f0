//! The stories, in the order in which they run.
mod install;
mod invalid_queue;

use roadstead_e2e::runner::{self, Entry, Lane};

const STORIES: &[Entry] = &[
    Entry {
        name: "install",
        lane: Lane::First,
        tell: install::tell,
    },
    Entry {
        name: "invalid_queue",
        lane: Lane::Beside,
        tell: invalid_queue::tell,
    },
];

fn main() -> std::process::ExitCode {
    runner::main(STORIES)
}
