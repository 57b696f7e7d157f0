//! Which messages of a walk are meant. Pure.

use roadstead_core::shard::{MAX_PRIORITY, MessageState as State, Peeked, key_hash};
use roadstead_proto::v1::attribute_value::Value;
use roadstead_proto::v1::{
    AttributeFilter, DeadLetterInfo, DeadLetterReason, MessageFilter, MessageState,
};

use super::blob::Blob;
use super::wire::since_1970;
use crate::gateway::ApiError;

/// Attributes that a filter names at most.
const ATTRIBUTES_MAX: usize = 32;
/// States and reasons that it names at most: more than there are.
const CHOICES_MAX: usize = 16;

/// A filter that was checked.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    asked: MessageFilter,
    states: Vec<State>,
    key: Option<u64>,
    tenant: Option<u64>,
    enqueued: Span,
    dead_lettered: Span,
}

/// From `after` on, up to `before`; ms since 1970.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    after: Option<u64>,
    before: Option<u64>,
}

impl Span {
    fn new(
        after: Option<&prost_types::Timestamp>,
        before: Option<&prost_types::Timestamp>,
    ) -> Self {
        Self {
            after: after.map(since_1970),
            before: before.map(since_1970),
        }
    }

    fn is_any(self) -> bool {
        self.after.is_none() && self.before.is_none()
    }

    fn holds(self, at: u64) -> bool {
        self.after.is_none_or(|after| at >= after) && self.before.is_none_or(|before| at < before)
    }
}

impl Filter {
    /// Checks what is asked for; absent: every message.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with the field that is wrong.
    pub fn new(asked: Option<&MessageFilter>) -> Result<Self, ApiError> {
        let asked = asked.cloned().unwrap_or_default();
        let many = asked.states.len().max(asked.reasons.len()) > CHOICES_MAX;
        if many || asked.attributes.len() > ATTRIBUTES_MAX {
            let message = format!(
                "filter names more than {CHOICES_MAX} states or reasons, or more than \
                 {ATTRIBUTES_MAX} attributes"
            );
            return Err(ApiError::invalid("filter", message));
        }
        let states = asked.states.iter().map(|number| state(*number));
        let states = states.collect::<Result<_, _>>()?;
        if let Some(number) = asked.reasons.iter().find(|number| !is_reason(**number)) {
            let message = format!("filter.reasons holds {number}, which stands for no reason");
            return Err(ApiError::invalid("filter.reasons", message));
        }
        if asked.attributes.iter().any(|one| one.name.is_empty()) {
            let message = "filter.attributes holds one without a name";
            return Err(ApiError::invalid("filter.attributes", message));
        }
        if let Some(priority) = asked.priority.filter(|it| *it > u32::from(MAX_PRIORITY)) {
            let message = format!("filter.priority is {priority}, allowed are 0..{MAX_PRIORITY}");
            return Err(ApiError::invalid("filter.priority", message));
        }
        let hash = |name: &str| (!name.is_empty()).then(|| key_hash(name.as_bytes()));
        let (enqueued, dead) = (
            Span::new(
                asked.enqueued_after.as_ref(),
                asked.enqueued_before.as_ref(),
            ),
            Span::new(
                asked.dead_lettered_after.as_ref(),
                asked.dead_lettered_before.as_ref(),
            ),
        );
        Ok(Self {
            states,
            key: hash(&asked.ordering_key),
            tenant: hash(&asked.fairness_key),
            enqueued,
            dead_lettered: dead,
            asked,
        })
    }

    /// The only partition that is meant.
    pub fn partition(&self) -> Option<u32> {
        self.asked.partition
    }

    /// The lowest sequence that is meant; 0: all.
    pub fn from_sequence(&self) -> u64 {
        self.asked.from_sequence
    }

    /// Whether a message may be meant, as far as can be told without its payload.
    pub fn may_match(&self, message: &Peeked) -> bool {
        (self.states.is_empty() || self.states.contains(&message.state))
            && self.key.is_none_or(|key| message.key == Some(key))
            && self
                .tenant
                .is_none_or(|tenant| message.tenant == Some(tenant))
            && self
                .asked
                .priority
                .is_none_or(|it| it == u32::from(message.priority))
            && self.enqueued.holds(message.enqueued_at)
            && message.sequence >= self.asked.from_sequence
            && (self.asked.message_id.is_empty() || message.id.to_string() == self.asked.message_id)
    }

    /// Whether one that may be meant is.
    pub fn matches(&self, blob: &Blob) -> bool {
        let is = |asked: &String, known: &String| asked.is_empty() || asked == known;
        is(&self.asked.ordering_key, &blob.ordering_key)
            && is(&self.asked.fairness_key, &blob.fairness_key)
            && self.asked.attributes.iter().all(|one| has(blob, one))
            && self.matches_dead_letter(blob.dead_letter.as_ref())
    }

    fn matches_dead_letter(&self, dead: Option<&DeadLetterInfo>) -> bool {
        let (reasons, source) = (&self.asked.reasons, &self.asked.source_queue);
        if reasons.is_empty() && source.is_empty() && self.dead_lettered.is_any() {
            return true;
        }
        dead.is_some_and(|dead| {
            (reasons.is_empty() || reasons.contains(&dead.reason))
                && (source.is_empty() || dead.source_queue == *source)
                && self
                    .dead_lettered
                    .holds(dead.at.as_ref().map_or(0, since_1970))
        })
    }
}

fn has(blob: &Blob, wanted: &AttributeFilter) -> bool {
    let Some(attribute) = blob.attributes.get(&wanted.name) else {
        return false;
    };
    wanted.value.as_ref().is_none_or(|value| {
        matches!(&attribute.value,
            Some(Value::StringValue(text) | Value::NumberValue(text)) if text == value)
    })
}

fn is_reason(number: i32) -> bool {
    DeadLetterReason::try_from(number).is_ok_and(|one| one != DeadLetterReason::Unspecified)
}

fn state(number: i32) -> Result<State, ApiError> {
    match MessageState::try_from(number) {
        Ok(MessageState::Ready) => Ok(State::Ready),
        Ok(MessageState::InFlight) => Ok(State::InFlight),
        Ok(MessageState::Delayed) => Ok(State::Delayed),
        Ok(MessageState::Blocked) => Ok(State::Blocked),
        Ok(MessageState::Unspecified) | Err(_) => {
            let message = format!("filter.states holds {number}, which stands for no state");
            Err(ApiError::invalid("filter.states", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use roadstead_core::shard::{Location, MessageId, PayloadRef};
    use roadstead_proto::v1::AttributeValue;

    use super::*;
    use crate::shard::wire::timestamp;

    fn message() -> Peeked {
        Peeked {
            id: MessageId {
                queue: 1,
                partition: 0,
                sequence: 7,
            },
            sequence: 7,
            location: Location::Position(6),
            key: Some(key_hash(b"k")),
            priority: 3,
            tenant: Some(key_hash(b"t")),
            payload: PayloadRef {
                index: 1,
                offset: 0,
                len: 1,
            },
            enqueued_at: 1_000,
            expires_at: None,
            due: None,
            delivery_count: 0,
            first_delivered_at: 0,
            last_delivered_at: 0,
            state: State::Ready,
        }
    }

    fn blob() -> Blob {
        let text = |text: &str| AttributeValue {
            value: Some(Value::StringValue(text.into())),
        };
        let binary = AttributeValue {
            value: Some(Value::BinaryValue(Bytes::from_static(b"x"))),
        };
        Blob {
            ordering_key: "k".into(),
            fairness_key: "t".into(),
            attributes: [
                ("source".to_owned(), text("web")),
                ("raw".to_owned(), binary),
            ]
            .into(),
            dead_letter: Some(DeadLetterInfo {
                reason: DeadLetterReason::Rejected.into(),
                source_queue: "default/jobs".into(),
                at: Some(timestamp(5_000)),
                ..DeadLetterInfo::default()
            }),
            ..Blob::default()
        }
    }

    fn matches(filter: &MessageFilter) -> bool {
        let filter = Filter::new(Some(filter)).unwrap();
        filter.may_match(&message()) && filter.matches(&blob())
    }

    fn attribute(name: &str, value: Option<&str>) -> MessageFilter {
        MessageFilter {
            attributes: vec![AttributeFilter {
                name: name.into(),
                value: value.map(str::to_owned),
            }],
            ..MessageFilter::default()
        }
    }

    #[test]
    fn every_condition_lets_through_what_it_means_and_nothing_else() {
        let any = MessageFilter::default;
        assert!(matches(&any()));
        let reasons = |reason: DeadLetterReason| MessageFilter {
            reasons: vec![reason.into()],
            ..any()
        };
        let states = |state: MessageState| MessageFilter {
            states: vec![state.into()],
            ..any()
        };
        let key = |key: &str| MessageFilter {
            ordering_key: key.into(),
            ..any()
        };
        let id = |id: &str| MessageFilter {
            message_id: id.into(),
            ..any()
        };
        let source = |source: &str| MessageFilter {
            source_queue: source.into(),
            ..any()
        };
        let priority = |priority| MessageFilter {
            priority: Some(priority),
            ..any()
        };
        let tenant = |tenant: &str| MessageFilter {
            fairness_key: tenant.into(),
            ..any()
        };
        let pairs = [
            (priority(3), priority(0)),
            (tenant("t"), tenant("k")),
            (states(MessageState::Ready), states(MessageState::Blocked)),
            (key("k"), key("other")),
            (id("1-0-7"), id("1-0-8")),
            (source("default/jobs"), source("default/other")),
            (
                reasons(DeadLetterReason::Rejected),
                reasons(DeadLetterReason::Expired),
            ),
            (attribute("source", None), attribute("sauce", None)),
            (
                attribute("source", Some("web")),
                attribute("source", Some("we")),
            ),
            (attribute("raw", None), attribute("raw", Some("x"))),
        ];
        for (yes, no) in pairs {
            assert!(matches(&yes), "{yes:?}");
            assert!(!matches(&no), "{no:?}");
        }
    }

    #[test]
    fn times_begin_with_their_first_and_end_before_their_last() {
        let enqueued = |after: u64, before: u64| MessageFilter {
            enqueued_after: Some(timestamp(after)),
            enqueued_before: Some(timestamp(before)),
            ..MessageFilter::default()
        };
        assert!(matches(&enqueued(1_000, 1_001)));
        assert!(!matches(&enqueued(1_001, 2_000)) && !matches(&enqueued(0, 1_000)));
        let dead = |after: u64, before: u64| MessageFilter {
            dead_lettered_after: Some(timestamp(after)),
            dead_lettered_before: Some(timestamp(before)),
            ..MessageFilter::default()
        };
        assert!(matches(&dead(5_000, 5_001)));
        assert!(!matches(&dead(5_001, 9_000)) && !matches(&dead(0, 5_000)));
        // One that was never dead-lettered has no such time.
        let filter = Filter::new(Some(&dead(0, 9_000))).unwrap();
        assert!(!filter.matches(&Blob::default()));
    }

    #[test]
    fn what_stands_for_nothing_is_refused_by_its_field() {
        let field = |filter: &MessageFilter| {
            let error = Filter::new(Some(filter)).unwrap_err();
            assert_eq!(error.code, tonic::Code::InvalidArgument);
            error.detail.field
        };
        let states = MessageFilter {
            states: vec![0],
            ..MessageFilter::default()
        };
        assert_eq!(field(&states), "filter.states");
        let reasons = MessageFilter {
            reasons: vec![9],
            ..MessageFilter::default()
        };
        assert_eq!(field(&reasons), "filter.reasons");
        let priority = MessageFilter {
            priority: Some(10),
            ..MessageFilter::default()
        };
        assert_eq!(field(&priority), "filter.priority");
        assert_eq!(field(&attribute("", None)), "filter.attributes");
        let mut many = attribute("a", None);
        many.attributes = vec![many.attributes[0].clone(); 33];
        assert_eq!(field(&many), "filter");
    }
}
