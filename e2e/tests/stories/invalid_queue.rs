//! Shows: the API server itself refuses a Queue or a `QueueCluster` that cannot work, with a
//! message that a person understands, and accepts what is beside it.
use anyhow::{Result, ensure};
use roadstead_e2e::manifests::{queue, queue_cluster};
use roadstead_e2e::story::Story;
use serde_json::{Value, json};

pub fn tell(story: &Story<'_>) -> Result<()> {
    story.world.definitions()?;
    let namespace = &story.namespace;
    let with = |field: &str, value: Value| {
        let mut object = queue(namespace, "orders", "main");
        object["spec"][field] = value;
        object
    };
    let mut strict = with("ordering", json!("Strict"));
    strict["spec"]["partitions"] = json!(8);
    let mut two_nodes = queue_cluster(namespace, "main");
    two_nodes["spec"]["replicas"] = json!(2);
    let refused = [
        (strict, "ordering Strict needs partitions: 1"),
        (with("lease", json!("13h")), "lease must be 0s to 12h"),
        (with("partitions", json!(0)), "greater than or equal to 1"),
        (
            with("queueName", json!("no spaces")),
            "should match '^[A-Za-z0-9_-]{1,80}",
        ),
        (
            with("deadLetter", json!({"queueRef": {"name": "orders"}})),
            "a queue cannot be its own dead-letter queue",
        ),
        (
            with("groups", json!([{"name": "default", "start": "End"}])),
            "the group `default` begins with the queue",
        ),
        (with("colour", json!("red")), "unknown field \"colour\""),
        (
            two_nodes,
            "replicas must be 1 or at least replicationFactor",
        ),
    ];
    for (object, why) in &refused {
        refuses(story, object, why)?;
    }
    cannot_change(story)?;
    story.say(format!(
        "{} objects and 1 change were refused with their reasons",
        refused.len()
    ));
    Ok(())
}

fn refuses(story: &Story<'_>, object: &Value, why: &str) -> Result<()> {
    let done = story.kubectl().try_apply(std::slice::from_ref(object))?;
    let said = done.stderr.trim();
    ensure!(
        !done.ok,
        "accepted, but it should be refused with: {why}\n{object}"
    );
    ensure!(
        said.contains(why),
        "refused, but not with: {why}\nkubectl said: {said}"
    );
    story.say(said.lines().last().unwrap_or_default());
    Ok(())
}

/// What was good stays good, and one of its fields cannot change.
fn cannot_change(story: &Story<'_>) -> Result<()> {
    let mut good = queue(&story.namespace, "orders", "main");
    story.kubectl().apply(&[good.clone()])?;
    good["spec"]["partitions"] = json!(4);
    refuses(story, &good, "partitions only grow")
}
