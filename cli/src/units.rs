//! Durations, sizes and pairs as people write them.

use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// Reads `name=value`.
///
/// # Errors
/// A text that says what is wrong.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err(format!("{text:?} is not name=value")),
    }
}

/// Reads `30s`, `1h30m`, `250ms`, `7d`.
///
/// # Errors
/// A text that says what is wrong.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write for example 30s, 5m, 1h30m or 250ms");
    let large = || format!("{text:?} is too large");
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = rest.split_at(digits);
        let number: u64 = number
            .parse()
            .map_err(|error: ParseIntError| match error.kind() {
                IntErrorKind::PosOverflow => large(),
                _ => wrong(),
            })?;
        let letters = unit
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(unit.len());
        let (unit, after) = unit.split_at(letters);
        let ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let part = Duration::from_millis(number.checked_mul(ms).ok_or_else(large)?);
        total = total.checked_add(part).ok_or_else(large)?;
        rest = after;
    }
    Ok(total)
}

/// Reads a number that is not 0.
///
/// # Errors
/// A text that says what is wrong.
pub fn at_least_one<T>(text: &str) -> Result<T, String>
where
    T: FromStr<Err = ParseIntError> + Default + PartialEq,
{
    let negative = text.strip_prefix('-').map(str::parse::<T>);
    match text.parse() {
        Ok(number) if number != T::default() => Ok(number),
        Err(error) if !matches!(negative, Some(Ok(_))) => Err(error.to_string()),
        _ => Err("must be at least 1".to_owned()),
    }
}

/// Reads a duration that is not nothing.
///
/// # Errors
/// A text that says what is wrong.
pub fn some_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be more than 0".to_owned()),
        some => Ok(some),
    }
}

/// Reads a time of RFC 3339: `2026-12-24T18:00:00Z`.
///
/// # Errors
/// A text that says what is wrong.
pub fn time(text: &str) -> Result<SystemTime, String> {
    let time: Option<prost_types::Timestamp> = text.parse().ok();
    time.and_then(|time| time.try_into().ok())
        .ok_or_else(|| format!("{text:?} is no time; write for example 2026-12-24T18:00:00Z"))
}

/// Reads `1024`, `64Ki`, `10Mi`, `2Gi` as bytes.
///
/// # Errors
/// A text that says what is wrong.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size; write for example 1024, 64Ki, 10Mi or 2Gi");
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" => 0,
        "Ki" => 10,
        "Mi" => 20,
        "Gi" => 30,
        "Ti" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// A duration as a person reads it: two units at most.
pub fn show(duration: Duration) -> String {
    let ms = duration.as_millis();
    let (seconds, minutes, hours) = (ms / 1_000, ms / 60_000, ms / 3_600_000);
    let pair = |number: u128, unit: &str, rest: u128, small: &str| {
        if rest == 0 {
            format!("{number}{unit}")
        } else {
            format!("{number}{unit}{rest}{small}")
        }
    };
    match (hours, minutes, seconds) {
        (0, 0, 0) => format!("{ms}ms"),
        (0, 0, _) if ms.is_multiple_of(1_000) => format!("{seconds}s"),
        (0, 0, _) => format!("{:.1}s", duration.as_secs_f64()),
        (0, ..) => pair(minutes, "m", seconds % 60, "s"),
        (0..48, ..) => pair(hours, "h", minutes % 60, "m"),
        _ => pair(hours / 24, "d", hours % 24, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases = [
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("0s", 0),
        ];
        for (text, ms) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "5 s",
            "5x",
            "99999999999999999999s",
            "9999999999999999999d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        let many = "18446744073709551615ms".repeat(1_001);
        for text in ["99999999999999999999s", "9999999999999999999d", &many] {
            assert!(duration(text).unwrap_err().contains("too large"), "{text}");
        }
        assert!(duration("5").unwrap_err().contains("is no duration"));
    }

    #[test]
    fn numbers_above_0() {
        assert_eq!(at_least_one("7"), Ok(7_u64));
        for text in ["0", "-1"] {
            let said = at_least_one::<u32>(text).unwrap_err();
            assert_eq!(said, "must be at least 1", "{text}");
        }
        for text in ["", "-", "a", "-a", "4294967296"] {
            let said = at_least_one::<u32>(text).unwrap_err();
            assert!(!said.contains("at least 1"), "{text}: {said}");
        }
    }

    #[test]
    fn times() {
        let at = |seconds| Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(time("1970-01-01T00:00:05Z"), at(5));
        assert_eq!(time("1970-01-01T02:00:00+01:00"), at(3_600));
        for text in ["", "tomorrow", "2026-13-01T00:00:00Z", "5s"] {
            assert!(time(text).unwrap_err().contains("is no time"), "{text}");
        }
    }

    #[test]
    fn nothing_is_no_time_to_measure() {
        assert!(some_duration("0s").unwrap_err().contains("more than 0"));
        assert_eq!(some_duration("1ms"), Ok(Duration::from_millis(1)));
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes("10Mi"), Ok(10 << 20));
        assert_eq!(bytes("0"), Ok(0));
        for text in ["", "Ki", "5K", "-1", "99999999999Ti"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shown_as_read() {
        let cases = [
            (250, "250ms"),
            (30_000, "30s"),
            (1_500, "1.5s"),
            (345_600_000, "4d"),
        ];
        for (ms, text) in cases {
            assert_eq!(show(Duration::from_millis(ms)), text);
        }
        assert_eq!(show(Duration::from_mins(90)), "1h30m");
    }
}
