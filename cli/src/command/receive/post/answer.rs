//! What an answer says about a message.

use std::time::{Duration, SystemTime};

use http::header::{DATE, HeaderMap, RETRY_AFTER};
use http::{HeaderName, StatusCode};

use super::super::several::Verdict;

/// The longest delay that a queue takes.
const LONGEST: Duration = Duration::from_hours(12);
/// So much of a body is told.
const TOLD: usize = 200;

/// 2xx: taken. Anything else is not; 429 and 503 may say when to try again.
pub fn verdict(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Verdict {
    if status.is_success() {
        return Verdict::Taken { before: false };
    }
    let busy = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    let delay = busy.contains(&status).then(|| retry_after(headers));
    let mut error = format!("the answer was {status}");
    let told = beginning(body);
    if !told.is_empty() {
        error += ": ";
        error += &told;
    }
    Verdict::Refused {
        delay: delay.flatten(),
        error,
    }
}

/// Seconds, or a date, which is compared with the date of the answer where that has one: clocks
/// differ. `None` where there is none, and where it is over: then the queue's backoff holds, lest
/// the message go round and round.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let delay = if let Ok(seconds) = value.parse() {
        Duration::from_secs(seconds)
    } else {
        let now = date(headers, DATE).unwrap_or_else(SystemTime::now);
        date(headers, RETRY_AFTER)?.duration_since(now).ok()?
    };
    (!delay.is_zero()).then_some(delay.min(LONGEST))
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    let text = headers.get(name)?.to_str().ok()?;
    httpdate::parse_http_date(text.trim()).ok()
}

/// The beginning of a body in one line, without what a terminal would obey.
fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(TOLD * 4)]);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().nth(TOLD) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay(status: u16, headers: &[(HeaderName, &str)]) -> Option<Duration> {
        let headers = headers.iter();
        let headers = headers.map(|(name, value)| (name.clone(), value.parse().unwrap()));
        let status = StatusCode::from_u16(status).unwrap();
        match verdict(status, &headers.collect(), b"") {
            Verdict::Refused { delay, .. } => delay,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_success_is_success() {
        for status in 100..600 {
            let status = StatusCode::from_u16(status).unwrap();
            let taken = verdict(status, &HeaderMap::new(), b"") == Verdict::Taken { before: false };
            assert_eq!(taken, (200..300).contains(&status.as_u16()), "{status}");
        }
    }

    #[test]
    fn busy_servers_say_when() {
        let seconds = |text| [(RETRY_AFTER, text)];
        for status in [429, 503] {
            assert_eq!(delay(status, &seconds("7")), Some(Duration::from_secs(7)));
        }
        assert_eq!(delay(500, &seconds("7")), None);
        assert_eq!(delay(429, &seconds("99999999")), Some(LONGEST));
        for no_time in ["0", "-1", "soon", "", "1.5", "99999999999999999999"] {
            assert_eq!(delay(429, &seconds(no_time)), None, "{no_time}");
        }
        let at = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(delay(503, &[(RETRY_AFTER, at)]), None, "it is over");
        let clock = (DATE, "Sun, 06 Nov 1994 08:49:07 GMT");
        let dates = [(RETRY_AFTER, at), clock];
        assert_eq!(delay(503, &dates), Some(Duration::from_secs(30)));
    }

    #[test]
    fn the_reason_is_told_in_one_line() {
        let body = format!("no\n  such\u{7}order {}", "é".repeat(500));
        let refused = verdict(StatusCode::NOT_FOUND, &HeaderMap::new(), body.as_bytes());
        let Verdict::Refused { error, .. } = refused else {
            panic!("{refused:?}")
        };
        let whole = "the answer was 404 Not Found: no such order é";
        assert!(
            error.starts_with(whole) && error.ends_with(" ..."),
            "{error}"
        );
        assert!(error.chars().count() < 250, "{error}");
    }
}
