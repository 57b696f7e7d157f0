//! By what a message that was sent before is known again, and for how long.

use crate::codec::{Decoded, Put, Reader};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeduplicateBy {
    /// The deduplication id that the producer gave; a message without one is always new.
    Id,
    /// The same, and where the producer gave none, the content.
    Content,
}

/// Among which messages an id stands for one. Who logs a message makes its key a part of its
/// [`Identity`] where the scope is `Key`: here only the key's short hash is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeduplicationScope {
    /// All of the queue.
    Queue,
    /// Those with the same ordering key; those without one are among themselves.
    Key,
}

impl DeduplicationScope {
    fn code(self) -> u8 {
        match self {
            Self::Queue => 0,
            Self::Key => 1,
        }
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        match r.u8("scope of deduplication")? {
            0 => Ok(Self::Queue),
            1 => Ok(Self::Key),
            _ => r.fail("scope of deduplication"),
        }
    }
}

/// How messages that are sent again are known. Producer id and sequence are compared in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deduplication {
    /// What is compared.
    pub by: DeduplicateBy,
    /// Among which messages.
    pub scope: DeduplicationScope,
    /// How long an id is remembered from the message's acceptance on, in ms. A change holds for
    /// the ids of messages that are accepted from then on.
    pub window_ms: u64,
    /// Ids that are remembered at one time at most, at least 1. Beyond it messages with new ids
    /// are refused: no id is forgotten before its time.
    pub max_ids: u64,
}

/// The identity of a message, as a hash that is never 0: messages with the same hash are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// Of the id that the producer gave. Refused where the queue does not deduplicate.
    Id(u128),
    /// Of the content. Ignored where the queue does not deduplicate by content.
    Content(u128),
}

impl Deduplication {
    pub(crate) fn encode(setting: Option<&Self>, out: &mut Vec<u8>) {
        let Some(setting) = setting else {
            return out.push(0);
        };
        out.push(match setting.by {
            DeduplicateBy::Id => 1,
            DeduplicateBy::Content => 2,
        });
        out.push(setting.scope.code());
        out.put_varint(setting.window_ms);
        out.put_varint(setting.max_ids);
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Decoded<Option<Self>> {
        let by = match r.u8("kind of deduplication")? {
            0 => return Ok(None),
            1 => DeduplicateBy::Id,
            2 => DeduplicateBy::Content,
            _ => return r.fail("kind of deduplication"),
        };
        Ok(Some(Self {
            by,
            scope: DeduplicationScope::read(r)?,
            window_ms: r.varint("deduplication window")?,
            max_ids: r.varint("max deduplication ids")?.max(1),
        }))
    }

    /// What a message is remembered by; None: it is always new.
    pub(crate) fn remembered_as(&self, identity: Identity) -> Option<u128> {
        match identity {
            Identity::Id(id) => Some(id),
            Identity::Content(id) => (self.by == DeduplicateBy::Content).then_some(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTING: Deduplication = Deduplication {
        by: DeduplicateBy::Content,
        scope: DeduplicationScope::Key,
        window_ms: 300,
        max_ids: 7,
    };

    #[test]
    fn it_comes_back_and_its_bytes_are_frozen() {
        let mut out = Vec::new();
        Deduplication::encode(Some(&SETTING), &mut out);
        assert_eq!(out, [2, 1, 0xac, 2, 7]);
        let read = |bytes: &[u8]| Deduplication::decode(&mut Reader::new(bytes));
        assert_eq!(read(&out), Ok(Some(SETTING)));
        assert_eq!(read(&[0]), Ok(None));
        for damaged in [[3, 1, 1, 1], [1, 2, 1, 1]] {
            assert!(read(&damaged).is_err());
        }
    }

    #[test]
    fn content_counts_where_the_queue_compares_it() {
        let by_id = Deduplication {
            by: DeduplicateBy::Id,
            ..SETTING
        };
        assert_eq!(by_id.remembered_as(Identity::Id(5)), Some(5));
        assert_eq!(by_id.remembered_as(Identity::Content(5)), None);
        assert_eq!(SETTING.remembered_as(Identity::Content(5)), Some(5));
    }
}
