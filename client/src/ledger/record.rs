//! The records of a ledger, and the lines that they are written in.

use std::fmt;
use std::str::FromStr;

/// A message as its producer knows it, before the cluster has given it an id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Unique among the producers of a run; without `/`, tab and line end.
    pub producer: String,
    /// Rises with every message that this producer sends.
    pub number: u64,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.producer, self.number)
    }
}

impl FromStr for Name {
    type Err = ParseRecordError;

    fn from_str(text: &str) -> Result<Self, ParseRecordError> {
        let wrong = || ParseRecordError(format!("{text:?} is not producer/number"));
        let (producer, number) = text.rsplit_once('/').ok_or_else(wrong)?;
        let number = number.parse().map_err(|_| wrong())?;
        Ok(Self {
            producer: producer.to_owned(),
            number,
        })
    }
}

/// Parts the records of one line: U+001E, the record separator.
pub const SEPARATOR: char = '\u{1e}';

/// The records of one line, parted by [`SEPARATOR`]; a line holds one record or more.
///
/// # Errors
/// When a part of the line is not a record.
pub fn records_of(line: &str) -> Result<Vec<Record>, ParseRecordError> {
    line.split(SEPARATOR).map(str::parse).collect()
}

/// One thing that happened. As text: fields parted by tabs, the kind first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The cluster acknowledged a message.
    Sent {
        /// The producer's name for it.
        name: Name,
        /// The id that it got.
        id: String,
        /// Its ordering key; may be empty.
        key: String,
        /// Microseconds since 1970 by the producer's clock.
        at_us: u64,
    },
    /// A send failed.
    Failed {
        /// The producer's name for the message.
        name: Name,
        /// It may be in the queue nevertheless.
        maybe: bool,
    },
    /// A consumer got a message.
    Received {
        /// The producer's name for it.
        name: Name,
        /// Its id.
        id: String,
        /// Its ordering key; may be empty.
        key: String,
        /// Microseconds since 1970 by the consumer's clock, to order what several consumers got.
        at_us: u64,
    },
    /// The cluster confirmed an ack.
    Acked {
        /// The message's id.
        id: String,
    },
    /// An ack was not confirmed: it was done or not.
    AckUnknown {
        /// The message's id.
        id: String,
    },
    /// A message was found where dead letters go, or is known to have expired.
    Buried {
        /// The message's id.
        id: String,
    },
}

/// A line that is not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a line of a ledger: {0}")]
pub struct ParseRecordError(String);

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent {
                name,
                id,
                key,
                at_us,
            } => write!(f, "sent\t{name}\t{id}\t{key}\t{at_us}"),
            Self::Failed { name, maybe: true } => write!(f, "maybe\t{name}"),
            Self::Failed { name, maybe: false } => write!(f, "failed\t{name}"),
            Self::Received {
                name,
                id,
                key,
                at_us,
            } => {
                write!(f, "received\t{name}\t{id}\t{key}\t{at_us}")
            }
            Self::Acked { id } => write!(f, "acked\t{id}"),
            Self::AckUnknown { id } => write!(f, "ack-unknown\t{id}"),
            Self::Buried { id } => write!(f, "buried\t{id}"),
        }
    }
}

impl FromStr for Record {
    type Err = ParseRecordError;

    fn from_str(line: &str) -> Result<Self, ParseRecordError> {
        let fields: Vec<&str> = line.split('\t').collect();
        let record = match fields[..] {
            ["sent", name, id, key, at_us] => Self::Sent {
                name: name.parse()?,
                id: id.into(),
                key: key.into(),
                at_us: at_us.parse().map_err(|_| ParseRecordError(line.into()))?,
            },
            ["maybe", name] => Self::Failed {
                name: name.parse()?,
                maybe: true,
            },
            ["failed", name] => Self::Failed {
                name: name.parse()?,
                maybe: false,
            },
            ["received", name, id, key, at_us] => Self::Received {
                name: name.parse()?,
                id: id.into(),
                key: key.into(),
                at_us: at_us.parse().map_err(|_| ParseRecordError(line.into()))?,
            },
            ["acked", id] => Self::Acked { id: id.into() },
            ["ack-unknown", id] => Self::AckUnknown { id: id.into() },
            ["buried", id] => Self::Buried { id: id.into() },
            _ => return Err(ParseRecordError(line.into())),
        };
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_from_its_line() {
        let name = Name {
            producer: "p-1".into(),
            number: 7,
        };
        let (id, key) = ("1-2-3".to_owned(), "k 1".to_owned());
        let records = [
            Record::Sent {
                name: name.clone(),
                id: id.clone(),
                key: String::new(),
                at_us: 8,
            },
            Record::Failed {
                name: name.clone(),
                maybe: true,
            },
            Record::Failed {
                name: name.clone(),
                maybe: false,
            },
            Record::Received {
                name,
                id: id.clone(),
                key,
                at_us: 9,
            },
            Record::Acked { id: id.clone() },
            Record::AckUnknown { id: id.clone() },
            Record::Buried { id },
        ];
        let lines: Vec<String> = records.iter().map(ToString::to_string).collect();
        for (line, record) in lines.iter().zip(&records) {
            assert_eq!(line.parse().as_ref(), Ok(record));
        }
        let line = lines.join(&SEPARATOR.to_string());
        assert_eq!(records_of(&line).as_deref(), Ok(&records[..]));
        assert!(records_of(&format!("{line}{SEPARATOR}")).is_err());
    }

    #[test]
    fn a_line_cut_short_is_refused() {
        for line in [
            "",
            "sent",
            "sent\tp/1\t1-2-3",
            "sent\tp/1\t1-2-3\t",
            "received\tp/1\t1-2-3\t\t9x",
            "acked",
        ] {
            assert!(line.parse::<Record>().is_err(), "{line:?}");
        }
    }
}
