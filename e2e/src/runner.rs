//! Runs the stories in their order, and reports in the words of `cargo test`.
//!
//! Stories have an order that the standard test harness cannot give: the first installs what the
//! others need, those with load come one after another and have the machine for themselves, those
//! without it go on side by side, and the last takes away what the others need.
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};

use crate::story::Story;
use crate::world::World;

/// When a story runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Before all others; they count as failed when it fails.
    First,
    /// After the first, one after another: it loads the machine, and measures.
    Loaded,
    /// After those with load, all at once.
    Beside,
    /// Alone, after all others.
    Last,
}

/// A story in the table.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// When it runs.
    pub lane: Lane,
    /// What it does.
    pub tell: fn(&Story<'_>) -> Result<()>,
}

impl Entry {
    /// A line of the table.
    pub const fn new(name: &'static str, lane: Lane, tell: fn(&Story<'_>) -> Result<()>) -> Self {
        Self { name, lane, tell }
    }
}

#[derive(Debug)]
struct Told {
    name: &'static str,
    seconds: f64,
    /// What went wrong.
    error: Option<String>,
}

/// Runs the stories whose name contains a word of the command line, or all. Exit code 0 only when
/// all of them passed; without a cluster they are skipped, which is a failure with `CI=true`.
pub fn main(stories: &[Entry]) -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let chosen = choose(stories, &filters);
    if chosen.is_empty() {
        print(&format!("no story is called {}", filters.join(" or ")));
        return ExitCode::FAILURE;
    }
    if words.iter().any(|word| word == "--list") {
        for story in &chosen {
            print(&format!("{}: test", story.name));
        }
        return ExitCode::SUCCESS;
    }
    match World::of_environment() {
        Ok(Some(world)) => conclude(&run(&world, &chosen), stories.len() - chosen.len()),
        Ok(None) => skip(chosen.len()),
        Err(error) => {
            print(&format!("cannot run the stories: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn skip(count: usize) -> ExitCode {
    let strict = std::env::var("CI").is_ok_and(|ci| ci == "true");
    print(
        "ROADSTEAD_E2E_KUBECONFIG is not set: e2e/cluster run cargo test -p roadstead-e2e sets it",
    );
    let (state, failed) = if strict { ("FAILED", count) } else { ("ok", 0) };
    let ignored = count - failed;
    print(&format!(
        "test result: {state}. 0 passed; {failed} failed; {ignored} ignored; no cluster"
    ));
    if strict {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn choose(stories: &[Entry], filters: &[&str]) -> Vec<Entry> {
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(f));
    stories
        .iter()
        .filter(|story| wanted(story.name))
        .copied()
        .collect()
}

fn run(world: &World, chosen: &[Entry]) -> Vec<Told> {
    let in_lane = |lane| chosen.iter().filter(move |story| story.lane == lane);
    let tell_all = |lane| {
        in_lane(lane)
            .map(|story| tell(world, story))
            .collect::<Vec<_>>()
    };
    let mut told = tell_all(Lane::First);
    if told.iter().any(|first| first.error.is_some()) {
        told.extend(
            chosen
                .iter()
                .filter(|s| s.lane != Lane::First)
                .map(|story| Told {
                    name: story.name,
                    seconds: 0.0,
                    error: Some("not run, because the first story failed".to_owned()),
                }),
        );
        return told;
    }
    told.extend(tell_all(Lane::Loaded));
    thread::scope(|scope| {
        let beside: Vec<_> = in_lane(Lane::Beside)
            .map(|story| (story, scope.spawn(|| tell(world, story))))
            .collect();
        told.extend(beside.into_iter().map(|(story, told)| {
            told.join().unwrap_or_else(|_| Told {
                name: story.name,
                seconds: 0.0,
                error: Some("its thread panicked".to_owned()),
            })
        }));
    });
    told.extend(tell_all(Lane::Last));
    told
}

fn tell(world: &World, entry: &Entry) -> Told {
    let began = Instant::now();
    world.say(entry.name, "begins");
    let outcome = Story::begin(entry.name, world).and_then(|story| {
        let outcome = catch_unwind(AssertUnwindSafe(|| (entry.tell)(&story)))
            .unwrap_or_else(|_| Err(anyhow!("it panicked, see above")));
        if outcome.is_err() {
            match story.keep_evidence() {
                Ok(folder) => story.say(format!("evidence is in {}", folder.display())),
                Err(error) => story.say(format!("no evidence could be kept: {error:#}")),
            }
        }
        story.end();
        outcome
    });
    let seconds = began.elapsed().as_secs_f64();
    let error = outcome.err().map(|error| format!("{error:#}"));
    let state = if error.is_some() { "FAILED" } else { "ok" };
    print(&format!("test {} ... {state} ({seconds:.1} s)", entry.name));
    if let Some(error) = &error {
        world.say(entry.name, error);
    }
    Told {
        name: entry.name,
        seconds,
        error,
    }
}

fn conclude(told: &[Told], left_out: usize) -> ExitCode {
    let failed: Vec<&Told> = told.iter().filter(|told| told.error.is_some()).collect();
    print("");
    for Told {
        name,
        seconds,
        error,
    } in told
    {
        let state = error.as_deref().map_or("ok", |_| "FAILED");
        print(&format!("{name:<20} {state:<7} {seconds:>6.1} s"));
    }
    for Told { name, error, .. } in &failed {
        print(&format!(
            "\n---- {name} ----\n{}",
            error.as_deref().unwrap_or_default()
        ));
    }
    let state = if failed.is_empty() { "ok" } else { "FAILED" };
    let (bad, good) = (failed.len(), told.len() - failed.len());
    print(&format!(
        "\ntest result: {state}. {good} passed; {bad} failed; 0 ignored; {left_out} filtered out"
    ));
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print(line: &str) {
    // Nobody reads it where the pipe is closed, and the run goes on.
    drop(writeln!(std::io::stdout(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &'static str) -> Entry {
        Entry {
            name,
            lane: Lane::Beside,
            tell: |_| Ok(()),
        }
    }

    fn names(chosen: &[Entry]) -> Vec<&str> {
        chosen.iter().map(|story| story.name).collect()
    }

    #[test]
    fn words_choose_stories_in_the_order_of_the_table() {
        let stories = [entry("install"), entry("kill_leader"), entry("uninstall")];
        assert_eq!(
            names(&choose(&stories, &[])),
            ["install", "kill_leader", "uninstall"]
        );
        assert_eq!(
            names(&choose(&stories, &["uninstall", "kill"])),
            ["kill_leader", "uninstall"]
        );
        assert!(choose(&stories, &["nothing"]).is_empty());
    }
}
