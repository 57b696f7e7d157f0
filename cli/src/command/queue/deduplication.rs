//! A queue's deduplication as options.

use std::time::Duration;

use clap::{Args, ValueEnum, value_parser};
use roadstead_client::proto::{self, DeduplicateBy, DeduplicationScope};

use crate::units;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// Nothing but producers' numbers.
    None,
    /// The deduplication id that the producer gives.
    Id,
    /// The same, and where there is none, body, attributes and content type.
    Content,
}

/// Among which messages an id stands for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scope {
    /// All of the queue; with ordering per-key it needs one partition.
    Queue,
    /// Those with the same ordering key.
    Key,
}

/// How messages that are sent again are known.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub struct Deduplication {
    /// How messages that are sent again are known, beside their producer's numbers
    #[arg(long = "deduplication", value_enum)]
    by: Option<By>,
    /// Among which messages an id stands for one; cannot change while there is deduplication
    #[arg(long = "deduplication-scope", value_enum)]
    scope: Option<Scope>,
    /// How long an id is remembered, 1s..24h
    #[arg(long = "deduplication-window", value_parser = units::duration)]
    #[arg(allow_hyphen_values = true)]
    window: Option<Duration>,
    /// Ids that are remembered at one time at most, 1..10000000; beyond it new ones are refused
    #[arg(long = "deduplication-max-ids", value_parser = value_parser!(u64).range(1..=10_000_000))]
    #[arg(allow_negative_numbers = true)]
    max_ids: Option<u64>,
}

impl Deduplication {
    /// Writes what is named into `setting`.
    pub fn apply(self, setting: &mut Option<proto::Deduplication>) {
        let Some(by) = self.by else {
            if self != Self::default() {
                self.details(setting.get_or_insert_default());
            }
            return;
        };
        let by = match by {
            By::None => return *setting = None,
            By::Id => DeduplicateBy::Id,
            By::Content => DeduplicateBy::Content,
        };
        let setting = setting.get_or_insert_default();
        setting.set_by(by);
        self.details(setting);
    }

    fn details(self, setting: &mut proto::Deduplication) {
        if let Some(scope) = self.scope {
            setting.set_scope(match scope {
                Scope::Queue => DeduplicationScope::Queue,
                Scope::Key => DeduplicationScope::Key,
            });
        }
        let window = self.window;
        let window = window.and_then(|window| prost_types::Duration::try_from(window).ok());
        setting.window = window.or(setting.window);
        setting.max_ids = self.max_ids.unwrap_or(setting.max_ids);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        deduplication: Deduplication,
    }

    #[test]
    fn what_is_not_named_stays_and_none_takes_it_away() {
        let mut setting = None;
        let mut apply = |options: &[&str]| {
            let line = Line::parse_from([&["x"], options].concat());
            line.deduplication.apply(&mut setting);
            setting
        };
        assert_eq!(apply(&[]), None);
        let by_content = apply(&["--deduplication=content", "--deduplication-max-ids=9"]);
        let by_content = by_content.expect("there is one");
        assert_eq!(by_content.by(), DeduplicateBy::Content);
        let changed = apply(&["--deduplication-window=1m", "--deduplication-scope=key"]);
        let changed = changed.expect("there is one");
        assert_eq!(changed.by(), DeduplicateBy::Content);
        assert_eq!(changed.scope(), DeduplicationScope::Key);
        assert_eq!(changed.window.map(|window| window.seconds), Some(60));
        assert_eq!(changed.max_ids, 9);
        assert_eq!(apply(&["--deduplication=none"]), None);
        assert_eq!(
            apply(&["--deduplication-window=1m"]).map(|it| it.by),
            Some(0)
        );
        assert!(Line::try_parse_from(["x", "--deduplication-max-ids=0"]).is_err());
    }
}
