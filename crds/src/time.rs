//! Durations and points in time as the custom resources write them.
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A point in time, RFC 3339.
pub type Timestamp = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// A duration as GEP-2257 writes it: up to four of `h`, `m`, `s`, `ms`, such as `1h30m`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(String);

impl Span {
    /// Writes a duration; anything below a millisecond is dropped.
    pub fn from_duration(duration: Duration) -> Self {
        let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
        let parts = units.map(|(unit, name)| {
            let (count, left) = (rest / unit, rest % unit);
            rest = left;
            if count > 0 {
                format!("{count}{name}")
            } else {
                String::new()
            }
        });
        let text = parts.concat();
        Self(if text.is_empty() { "0s".into() } else { text })
    }

    /// The duration, or `None` where the text is not one (the schema lets none of these in).
    pub fn to_duration(&self) -> Option<Duration> {
        let mut total = Duration::ZERO;
        let mut rest = self.0.as_str();
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let number: u64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            let unit = rest
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(rest.len());
            let millis = match &rest[..unit] {
                "h" => 3_600_000,
                "m" => 60_000,
                "s" => 1_000,
                "ms" => 1,
                _ => return None,
            };
            total = total.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
            rest = &rest[unit..];
        }
        Some(total)
    }
}

impl From<&str> for Span {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 32,
            "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_gep_2257_allows() {
        let cases = [
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("1m0s5ms", 60_005),
        ];
        for (text, millis) in cases {
            assert_eq!(
                Span::from(text).to_duration(),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in ["", "5", "1d", "-1s", "1.5h", "s", "h1"] {
            assert_eq!(Span::from(text).to_duration(), None, "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for millis in [0, 1, 999, 1_000, 61_001, 3_600_000, 345_600_000, 7_384_005] {
            let duration = Duration::from_millis(millis);
            assert_eq!(Span::from_duration(duration).to_duration(), Some(duration));
        }
    }
}
