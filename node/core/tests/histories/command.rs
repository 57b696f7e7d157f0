//! One line of a story: `verb queue word… option=value…`.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Command {
    pub verb: String,
    pub queue: String,
    pub words: Vec<String>,
    options: BTreeMap<String, String>,
}

impl Command {
    pub fn parse(line: &str) -> Self {
        let mut command = Self::default();
        let mut parts = line.split_whitespace();
        command.verb = parts.next().unwrap_or_default().into();
        command.queue = parts.next().unwrap_or_default().into();
        for part in parts {
            match part.split_once('=') {
                Some((name, value)) => {
                    command.options.insert(name.into(), value.into());
                }
                None => command.words.push(part.into()),
            }
        }
        command
    }

    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    pub fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.option(name).unwrap_or(default)
    }

    pub fn number(&self, name: &str, default: u64) -> u64 {
        self.option(name)
            .map_or(default, |value| value.parse().expect("a number"))
    }
}
