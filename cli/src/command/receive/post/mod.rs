//! `roadstead receive QUEUE --post URL`: each message as an HTTP request.

mod answer;
mod endpoint;
mod event;
#[cfg(test)]
mod event_tests;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use roadstead_client::{Client, ReceivedMessage};

use self::endpoint::Endpoint;
use self::event::Mode;
use super::several::{Verdict, Work};
use crate::units;

/// Messages that are posted at once where nobody says how many.
pub const CONCURRENCY: usize = 16;

/// How messages are posted.
#[derive(Debug, Args)]
#[command(next_help_heading = "To an HTTP endpoint")]
pub struct PostOptions {
    /// POST each message to this URL as a `CloudEvent`: an answer of 2xx acks it, with any other or
    /// none it goes back. After 429 and 503 it waits as Retry-After says, else as the queue's
    /// backoff says
    #[arg(long, value_name = "URL", groups = ["done", "work"], value_parser = url)]
    pub post: Option<Uri>,
    /// How the event is laid out in the request
    #[arg(long, value_enum, default_value = "binary", requires = "post")]
    cloudevents: Mode,
    /// How long to wait for an answer
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30s",
        requires = "post"
    )]
    #[arg(value_parser = units::some_duration, allow_hyphen_values = true)]
    post_timeout: Duration,
    /// Trust the certificates in this PEM file, and no others; without it those that the system
    /// trusts
    #[arg(long, value_name = "FILE", requires = "post")]
    post_ca_file: Option<PathBuf>,
    /// Send this header with each request; may be repeated
    #[arg(long, value_name = "NAME: VALUE", requires = "post", value_parser = header)]
    post_header: Vec<(HeaderName, HeaderValue)>,
}

/// Posts messages.
pub struct Poster {
    endpoint: Endpoint,
    /// Where the events come from.
    source: String,
    mode: Mode,
}

impl PostOptions {
    /// Where to, if it is asked for; messages come from `queue`.
    ///
    /// # Errors
    /// When certificates cannot be read.
    pub fn poster(&self, client: &Client, queue: &str) -> anyhow::Result<Option<Poster>> {
        let Some(uri) = &self.post else {
            return Ok(None);
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &self.post_header {
            headers.append(name, value.clone());
        }
        let ca_file = self.post_ca_file.as_deref();
        let queue = client.queue_ref(queue);
        Ok(Some(Poster {
            endpoint: Endpoint::new(uri.clone(), headers, self.post_timeout, ca_file)?,
            source: format!("/roadstead/{}/{}", queue.namespace, queue.name),
            mode: self.cloudevents,
        }))
    }
}

impl Work for Poster {
    async fn work(&self, message: &ReceivedMessage) -> anyhow::Result<Verdict> {
        let (headers, body) = event::request(message, &self.source, self.mode);
        Ok(match self.endpoint.post(headers, body).await {
            Ok((status, headers, body)) => answer::verdict(status, &headers, &body),
            Err(error) => Verdict::Refused { delay: None, error },
        })
    }
}

fn url(text: &str) -> Result<Uri, String> {
    let wrong = |why: &str| format!("{text:?} is no URL: {why}");
    let uri: Uri = text.parse().map_err(|error| wrong(&format!("{error}")))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("it begins with http:// or https://"));
    }
    let host = uri.authority().map_or("", Authority::as_str);
    if host.contains('@') {
        return Err(wrong("give a user and password by --post-header"));
    }
    Ok(uri)
}

/// Headers that say how the body is sent, or what the event is.
const OWN: [&str; 4] = [
    "content-type",
    "content-length",
    "host",
    "transfer-encoding",
];

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || format!("{text:?} is no header; write NAME: VALUE");
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
    if OWN.contains(&name.as_str()) || name.as_str().starts_with("ce-") {
        return Err(format!("{name} follows from the message"));
    }
    let mut value: HeaderValue = value.trim().parse().map_err(|_| wrong())?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_headers_are_checked() {
        assert!(url("https://shop.example:8443/hooks?a=b").is_ok());
        for wrong in [
            "shop:80/x",
            "ftp://shop/x",
            "/hooks",
            "http://a:b@shop/",
            "http://",
            "",
        ] {
            assert!(url(wrong).unwrap_err().contains("is no URL"), "{wrong}");
        }
        let (name, value) = header("Authorization: Bearer a:b").unwrap();
        assert_eq!(
            (name.as_str(), &value),
            ("authorization", &"Bearer a:b".parse().unwrap())
        );
        for wrong in [
            "Authorization",
            "a b: c",
            "",
            "Content-Type: text/plain",
            "ce-id: 1",
        ] {
            assert!(header(wrong).is_err(), "{wrong}");
        }
    }
}
