//! The stories, in the order in which they run.
mod groups;
mod grow;
mod install;
mod invalid_queue;
mod kill_leader;
mod messages;
mod retain;
mod rolling_restart;
mod scaler;
mod strangers;
mod ungated_restart;
mod uninstall;

use roadstead_e2e::runner::{self, Entry, Lane};

const STORIES: &[Entry] = &[
    Entry::new("install", Lane::First, install::tell),
    Entry::new("messages", Lane::Loaded, messages::tell),
    Entry::new("kill_leader", Lane::Loaded, kill_leader::tell),
    Entry::new("rolling_restart", Lane::Loaded, rolling_restart::tell),
    Entry::new("ungated_restart", Lane::Loaded, ungated_restart::tell),
    Entry::new("grow", Lane::Beside, grow::tell),
    Entry::new("invalid_queue", Lane::Beside, invalid_queue::tell),
    Entry::new("strangers", Lane::Beside, strangers::tell),
    Entry::new("retain", Lane::Beside, retain::tell),
    Entry::new("groups", Lane::Beside, groups::tell),
    Entry::new("scaler", Lane::Beside, scaler::tell),
    Entry::new("uninstall", Lane::Last, uninstall::tell),
];

fn main() -> std::process::ExitCode {
    runner::main(STORIES)
}
