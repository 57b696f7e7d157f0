//! The Queue manifests that kubectl would apply, applied to an embedded cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use roadstead_client::proto::QueueSpec;
use roadstead_client::{CallError, Client};
use roadstead_crds::Queue;
use roadstead_operator_core::queue::{queue_ref, specification};
use serde_json::{Value, json};

/// A queue as a manifest describes it.
#[derive(Debug, PartialEq)]
pub struct Wanted {
    /// `namespace/name`.
    pub name: String,
    pub spec: QueueSpec,
}

/// Reads manifests from a file, or from every .yaml file in a folder.
///
/// # Errors
/// Says which file, which object and which field.
pub fn read(path: &Path, namespace: &str) -> anyhow::Result<Vec<Wanted>> {
    let mut objects = Vec::new();
    for file in files(path)? {
        let show = file.display();
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {show}"))?;
        objects.extend(parse(&text).with_context(|| format!("{show} cannot be read"))?);
    }
    wanted(&objects, namespace)
}

fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries =
        std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// The Queue objects in a text of one or more YAML documents; other kinds are passed over, as they
/// have no meaning without Kubernetes.
fn parse(text: &str) -> anyhow::Result<Vec<Queue>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
    let mut queues = Vec::new();
    for document in documents {
        let of = |key: &str| {
            document
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        if of("kind") != "Queue" {
            continue;
        }
        if !of("apiVersion").starts_with("roadstead.dev/") {
            bail!(
                "a Queue has the apiVersion {:?}; it must be roadstead.dev/...",
                of("apiVersion")
            );
        }
        let name = document
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or("?");
        let name = name.to_owned();
        let queue = serde_json::from_value(document.clone());
        let queue: Queue = queue.with_context(|| format!("Queue {name}"))?;
        if let Some(field) = unknown(&document["spec"], &json!(queue.spec), "spec") {
            bail!("Queue {name}: unknown field \"{field}\"");
        }
        queues.push(queue);
    }
    Ok(queues)
}

/// The first field of `given` that `read`, which was read from it, has not.
fn unknown(given: &Value, read: &Value, path: &str) -> Option<String> {
    let fields = given.as_object()?.iter();
    let mut fields = fields.filter(|(_, value)| !value.is_null());
    fields.find_map(|(key, value)| {
        let path = format!("{path}.{key}");
        match read.get(key) {
            Some(read) => unknown(value, read, &path),
            None => Some(path),
        }
    })
}

/// In an order in which they can be made: a queue for dead letters before those that name it.
fn wanted(objects: &[Queue], namespace: &str) -> anyhow::Result<Vec<Wanted>> {
    let place = |queue: &Queue| {
        let own = queue
            .metadata
            .namespace
            .clone()
            .unwrap_or_else(|| namespace.to_owned());
        (own, queue.metadata.name.clone().unwrap_or_default())
    };
    let names: BTreeMap<(String, String), String> = objects
        .iter()
        .map(|queue| (place(queue), queue_ref(queue, namespace).name))
        .collect();
    let mut wanted = Vec::new();
    for queue in objects {
        let target = queue.spec.dead_letter.as_ref().and_then(|policy| {
            names
                .get(&(place(queue).0, policy.queue_ref.name.clone()))
                .cloned()
        });
        let name = queue_ref(queue, namespace);
        let name = format!("{}/{}", name.namespace, name.name);
        let spec = specification(&queue.spec, target);
        let spec = spec.map_err(|violation| anyhow::anyhow!("Queue {name}: {violation}"))?;
        wanted.push(Wanted { name, spec });
    }
    let mut ordered: Vec<Wanted> = Vec::new();
    while !wanted.is_empty() {
        let waits = |queue: &Wanted| {
            let Some(policy) = &queue.spec.dead_letter else {
                return false;
            };
            let namespace = queue.name.split('/').next().unwrap_or_default();
            let target = format!("{namespace}/{}", policy.queue);
            wanted.iter().any(|other| other.name == target)
        };
        let free = wanted.iter().position(|queue| !waits(queue));
        // In a circle the server has the last word.
        ordered.push(wanted.remove(free.unwrap_or(0)));
    }
    Ok(ordered)
}

/// Creates the queues, or changes those that exist.
pub async fn apply(client: &Client, wanted: &[Wanted]) -> Result<(), CallError> {
    for queue in wanted {
        match client.create_queue(&queue.name, queue.spec.clone()).await {
            Ok(_) => {}
            // It exists with another specification.
            Err(CallError::Refused(fault)) if i32::from(fault.code) == 6 => {
                client.update_queue(&queue.name, queue.spec.clone()).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUES: &str = "
apiVersion: roadstead.dev/v1alpha1
kind: Queue
metadata: {name: orders}
spec:
  clusterRef: {name: main}
  partitions: 8
  deadLetter: {queueRef: {name: failed}}
---
apiVersion: apps/v1
kind: Deployment
---
apiVersion: roadstead.dev/v1alpha1
kind: Queue
metadata: {name: failed, namespace: shop}
spec: {clusterRef: {name: main}, queueName: orders-failed}
";

    #[test]
    fn a_field_that_no_queue_has_is_named() {
        let error = parse(&QUEUES.replace("partitions", "partitons")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Queue orders: unknown field \"spec.partitons\""
        );
    }

    #[test]
    fn queues_are_made_in_an_order_that_works() {
        let objects = parse(QUEUES).unwrap();
        let queues = wanted(&objects, "shop").unwrap();
        let names: Vec<&str> = queues.iter().map(|queue| queue.name.as_str()).collect();
        assert_eq!(names, ["shop/orders-failed", "shop/orders"]);
        let policy = queues[1].spec.dead_letter.as_ref().unwrap();
        assert_eq!(policy.queue, "orders-failed");
        assert_eq!(queues[1].spec.partitions, 8);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let elsewhere = wanted(&parse(QUEUES).unwrap(), "default")
            .unwrap_err()
            .to_string();
        assert!(elsewhere.contains("Queue default/orders"), "{elsewhere}");
        assert!(elsewhere.contains("failed"), "{elsewhere}");
        let bad = QUEUES.replace("partitions: 8", "partitions: many");
        assert!(format!("{:#}", parse(&bad).unwrap_err()).contains("Queue orders"));
    }

    #[test]
    fn the_quickstart_can_be_applied() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart");
        let queues = read(&path, "default").unwrap();
        assert!(
            queues.iter().any(|queue| queue.name == "default/orders"),
            "{queues:?}"
        );
    }
}
