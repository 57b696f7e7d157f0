//! Where messages are forwarded to.

use std::fmt;

use roadstead_client::proto::QueueRef;
use roadstead_client::{Client, ClientBuilder};

use crate::connection::Connection;
use crate::names;

/// Client listeners of a cluster, and a queue of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    endpoints: Vec<String>,
    /// `namespace/name`.
    name: String,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.endpoints.join(","), self.name)
    }
}

impl Address {
    /// `namespace/name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn queue(&self) -> QueueRef {
        let (namespace, name) = self.name.split_once('/').unwrap_or(("", &self.name));
        QueueRef {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Whether an endpoint is written as one of TLS.
    pub fn asks_for_tls(&self) -> bool {
        self.endpoints.iter().any(|one| one.starts_with("https://"))
    }

    /// A client of the cluster, who is nobody yet.
    pub fn builder(&self, connection: &Connection) -> ClientBuilder {
        Client::builder()
            .endpoints(self.endpoints.iter().cloned())
            .connect_timeout(connection.timeout)
            .direct(!connection.no_direct)
    }
}

/// Reads `HOST:PORT/NAMESPACE/QUEUE`, or several of `HOST:PORT` with commas between.
///
/// # Errors
/// A text that says what is wrong.
pub fn parse(text: &str) -> Result<Address, String> {
    let wrong = || format!("{text:?} is no target; write HOST:PORT/NAMESPACE/QUEUE");
    let mut parts = text.rsplitn(3, '/');
    let (name, namespace) = (parts.next(), parts.next());
    let endpoints = parts.next().ok_or_else(wrong)?;
    let name = format!(
        "{}/{}",
        namespace.ok_or_else(wrong)?,
        name.ok_or_else(wrong)?
    );
    let name = names::queue(&name).map_err(|why| format!("{}: {why}", wrong()))?;
    let endpoints: Vec<String> = endpoints.split(',').map(str::to_owned).collect();
    if endpoints
        .iter()
        .any(|one| !one.contains(':') || one.ends_with('/'))
    {
        return Err(wrong());
    }
    Ok(Address { endpoints, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_endpoint_and_a_queue() {
        for text in [
            "core:7701/shop/orders",
            "a:1,b:2/shop/orders.fifo",
            "https://core.example:7701/shop/orders",
        ] {
            let address = parse(text).unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.queue().namespace, "shop");
        }
        assert_eq!(parse("a:1,b:2/s/o").unwrap().endpoints, ["a:1", "b:2"]);
        for wrong in [
            "core/shop/orders",
            "core:7701/orders",
            "shop/orders",
            "core:7701/Shop/orders",
            "a:1,/s/o",
            "https://shop/orders",
            "",
        ] {
            assert!(
                parse(wrong)
                    .unwrap_err()
                    .contains("HOST:PORT/NAMESPACE/QUEUE"),
                "{wrong}"
            );
        }
    }
}
