//! Shows: deleting a Queue object that holds messages, with the default policy Retain, loses none of
//! them: the same object made again finds the same queue, and every message is received.
use std::time::Duration;

use anyhow::{Result, ensure};
use roadstead_e2e::load::Load;
use roadstead_e2e::site::Site;
use roadstead_e2e::story::Story;

const MESSAGES: u64 = 2_000;

pub fn tell(story: &Story<'_>) -> Result<()> {
    let site = Site::found(story, "main")?;
    site.queues(&["orders"])?;
    let before = site.queue_ready("orders")?["status"]["queueID"].clone();
    let load = Load::begin(&site)?;
    load.produce_count("orders", 1, MESSAGES)?;
    site.job_done(&story.namespace, "produce-orders", Duration::from_mins(2))?;

    story.kubectl().run(&[
        "-n",
        &story.namespace,
        "delete",
        "queues.roadstead.dev",
        "orders",
    ])?;
    story.say(format!(
        "{MESSAGES} messages sent, the Queue object deleted"
    ));
    site.queues(&["orders"])?;
    let after = site.queue_ready("orders")?["status"]["queueID"].clone();
    ensure!(
        before == after,
        "it is another queue: {before} before, {after} after"
    );

    load.consume("orders", 1)?;
    let ledger = load.settled(Duration::from_mins(2))?;
    ledger.nothing_lost(MESSAGES)?;
    story.say(ledger.summary());
    Ok(())
}
