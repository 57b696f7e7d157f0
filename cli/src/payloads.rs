//! Bodies of real shape, for load.

use bytes::Bytes;

const GITHUB_WEBHOOKS: &str = include_str!("../../examples/payloads/github-webhooks.ndjson");

/// GitHub webhook payloads, one of each kind: about 1 to 23 KiB of JSON each.
pub fn github_webhooks() -> Vec<Bytes> {
    GITHUB_WEBHOOKS
        .lines()
        .map(|line| Bytes::from_static(line.as_bytes()))
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_payload_is_json() {
        let payloads = super::github_webhooks();
        assert!(payloads.len() > 50);
        for body in payloads {
            serde_json::from_slice::<serde_json::Value>(&body).unwrap();
        }
    }
}
