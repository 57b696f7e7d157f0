//! `roadstead cluster quota ...`

use clap::{Args, Subcommand, value_parser};
use roadstead_client::Client;
use roadstead_client::proto::{self, NamespaceQuota, QuotaUsage};
use serde_json::{Value, json};

use crate::output::{Output, table};
use crate::{names, units};

/// Highest limit of a sum, as the nodes take it.
const MAX: u64 = i64::MAX as u64;

/// What to do with the quotas of namespaces.
#[derive(Debug, Subcommand)]
pub enum Quota {
    /// Say what the queues of a namespace may ask for together
    Set(Set),
    /// List quotas with what is taken of them
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Take the quota of a namespace away
    Rm(Rm),
}

/// What is not named has no limit, whatever it had before.
#[derive(Debug, Args)]
pub struct Set {
    /// Namespace; '*': each one that has no quota of its own
    #[arg(value_name = "NAMESPACE", value_parser = namespace)]
    of: String,
    /// Queues at most; 0: no limit
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    queues: u32,
    /// Sum of their --max-messages at most, which each must have then; 0: no limit
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u64).range(0..=MAX))]
    #[arg(allow_negative_numbers = true)]
    messages: u64,
    /// Sum of their --max-bytes at most, for example 10Gi, which each must have then; 0: no limit
    #[arg(long, default_value = "0", value_parser = units::bytes, allow_hyphen_values = true)]
    bytes: u64,
    /// Partitions at most; 0: no limit
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    partitions: u32,
    /// Sum of their --max-rate at most, which each must have then; 0: no limit
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u64).range(0..=MAX))]
    #[arg(allow_negative_numbers = true)]
    rate: u64,
}

/// No options.
#[derive(Debug, Args)]
pub struct Ls {}

/// Whose quota.
#[derive(Debug, Args)]
pub struct Rm {
    /// Namespace; '*': that of each one that has none of its own
    #[arg(value_name = "NAMESPACE", value_parser = namespace)]
    of: String,
}

fn namespace(text: &str) -> Result<String, String> {
    match text {
        "*" => Ok(text.to_owned()),
        _ => names::namespace(text),
    }
}

impl Quota {
    pub async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Set(set) => {
                let namespace = set.of.clone();
                client
                    .set_namespace_quota(&namespace, Some(set.quota()))
                    .await?;
                show(&namespace, client, output).await
            }
            Self::Ls(Ls {}) => {
                let quotas = client.namespace_quotas().await?;
                output.print(&json(&quotas), || text(&quotas))?;
                Ok(())
            }
            Self::Rm(Rm { of }) => {
                client.set_namespace_quota(&of, None).await?;
                let value = json!({ "namespace": of });
                output.print(&value, || format!("namespace {of} has no quota of its own"))?;
                Ok(())
            }
        }
    }
}

impl Set {
    fn quota(self) -> proto::Quota {
        proto::Quota {
            queues: self.queues,
            messages: self.messages,
            bytes: self.bytes,
            partitions: self.partitions,
            rate_per_second: self.rate,
        }
    }
}

/// The quota that was set, with what is taken of it already.
async fn show(namespace: &str, client: &Client, output: &Output) -> anyhow::Result<()> {
    let mut quotas = client.namespace_quotas().await?;
    quotas.retain(|quota| quota.namespace == namespace);
    output.print(&json(&quotas), || text(&quotas))?;
    Ok(())
}

fn json(quotas: &[NamespaceQuota]) -> Value {
    let one = |quota: &NamespaceQuota| {
        let limits = quota.quota.unwrap_or_default();
        let usage = quota.usage.as_ref().map(|usage| {
            json!({
                "queues": usage.queues,
                "messages": usage.messages,
                "bytes": usage.bytes,
                "partitions": usage.partitions,
                "ratePerSecond": usage.rate_per_second,
                "unlimitedMessages": usage.unlimited_messages,
                "unlimitedBytes": usage.unlimited_bytes,
                "unlimitedRates": usage.unlimited_rates,
                "over": usage.over,
            })
        });
        json!({
            "namespace": quota.namespace,
            "inherited": quota.inherited,
            "quota": {
                "queues": limits.queues,
                "messages": limits.messages,
                "bytes": limits.bytes,
                "partitions": limits.partitions,
                "ratePerSecond": limits.rate_per_second,
            },
            "usage": usage,
        })
    };
    Value::Array(quotas.iter().map(one).collect())
}

fn text(quotas: &[NamespaceQuota]) -> String {
    if quotas.is_empty() {
        return "no namespace has a quota".to_owned();
    }
    let header = [
        "NAMESPACE",
        "QUEUES",
        "MESSAGES",
        "BYTES",
        "PARTITIONS",
        "RATE",
        "EXCEEDED",
    ];
    table(header, quotas.iter().map(row))
}

/// What is taken, and of how much: `3/10`; `any` where a queue asks for it without limit.
fn row(quota: &NamespaceQuota) -> [String; 7] {
    let limits = quota.quota.unwrap_or_default();
    let usage = quota.usage.as_ref();
    let cell = |limit: u64, taken: fn(&QuotaUsage) -> (u64, u64)| {
        let limit = (limit != 0).then(|| limit.to_string());
        let taken = usage.map(|usage| match taken(usage) {
            (sum, 0) => sum.to_string(),
            _ => "any".to_owned(),
        });
        match (taken, limit) {
            (Some(taken), Some(limit)) => format!("{taken}/{limit}"),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => "-".to_owned(),
        }
    };
    let inherited = if quota.inherited { " (*)" } else { "" };
    let over = usage.map_or_else(String::new, |usage| usage.over.join(", "));
    [
        format!("{}{inherited}", quota.namespace),
        cell(u64::from(limits.queues), |it| (it.queues, 0)),
        cell(limits.messages, |it| (it.messages, it.unlimited_messages)),
        cell(limits.bytes, |it| (it.bytes, it.unlimited_bytes)),
        cell(u64::from(limits.partitions), |it| (it.partitions, 0)),
        cell(limits.rate_per_second, |it| {
            (it.rate_per_second, it.unlimited_rates)
        }),
        if over.is_empty() {
            "-".to_owned()
        } else {
            over
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_stands_before_what_is_allowed() {
        let quota = |namespace: &str, inherited, usage| NamespaceQuota {
            namespace: namespace.to_owned(),
            quota: Some(proto::Quota {
                queues: 10,
                messages: 50,
                ..proto::Quota::default()
            }),
            inherited,
            usage,
        };
        let usage = QuotaUsage {
            queues: 3,
            messages: 20,
            partitions: 4,
            unlimited_messages: 1,
            over: vec!["messages".to_owned()],
            ..QuotaUsage::default()
        };
        let shown = row(&quota("shop", true, Some(usage)));
        let expected = ["shop (*)", "3/10", "any/50", "0", "4", "0", "messages"];
        assert_eq!(shown, expected);
        let shown = row(&quota("*", false, None));
        assert_eq!(shown, ["*", "10", "50", "-", "-", "-", "-"]);
    }
}
