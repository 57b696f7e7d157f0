//! `roadstead queue get NAME`

use clap::Args;
use roadstead_client::Client;
use serde_json::{Value, json};

use crate::format;
use crate::output::Output;

/// Which queue.
#[derive(Debug, Args)]
pub struct Get {
    /// Name, or namespace/name
    #[arg(value_parser = crate::names::queue)]
    name: String,
    /// Consumer group whose counts are shown
    #[arg(long, default_value = "default")]
    group: String,
}

impl Get {
    pub async fn run(self, client: &Client, output: &Output) -> anyhow::Result<()> {
        let queue = client.queue(&self.name).await?;
        let stats = client.group_stats(&self.name, &self.group).await?;
        let value = json!({
            "queue": format::name(queue.queue.as_ref()),
            "id": queue.id.to_string(),
            "generation": queue.generation,
            "spec": queue.spec.as_ref().map(format::spec),
            "shards": queue.shards,
            "group": self.group,
            "stats": format::stats(&stats),
        });
        output.print(&value, || lines("", &value))?;
        Ok(())
    }
}

/// One `key: value` per line, nested ones indented; without nulls.
fn lines(indent: &str, value: &Value) -> String {
    let Some(object) = value.as_object() else {
        return value.to_string();
    };
    let mut lines = Vec::new();
    for (key, value) in object {
        match value {
            Value::Null => {}
            Value::Object(_) => {
                let deeper = format!("{indent}  ");
                lines.push(format!("{indent}{key}:\n{}", self::lines(&deeper, value)));
            }
            Value::String(text) => lines.push(format!("{indent}{key}: {text}")),
            other => lines.push(format!("{indent}{key}: {other}")),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_values_are_indented() {
        let value = json!({"a": "x", "b": {"c": {"f": 1}, "d": null}, "e": [1, 2]});
        assert_eq!(lines("", &value), "a: x\nb:\n  c:\n    f: 1\ne: [1,2]");
    }
}
