//! Sizes in bytes as the custom resources write them.
use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

const UNITS: [(&str, u64); 8] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
];

/// A size in bytes, a Kubernetes quantity without fractions: `1Gi`, `500M`, `"4096"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(String);

impl ByteSize {
    /// The number of bytes, or `None` where the text is not one or does not fit in 64 bits.
    pub fn bytes(&self) -> Option<u64> {
        let (number, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| Some((self.0.strip_suffix(name)?, *unit)))
            .unwrap_or((&self.0, 1));
        number.parse::<u64>().ok()?.checked_mul(unit)
    }
}

impl From<&str> for ByteSize {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 20,
            // What fits in 64 bits.
            "pattern": "^[1-9]([0-9]{0,15}|[0-9]{0,9}(k|Ki|M|Mi)|[0-9]{0,6}(G|Gi|T|Ti))$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_quantities() {
        for (text, bytes) in [
            ("1", 1),
            ("256Ki", 262_144),
            ("20Gi", 21_474_836_480),
            ("5k", 5_000),
        ] {
            assert_eq!(ByteSize::from(text).bytes(), Some(bytes), "{text}");
        }
        for text in ["", "Gi", "1.5Gi", "1Xi", "9999999999999999Ti"] {
            assert_eq!(ByteSize::from(text).bytes(), None, "{text}");
        }
    }
}
