//! What the clients of a run did and saw, with virtual times in ms.

use std::collections::BTreeMap;

/// Virtual time in ms since the run began.
pub type Ms = u64;

/// A message that a producer gave away; its body is its name.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Queue.
    pub queue: &'static str,
    /// Partition.
    pub partition: u32,
    /// Ordering key; empty for none.
    pub key: String,
}

/// The cluster said that it has a message.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    /// The message's body.
    pub body: String,
    /// Its id.
    pub message_id: String,
    /// Its number in its partition.
    pub sequence: u64,
}

/// A consumer got a message.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// When.
    pub at: Ms,
    /// From this queue.
    pub queue: &'static str,
    /// Its partition.
    pub partition: u32,
    /// Its number there.
    pub sequence: u64,
    /// The message's id.
    pub message_id: String,
    /// Its body.
    pub body: String,
    /// Its ordering key; empty for none.
    pub key: String,
    /// Names the delivery.
    pub receipt: Vec<u8>,
    /// How often it was delivered, from 1.
    pub count: u32,
    /// What was left of the lease when the frame was written.
    pub remaining_ms: u32,
    /// The consumer's session; empty for a unary receive.
    pub session: String,
}

/// What a consumer asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Done.
    Ack,
    /// Again later.
    Nack,
    /// Again, as if it had not been delivered.
    Unstarted,
    /// Never again.
    Reject,
    /// More time, in ms.
    Extend(u32),
}

impl Action {
    /// Whether the message is gone from its queue when this is done.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Ack | Self::Reject)
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Done,
    /// The receipt was stale.
    Stale,
    /// Nobody knows.
    Unknown,
}

/// A consumer settled a delivery, or tried to.
#[derive(Debug, Clone)]
pub struct Settled {
    /// Of this queue.
    pub queue: &'static str,
    /// The delivery.
    pub receipt: Vec<u8>,
    /// What it asked.
    pub action: Action,
    /// When it asked.
    pub asked_at: Ms,
    /// What was answered.
    pub answer: Answer,
}

/// A time when the cluster was troubled: leaders move, links stall, sessions may be released.
#[derive(Debug, Clone, Copy)]
pub struct Trouble {
    /// From.
    pub from: Ms,
    /// To; the far future while it lasts.
    pub to: Ms,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// By body.
    pub sent: BTreeMap<String, Sent>,
    /// In order of time.
    pub acknowledged: Vec<Acknowledged>,
    /// In order of time.
    pub delivered: Vec<Delivered>,
    /// In order of asking.
    pub settled: Vec<Settled>,
    /// Sessions whose stream was lost, with the time.
    pub lost_streams: Vec<(String, Ms)>,
    /// Troubled times.
    pub troubles: Vec<Trouble>,
}

impl History {
    /// Whether a time between the two was troubled.
    pub fn is_troubled(&self, from: Ms, to: Ms) -> bool {
        self.troubles
            .iter()
            .any(|trouble| trouble.from <= to && from <= trouble.to)
    }
}
