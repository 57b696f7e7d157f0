//! What the API server would refuse in a Queue, by the definition that it would do it by.

use anyhow::{Context, bail};
use kube::core::cel::{Validator, apply_defaults};
use regex::Regex;
use serde_json::{Map, Value};

use crate::names::{is_label, is_subdomain};

/// The definition of a kind.
pub struct Schema {
    /// `GROUP/VERSION`.
    pub api_version: String,
    schema: Value,
}

impl Schema {
    /// That of Queue.
    ///
    /// # Errors
    /// When the definition is not among those of this build.
    pub fn of_queue() -> anyhow::Result<Self> {
        let crds = roadstead_crds::crds();
        let crd = crds.iter().find(|crd| crd.spec.names.kind == "Queue");
        let crd = crd.context("there is no definition of Queue")?;
        let version = crd.spec.versions.first();
        let version = version.context("the definition of Queue has no version")?;
        let schema = version.schema.as_ref();
        let schema = schema.and_then(|schema| schema.open_api_v3_schema.as_ref());
        Ok(Self {
            api_version: format!("{}/{}", crd.spec.group, version.name),
            schema: serde_json::to_value(schema)?,
        })
    }

    /// Checks an object without nulls.
    ///
    /// # Errors
    /// Says which field is wrong, and what it must be.
    pub fn check(&self, object: &Value) -> anyhow::Result<()> {
        check_metadata(&object["metadata"])?;
        let spec = &self.schema["properties"]["spec"];
        if let Some(fault) = fault(spec, &object["spec"], "spec") {
            bail!(fault);
        }
        let object = apply_defaults(&self.schema, object);
        if let Err(errors) = Validator::new().validate(&self.schema, &object, None)
            && let Some(first) = errors.iter().next()
        {
            bail!("{}: {}", first.field_path, first.message);
        }
        Ok(())
    }
}

fn check_metadata(metadata: &Value) -> anyhow::Result<()> {
    let Some(name) = metadata["name"].as_str() else {
        bail!("metadata.name is missing");
    };
    if !is_subdomain(name) {
        bail!(
            "metadata.name {name:?} is refused by Kubernetes: it must be at most 253 of a-z 0-9 - \
             ., each part beginning and ending with a letter or digit; where the queue has another \
             kind of name, it stands in spec.queueName"
        );
    }
    match metadata.get("namespace") {
        None => Ok(()),
        Some(Value::String(namespace)) if is_label(namespace) => Ok(()),
        Some(other) => bail!(
            "metadata.namespace {other} is refused by Kubernetes: it must be 1 to 63 of a-z 0-9 -, \
             and begin and end with a letter or digit"
        ),
    }
}

/// The first place where `value` is not as `schema` says.
fn fault(schema: &Value, value: &Value, path: &str) -> Option<String> {
    if let Some(why) = own_fault(schema, value) {
        return Some(format!("{path} {why}"));
    }
    match value {
        Value::Object(fields) => fault_of_fields(schema, fields, path),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(place, item)| fault(&schema["items"], item, &format!("{path}[{place}]"))),
        _ => None,
    }
}

fn fault_of_fields(schema: &Value, fields: &Map<String, Value>, path: &str) -> Option<String> {
    let required = schema["required"].as_array().into_iter().flatten();
    let mut required = required.filter_map(Value::as_str);
    if let Some(missing) = required.find(|key| !fields.contains_key(*key)) {
        return Some(format!("{path}.{missing} is missing"));
    }
    fields.iter().find_map(|(key, value)| {
        let path = format!("{path}.{key}");
        match schema["properties"].get(key) {
            Some(schema) => fault(schema, value, &path),
            None => Some(format!("unknown field \"{path}\"")),
        }
    })
}

fn own_fault(schema: &Value, value: &Value) -> Option<String> {
    let kind = schema["type"].as_str().unwrap_or_default();
    let fits = match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    };
    if !fits {
        let article = if kind.starts_with(['a', 'i', 'o']) {
            "an"
        } else {
            "a"
        };
        return Some(format!("must be {article} {kind}, not {value}"));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Some(format!(
            "is {value}; it must be one of {}",
            Value::from(allowed.clone())
        ));
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && let Some(text) = value.as_str()
        && !Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
    {
        return Some(format!("is {text:?}; it must match {pattern}"));
    }
    let size = match value {
        Value::String(text) => Some((
            text.chars().count() as f64,
            "minLength",
            "maxLength",
            " long",
        )),
        Value::Array(items) => Some((items.len() as f64, "minItems", "maxItems", " items")),
        other => other
            .as_f64()
            .map(|number| (number, "minimum", "maximum", "")),
    };
    let (size, least, most, unit) = size?;
    if let Some(least) = schema[least].as_f64().filter(|least| size < *least) {
        return Some(format!("is {value}; it must be at least {least}{unit}"));
    }
    let most = schema[most].as_f64().filter(|most| size > *most)?;
    Some(format!("is {value}; it must be at most {most}{unit}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(name: &str, spec: &Value) -> Option<String> {
        let object = json!({
            "apiVersion": "roadstead.dev/v1alpha1", "kind": "Queue",
            "metadata": {"name": name}, "spec": spec,
        });
        let checked = Schema::of_queue().unwrap().check(&object);
        checked.err().map(|error| error.to_string())
    }

    #[test]
    fn a_queue_of_the_documentation_is_fine() {
        let spec = json!({
            "clusterRef": {"name": "main"}, "queueName": "o.fifo", "partitions": 8,
            "ordering": "PerKey", "lease": "1m", "limits": {"maxMessageBytes": "1Mi"},
            "groups": [{"name": "default", "maxInFlight": 8}],
        });
        assert_eq!(refusal("orders", &spec), None);
    }

    #[test]
    fn what_the_api_server_refuses_is_refused() {
        let cases = [
            ("A", json!({}), "metadata.name \"A\""),
            ("q_1", json!({}), "metadata.name \"q_1\""),
            ("a.b", json!({}), "spec.queueName"),
            (
                "q",
                json!({"clusterRef": null}),
                "spec.clusterRef must be an object",
            ),
            (
                "q",
                json!({"partitions": "8"}),
                "spec.partitions must be an integer",
            ),
            (
                "q",
                json!({"partitions": 1025}),
                "spec.partitions is 1025; it must be at most 1024",
            ),
            ("q", json!({"partitions": 0}), "at least 1"),
            (
                "q",
                json!({"partitons": 8}),
                "unknown field \"spec.partitons\"",
            ),
            (
                "q",
                json!({"ordering": "Some"}),
                "spec.ordering is \"Some\"",
            ),
            (
                "q",
                json!({"ordering": "Strict", "partitions": 2}),
                "needs partitions: 1",
            ),
            ("q", json!({"lease": "30"}), "spec.lease is \"30\""),
            ("q", json!({"lease": "13h"}), "0s to 12h"),
            (
                "q",
                json!({"queueName": "a b"}),
                "spec.queueName is \"a b\"",
            ),
            (
                "q",
                json!({"groups": [{"maxInFlight": 7}]}),
                "spec.groups[0].name is missing",
            ),
            (
                "q",
                json!({"deadLetter": {"queueRef": {"name": "q"}}}),
                "its own dead-letter",
            ),
        ];
        for (name, change, words) in cases {
            let mut spec = json!({"clusterRef": {"name": "main"}});
            for (key, value) in change.as_object().unwrap() {
                spec[key] = value.clone();
            }
            let refused = refusal(name, &spec).unwrap_or_default();
            assert!(refused.contains(words), "{change}: {refused:?}");
        }
    }
}
