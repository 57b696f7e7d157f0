//! The Queue manifests that kubectl would apply, applied to an embedded cluster.

mod objects;
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use anyhow::{Context, bail};
use roadstead_client::proto::QueueSpec;
use roadstead_client::{CallError, Client};
use roadstead_crds::Queue;
use roadstead_operator_core::queue::{queue_ref, specification};
use serde_json::Value;

use self::objects::field;
use self::schema::Schema;
use crate::exit::{self, Failure, Kind};

/// A queue as a manifest describes it.
#[derive(Debug, PartialEq)]
pub struct Wanted {
    /// `namespace/name`.
    pub name: String,
    pub spec: QueueSpec,
}

/// What manifests ask for.
#[derive(Debug)]
pub struct Manifests {
    /// In an order in which they can be made.
    pub queues: Vec<Wanted>,
    /// `KIND NAME` of what has no meaning without Kubernetes.
    pub passed_over: Vec<String>,
}

/// Reads manifests from files, and from every .yaml, .yml and .json file in folders.
///
/// # Errors
/// Says which file, which object and which field; or that there is no Queue.
pub fn read(paths: &[PathBuf], namespace: &str) -> anyhow::Result<Manifests> {
    read_all(paths, namespace).map_err(|error| {
        // That a file cannot be read says nothing of what it holds.
        if error
            .chain()
            .any(|cause| cause.downcast_ref::<io::Error>().is_some())
        {
            return error;
        }
        Failure(Kind::Usage, exit::text(&error)).into()
    })
}

fn read_all(paths: &[PathBuf], namespace: &str) -> anyhow::Result<Manifests> {
    let mut found = Vec::new();
    for path in paths {
        found.extend(objects::read(path)?);
    }
    let (queues, passed_over) = sort(found)?;
    if queues.is_empty() && !paths.is_empty() {
        let paths: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        bail!("there is no Queue in {}", paths.join(", "));
    }
    let queues = wanted(&queues, namespace)?;
    Ok(Manifests {
        queues,
        passed_over,
    })
}

/// Queues, and the kinds and names of the rest.
fn sort(objects: Vec<Value>) -> anyhow::Result<(Vec<Queue>, Vec<String>)> {
    let schema = Schema::of_queue()?;
    let (mut queues, mut passed_over) = (Vec::new(), Vec::new());
    for object in objects {
        let (kind, name) = (field(&object, "kind"), field(&object["metadata"], "name"));
        if kind == "Queue" {
            let name = name.to_owned();
            let queue = queue(&schema, object).with_context(|| format!("Queue {name}"))?;
            queues.push(queue);
        } else {
            passed_over.push(format!("{kind} {name}"));
        }
    }
    Ok((queues, passed_over))
}

fn queue(schema: &Schema, mut object: Value) -> anyhow::Result<Queue> {
    let version = field(&object, "apiVersion");
    if version != schema.api_version {
        bail!(
            "its apiVersion is {version:?}; it must be {:?}",
            schema.api_version
        );
    }
    drop_nulls(&mut object);
    schema.check(&object)?;
    Ok(serde_json::from_value(object)?)
}

/// To the API server a field without a value is a field that is not there.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
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
    let mut names: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for queue in objects {
        let ((space, object), name) = (place(queue), queue_ref(queue, namespace).name);
        if !taken.insert((space.clone(), name.clone())) {
            bail!("Queue {space}/{object}: another object stands for the queue {space}/{name} too");
        }
        if names
            .insert((space.clone(), object.clone()), name)
            .is_some()
        {
            bail!("Queue {space}/{object}: there are two objects of this name");
        }
    }
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

    fn parse(text: &str) -> anyhow::Result<Vec<Queue>> {
        Ok(sort(objects::parse(text, false)?)?.0)
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
        let cases = [
            ("partitions: 8", "partitions: many", "spec.partitions"),
            (
                "partitions",
                "partitons",
                "unknown field \"spec.partitons\"",
            ),
            ("name: orders}", "name: Orders}", "metadata.name \"Orders\""),
            (
                "roadstead.dev/v1alpha1",
                "roadstead.dev/v1",
                "\"roadstead.dev/v1alpha1\"",
            ),
        ];
        for (good, bad, words) in cases {
            let error = parse(&QUEUES.replacen(good, bad, 1)).unwrap_err();
            let text = format!("{error:#}");
            assert!(text.contains("Queue ") && text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_queue_has_one_object() {
        let two = QUEUES.replace("orders-failed", "orders");
        let error = wanted(&parse(&two).unwrap(), "shop")
            .unwrap_err()
            .to_string();
        assert!(error.contains("the queue shop/orders too"), "{error}");
        let same = QUEUES.replace("name: failed, n", "name: orders, n");
        let error = wanted(&parse(&same).unwrap(), "shop")
            .unwrap_err()
            .to_string();
        assert!(error.contains("two objects"), "{error}");
    }

    #[test]
    fn a_field_without_a_value_is_none() {
        let queues = parse(&QUEUES.replace("partitions: 8", "partitions:")).unwrap();
        assert_eq!(queues[0].spec.partitions, 1);
    }

    #[test]
    fn the_quickstart_can_be_applied() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart");
        let manifests = read(&[path], "default").unwrap();
        let names = manifests.queues.iter().map(|queue| queue.name.as_str());
        assert_eq!(
            names.collect::<Vec<_>>(),
            ["default/orders-dead", "default/orders"]
        );
        assert_eq!(manifests.passed_over, ["QueueCluster quickstart"]);
    }
}
