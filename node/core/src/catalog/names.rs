//! What queues and namespaces may be called.

use super::spec::Violation;

/// Checks the name of a queue: `^[A-Za-z0-9_-]{1,80}([.]fifo)?$`.
pub fn validate_queue_name(name: &str) -> Result<(), Violation> {
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if (1..=80).contains(&stem.len()) && stem.bytes().all(allowed) {
        return Ok(());
    }
    let message = "must be 1 to 80 of A-Z a-z 0-9 _ -, with .fifo behind it or not".into();
    Err(Violation {
        field: "queue.name",
        message,
    })
}

/// Checks a namespace: a DNS label of 1 to 63 characters.
pub fn validate_namespace(namespace: &str) -> Result<(), Violation> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edge = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
    let bytes = namespace.as_bytes();
    if bytes.len() <= 63
        && bytes.iter().all(|b| allowed(*b))
        && edge(bytes.first())
        && edge(bytes.last())
    {
        return Ok(());
    }
    let message = "must be 1 to 63 of a-z 0-9 -, and begin and end with a letter or digit".into();
    Err(Violation {
        field: "queue.namespace",
        message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = "a".repeat(80);
        for good in ["a", "A_b-9", "jobs.fifo", &long, &format!("{long}.fifo")] {
            assert!(validate_queue_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".fifo", "a.b", "a b", "ü", &format!("{long}a")] {
            assert!(validate_queue_name(bad).is_err(), "{bad}");
        }
        for good in ["a", "a-1", &"a".repeat(63)] {
            assert!(validate_namespace(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", &"a".repeat(64)] {
            assert!(validate_namespace(bad).is_err(), "{bad}");
        }
    }
}
