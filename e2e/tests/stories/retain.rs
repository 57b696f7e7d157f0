//! Shows: deleting a Queue object that holds messages, with the default policy Retain, loses none
//! of them: the same object made again finds the same queue, and every message is received. With
//! the policy Delete it is another queue, and an empty one.
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roadstead_e2e::load::Load;
use roadstead_e2e::manifests::queue;
use roadstead_e2e::site::Site;
use roadstead_e2e::story::Story;
use serde_json::json;

const MESSAGES: u64 = 2_000;
/// How long nothing comes before it is certain that nothing does.
const GONE: Duration = Duration::from_secs(8);

/// Of the queue whose object has the policy Delete.
const FLEETING: u64 = 200;

pub fn tell(story: &Story<'_>) -> Result<()> {
    let site = Site::found(story, "main")?;
    let load = Load::begin(&site)?;
    site.queues(&["orders"])?;
    let (before, after) = deleted_and_made_again(&site, &load, "orders", MESSAGES)?;
    ensure!(
        before == after,
        "it is another queue: {before} before, {after} after"
    );
    load.consume("orders", 1)?;
    let ledger = load.settled(Duration::from_mins(2))?;
    story.say(format!("Retain: {}", ledger.summary()));
    ledger.nothing_lost(MESSAGES)?;

    let mut fleeting = queue(&story.namespace, "fleeting", &site.cluster);
    fleeting["spec"]["deletionPolicy"] = json!("Delete");
    story.kubectl().apply(&[fleeting])?;
    let (before, after) = deleted_and_made_again(&site, &load, "fleeting", FLEETING)?;
    ensure!(before != after, "with Delete it is still queue {before}");
    load.consume("fleeting", 1)?;
    let lost = load.settled(GONE)?.findings.lost.len();
    ensure!(
        lost as u64 == FLEETING,
        "{lost} of {FLEETING} messages are gone with Delete"
    );
    story.say(format!("Delete: the ledger misses all {lost} messages"));
    Ok(())
}

/// Sends messages, deletes the Queue object and makes it again; the id of the queue before and
/// after.
fn deleted_and_made_again(
    site: &Site<'_>,
    load: &Load<'_>,
    name: &str,
    messages: u64,
) -> Result<(u64, u64)> {
    let before = id(site, name)?;
    load.produce_count(name, 1, messages)?;
    let namespace = &site.story.namespace;
    site.job_done(
        namespace,
        &format!("produce-{name}"),
        Duration::from_mins(2),
    )?;
    let words = ["-n", namespace, "delete", "queues.roadstead.dev", name];
    site.story.kubectl().run(&words)?;
    let what = format!("{messages} messages sent to {name}, the Queue object deleted");
    site.story.say(what);
    site.queues(&[name])?;
    Ok((before, id(site, name)?))
}

fn id(site: &Site<'_>, name: &str) -> Result<u64> {
    let queue = site.queue_ready(name)?;
    let id = &queue["status"]["queueID"];
    let number = id.as_str().and_then(|id| id.parse().ok());
    number
        .or_else(|| id.as_u64())
        .with_context(|| format!("queue {name} has no id: {}", queue["status"]))
}
