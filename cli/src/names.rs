//! Names as they are written on the command line and in manifests.

/// Reads `NAME` or `NAMESPACE/NAME`.
///
/// # Errors
/// A text that says what is wrong.
pub fn queue(text: &str) -> Result<String, String> {
    let name = match text.split_once('/') {
        Some((before, name)) => {
            namespace(before).map_err(|why| format!("{text:?} is no queue: {why}"))?;
            name
        }
        None => text,
    };
    if name.contains('/') {
        return Err(format!(
            "{text:?} is no queue: write NAME or NAMESPACE/NAME"
        ));
    }
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !(1..=80).contains(&stem.len()) || !stem.bytes().all(allowed) {
        return Err(format!(
            "{text:?} is no queue: a name has 1 to 80 of A-Z a-z 0-9 - _, and then .fifo if wanted"
        ));
    }
    Ok(text.to_owned())
}

/// Reads a namespace.
///
/// # Errors
/// A text that says what is wrong.
pub fn namespace(text: &str) -> Result<String, String> {
    if is_label(text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is no namespace: one has 1 to 63 of a-z 0-9 -, and begins and ends with a letter \
         or digit"
    ))
}

/// A label as in RFC 1123: what Kubernetes lets a namespace be called.
pub fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_part(text)
}

/// A subdomain as in RFC 1123: what Kubernetes lets an object be called.
pub fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_part)
}

fn is_part(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && !text.starts_with('-') && !text.ends_with('-') && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_at_most_a_namespace_before_it() {
        assert_eq!(queue("orders"), Ok("orders".into()));
        assert_eq!(queue("shop/orders.fifo"), Ok("shop/orders.fifo".into()));
        assert_eq!(queue("Or_ders-1"), Ok("Or_ders-1".into()));
        let long = "a".repeat(81);
        for wrong in [
            "x/y/z",
            "Bad NS/orders",
            "/orders",
            "bad name",
            "",
            "a.b",
            "a/",
            &long,
        ] {
            assert!(queue(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn names_of_kubernetes() {
        for good in ["a", "a-b", "0a", &"a".repeat(63)] {
            assert!(is_label(good) && is_subdomain(good), "{good}");
        }
        assert!(is_subdomain("orders.fifo") && !is_label("orders.fifo"));
        for bad in ["", "-a", "a-", "A", "q_1", "a b", "ä"] {
            assert!(!is_label(bad) && !is_subdomain(bad), "{bad}");
        }
        assert!(!is_subdomain("a..b") && !is_subdomain(&"a".repeat(254)));
    }
}
