//! Sizes and durations as people write them on a command line.

use std::time::Duration;

/// Reads a number of bytes: `1048576`, `512Mi`, `20Gi`, `500M` (Kubernetes' suffixes).
///
/// # Errors
/// A text that says what was expected.
pub fn bytes(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let unit: u64 = match suffix {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => {
            return Err(format!(
                "unit {suffix:?} is unknown; write for example 512Mi or 20Gi"
            ));
        }
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| format!("{text:?} is not a size; write for example 512Mi or 20Gi"))
}

/// Reads a duration of one or more parts: `25s`, `500ms`, `1m30s`, `2h`.
///
/// # Errors
/// A text that says what was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write for example 25s, 500ms or 1m30s");
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let millis = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        rest = &rest[letters..];
        let part = number.checked_mul(millis).ok_or_else(wrong)?;
        total = total
            .checked_add(Duration::from_millis(part))
            .ok_or_else(wrong)?;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_kubernetes_suffixes() {
        let table = [
            ("0", 0),
            ("17", 17),
            ("2k", 2_000),
            ("512Mi", 512 << 20),
            ("20Gi", 20 << 30),
        ];
        for (text, expected) in table {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "Gi", "1.5Gi", "-1", "1gb", "99999999999Ti", "1 Gi"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_add_up_their_parts() {
        let table = [
            ("500ms", 500),
            ("25s", 25_000),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
        ];
        for (text, expected) in table {
            assert_eq!(
                duration(text),
                Ok(Duration::from_millis(expected)),
                "{text}"
            );
        }
        for text in [
            "",
            "5",
            "s",
            "1.5s",
            "-1s",
            "5 s",
            "1d",
            "99999999999999999999s",
            "é",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
