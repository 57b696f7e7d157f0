//! One message that is named on the command line.

use roadstead_client::Client;
use roadstead_client::proto::MessageFilter;

use crate::exit::{Failure, Kind};

/// Where the message stands that is named by its location or its id, and its id if that is known.
/// One that is named by its id is looked for in the whole queue, among what a consumer group has
/// not settled.
pub async fn find(
    client: &Client,
    (queue, group): (&str, &str),
    named: &str,
) -> anyhow::Result<(String, String)> {
    if !is_id(named) {
        return Ok((named.to_owned(), String::new()));
    }
    let filter = MessageFilter {
        message_id: named.to_owned(),
        ..MessageFilter::default()
    };
    let mut found = client.browse(queue, filter).group(group);
    if let Some(message) = found.next().await? {
        return Ok((message.location, message.message_id));
    }
    let text = format!("no message {named} in {queue}: it was settled, moved or expired");
    Err(Failure(Kind::NotFound, text).into())
}

/// Queue, partition and sequence, with a dash between each.
fn is_id(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |part: &&str| part.parse::<u64>().is_ok();
    parts.len() == 3 && parts.iter().all(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_no_location() {
        assert!(is_id("7-0-16"));
        for other in ["7.0.16", "7.0.d5.1", "7-0", "7-0-x", "7--0-1", ""] {
            assert!(!is_id(other), "{other}");
        }
    }
}
