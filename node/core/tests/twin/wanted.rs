//! What some history must reach: a cell that stays empty is a failure.

use super::sticky::wanted_of_sticky;

/// Of messages that are sent again: by what they are known, and what had become of the first one.
fn duplicates(order: &str) -> Vec<String> {
    let mut wanted = vec![format!("duplicate {order} of a producer")];
    for by in ["Id", "Content"] {
        for state in ["Ready", "InFlight", "Delayed", "DeadLettered", "Gone"] {
            wanted.push(format!("duplicate {state} {order} by {by}"));
        }
        for scope in ["Queue", "Key"] {
            wanted.push(format!("duplicate {order} by {by} in {scope}"));
        }
    }
    wanted
}

/// Of lanes and tenants, where there are some.
fn lanes() -> Vec<String> {
    let mut wanted = vec!["lane Blocked PerKey".to_owned()];
    for order in ["None", "PerKey"] {
        for state in ["Ready", "InFlight", "Delayed"] {
            let name = format!("{state} {order}");
            for more in ["", " of another group", " replayed"] {
                wanted.push(format!("lane {name}{more}"));
            }
            wanted.push(format!("tenant {name}"));
        }
        for what in [
            "retained in a lane",
            "several lanes in one delivery",
            "several lanes for several groups",
            "several lanes at most once",
            "an old message before a higher lane",
            "tenants take turns",
        ] {
            wanted.push(format!("{what} {order}"));
        }
    }
    for order in ["PerKey", "Strict"] {
        wanted.push(format!("another lane than its own {order}"));
    }
    for why in ["MaxDeliveries", "Rejected", "Expired", "Overflow"] {
        wanted.push(format!("leaves with a priority DeadLettered({why})"));
    }
    for why in ["Sent", "Redriven"] {
        wanted.push(format!("leaves with a priority {why}"));
    }
    wanted
}

/// Of receives at most once, where the queue leases what it delivers.
fn at_most_once() -> Vec<String> {
    let mut wanted = Vec::new();
    for order in ["None", "PerKey", "Strict"] {
        for what in [
            "of a queue that leases",
            "of another group",
            "of a redelivered one",
            "retained",
            "with a breaker",
            "after a seek",
        ] {
            wanted.push(format!("at most once {what} {order}"));
        }
    }
    for order in ["None", "PerKey"] {
        for what in ["beside leases", "beyond the limit in flight"] {
            wanted.push(format!("at most once {what} {order}"));
        }
    }
    wanted
}

/// Of circuit breakers.
fn breakers() -> Vec<String> {
    let mut wanted = Vec::new();
    for order in ["None", "PerKey", "Strict"] {
        for state in ["Closed", "Open", "HalfOpen"] {
            for what in [
                "",
                " of another group",
                " after a seek",
                " where messages are retained",
            ] {
                wanted.push(format!("breaker {state}{what} {order}"));
            }
            if order != "Strict" {
                wanted.push(format!("breaker {state} with leases {order}"));
                wanted.push(format!("breaker {state} with lanes {order}"));
            }
        }
    }
    for state in ["Open", "HalfOpen"] {
        wanted.push(format!("breaker {state} paused"));
        wanted.push(format!("breaker {state} at most once"));
    }
    for moves in [
        "Closed to Open",
        "Open to HalfOpen",
        "HalfOpen to Closed",
        "HalfOpen to Open",
        "Open to Closed",
        "Open to gone",
        "HalfOpen to gone",
    ] {
        wanted.push(format!("breaker {moves}"));
    }
    wanted
}

/// Of rate limits.
fn rates() -> Vec<String> {
    let mut wanted = Vec::new();
    for order in ["None", "PerKey", "Strict"] {
        for what in [
            "Accepted",
            "Duplicate",
            "RateLimit",
            "MessageLimit",
            "Accepted of a batch",
            "RateLimit of a batch",
            "BatchOverRate of a batch",
            "of outboxes",
        ] {
            wanted.push(format!("rate {what} {order}"));
        }
    }
    wanted
}

/// Of limits of deliveries.
fn limits() -> Vec<String> {
    let mut wanted = Vec::new();
    for order in ["None", "PerKey", "Strict"] {
        for what in [
            "in flight of all full",
            "in flight of all full by others",
            "in flight of all full, own room",
            "in flight of one full, room of all",
            "in flight of all full after a seek",
            "delivery rate",
            "delivery rate used up",
            "delivery rate of another group",
            "delivery rate of one that comes again",
            "delivery rate at most once",
            "delivery rate used up at most once",
            "delivery rate after a seek",
        ] {
            wanted.push(format!("{what} {order}"));
        }
    }
    for order in ["None", "PerKey"] {
        wanted.push(format!("delivery rate used up by several {order}"));
    }
    for what in [
        "in flight of all full, half-open",
        "delivery rate used up, half-open",
        "delivery rate used up, breaker open",
    ] {
        wanted.push(what.into());
    }
    wanted
}

/// Of deliveries that have failed.
fn attempts() -> Vec<String> {
    let mut wanted = Vec::new();
    for order in ["None", "PerKey", "Strict"] {
        for how in ["Nacked", "LeaseExpired", "SessionReleased"] {
            wanted.push(format!("attempt {how} {order}"));
        }
        for what in ["of one that is leased", "of another group"] {
            wanted.push(format!("attempts {what} {order}"));
        }
    }
    for why in ["MaxDeliveries", "Rejected", "Expired", "Overflow"] {
        wanted.push(format!("leaves with attempts DeadLettered({why})"));
    }
    wanted.push("leaves with an older text".into());
    wanted
}

/// What some history must reach, whatever the order.
const ONCE: &[&str] = &[
    "state Blocked PerKey",
    "state Blocked Strict",
    "sent Accepted",
    "sent Duplicate",
    "sent MessageLimit",
    "sent ByteLimit",
    "sent TooLarge",
    "sent KeyRequired",
    "sent TooLate",
    "sent OutOfRange",
    "sent Overtaken",
    "sent Moved",
    "grown: on to the next home",
    "grown: left",
    "sent NoDeduplication",
    "sent IdLimit",
    "sent BatchRefused",
    "atomic batch accepted",
    "duplicate Blocked PerKey by Id",
    "duplicate Blocked Strict by Id",
    "settled Done",
    "settled Stale",
    "completed with outputs",
    "completed by another group",
    "refused StaleReceipt",
    "refused TooLate",
    "accepted one that is due later",
    "accept Gap",
    "accept MessageLimit",
    "accept ByteLimit",
    "event LeaseExpired",
    "event SessionReleased",
    "event Nacked",
    "event DeadLettered MaxDeliveries",
    "event DeadLettered Rejected",
    "event DeadLettered Expired",
    "event DeadLettered Overflow",
    "event Redriven",
    "event BreakerOpened",
    "event BreakerClosed",
    "redriven Done",
    "redriven Done with edit",
    "redriven Done of a delayed one",
    "redriven Leased",
    "redriven Gone",
    "redriven Gone of a delayed one",
    "redriven Done: of several groups",
    "redriven Done: replayed",
    "redriven Leased: of several groups",
    "redriven Gone: retained",
    "refused SameQueue",
    "deleted Done",
    "deleted Done of a delayed one",
    "deleted Done with a lease",
    "deleted Done with a lease of another group",
    "deleted Done with several leases",
    "deleted Done: of several groups",
    "deleted Done: replayed",
    "deleted Done: retained",
    "deleted Leased: of several groups",
    "deleted Leased",
    "deleted Leased with a lease",
    "deleted Gone",
    "walk meets one that fell due again",
    "walk while messages come and go",
    "walk of another group while messages come and go",
    "event Dropped",
    "event Dropped Overflow",
    "event Expired",
    "refused NoGroup",
    "refused BadGroups",
    "refused BadWeights",
    "refused BadSticky",
    "refused StickyFixed",
    "sent StickyTenant",
    "accepted with a priority",
    "accepted with a tenant",
    "delayed with a priority",
    "a stream that was empty comes again",
    "messages to replay",
    "state Blocked PerKey of another group",
    "replayed Blocked PerKey",
    "refused NoPartition",
    "refused Deleting",
    "refused NotEmpty",
    "refused OrderingFixed",
    "refused OutOfRange",
    "digest to the end",
    "digest of a piece",
];

/// All of it.
pub fn wanted() -> Vec<String> {
    let mut wanted = Vec::new();
    for order in ["None", "PerKey", "Strict"] {
        for state in ["Ready", "InFlight", "Delayed"] {
            wanted.push(format!("state {state} {order}"));
            wanted.push(format!("own time to live {state} {order}"));
            wanted.push(format!("state {state} {order} of another group"));
            wanted.push(format!("replayed {state} {order}"));
        }
        wanted.push(format!("retained {order}"));
        wanted.push(format!("dead letter of one of several groups {order}"));
        wanted.push(format!("backoff {order}"));
        wanted.push(format!("displaced for several groups {order}"));
        wanted.push(format!("displaced where messages are retained {order}"));
        wanted.extend(duplicates(order));
    }
    wanted.extend(lanes());
    wanted.extend(at_most_once());
    wanted.extend(breakers());
    wanted.extend(rates());
    wanted.extend(limits());
    wanted.extend(attempts());
    wanted.extend(wanted_of_sticky());
    wanted.extend(ONCE.iter().map(|name| (*name).to_owned()));
    wanted
}
