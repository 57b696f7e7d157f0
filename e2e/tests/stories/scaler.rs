//! Shows: a Deployment at zero is scaled up when messages wait, and back to zero when they are
//! gone, by a `ConsumerScaler`; every message is acked, and the scaler writes replicas and nothing
//! else. The times are those of the API server's audit log.
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{Timestamp, Unit};
use roadstead_e2e::load::Load;
use roadstead_e2e::site::Site;
use roadstead_e2e::story::Story;
use roadstead_e2e::until::{Seen, until};
use serde_json::{Value, json};

const MESSAGES: u64 = 1_500;
const TARGET: &str = "consume-orders";
const LIMIT: Duration = Duration::from_mins(3);

pub fn tell(story: &Story<'_>) -> Result<()> {
    let site = Site::found(story, "main")?;
    site.queues(&["orders"])?;
    let load = Load::begin(&site)?;
    load.consume_slowly("orders", 0, "20ms")?;
    story.kubectl().apply(&[scaler(&story.namespace)])?;
    let words = ["-n", &story.namespace, "consumerscaler", "worker"];
    story
        .kubectl()
        .wait_for(&words, ("Ready", "True"), Duration::from_mins(1))?;
    ensure!(replicas(story)? == 0, "it scaled up without a message");

    load.produce_count("orders", 1, MESSAGES)?;
    let first = load.first_acknowledged()?;
    let most = reaches(story, "more than one consumer", |replicas| replicas > 1)?;
    story.say(format!(
        "0 → {most} {:.1} s after the first message was acknowledged",
        first_write(story, first)?
    ));
    let ledger = load.settled(LIMIT)?;
    reaches(story, "no consumer", |replicas| replicas == 0)?;
    story.say("back at 0");
    load.explained(&ledger)?;
    ledger.nothing_lost(MESSAGES)?;
    let decisions = story.kubectl().get(&words)?["status"]["decisions"].clone();
    for decision in decisions.as_array().into_iter().flatten() {
        story.say(decision.to_string());
    }
    only_replicas(story)
}

fn scaler(namespace: &str) -> Value {
    json!({
        "apiVersion": "roadstead.dev/v1alpha1",
        "kind": "ConsumerScaler",
        "metadata": {"name": "worker", "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"name": TARGET},
            "sources": [{"queue": "orders"}],
            "objective": {"messagesPerReplica": 300},
            "maxReplicas": 4,
            "scaleDown": {"stabilization": "5s", "toZeroAfter": "5s"},
        },
    })
}

fn replicas(story: &Story<'_>) -> Result<u64> {
    let target = story
        .kubectl()
        .get(&["-n", &story.namespace, "deployment", TARGET])?;
    target["spec"]["replicas"]
        .as_u64()
        .context("the target has no replicas")
}

fn reaches(story: &Story<'_>, what: &str, is: impl Fn(u64) -> bool) -> Result<u64> {
    until(what, LIMIT, || {
        let replicas = replicas(story)?;
        Ok(Seen::when(
            is(replicas),
            replicas,
            format!("{replicas} replicas"),
        ))
    })
}

/// Seconds from `since` to the first write of the target's scale after it.
fn first_write(story: &Story<'_>, since: Timestamp) -> Result<f64> {
    let writes = scale_writes(story)?;
    let first = writes
        .iter()
        .find(|at| **at >= since)
        .context("no write of the scale")?;
    Ok((*first - since).total(Unit::Second)?)
}

fn scale_writes(story: &Story<'_>) -> Result<Vec<Timestamp>> {
    let records = story.world.audit.records(|record| {
        record.is_about("deployments", &story.namespace, TARGET)
            && record.subresource == "scale"
            && record.writes()
    })?;
    Ok(records.iter().map(|record| record.at).collect())
}

/// The scaler's field manager owns `spec.replicas` of the target and nothing else.
fn only_replicas(story: &Story<'_>) -> Result<()> {
    let words = [
        "-n",
        &story.namespace,
        "deployment",
        TARGET,
        "--show-managed-fields",
    ];
    let target = story.kubectl().get(&words)?;
    let managers = target["metadata"]["managedFields"]
        .as_array()
        .context("no managed fields")?;
    let scaler = managers
        .iter()
        .find(|entry| entry["subresource"] == "scale");
    let fields = &scaler.context("nobody wrote the scale")?["fieldsV1"];
    let wanted = json!({"f:spec": {"f:replicas": {}}});
    ensure!(*fields == wanted, "the scaler owns {fields}");
    Ok(())
}
