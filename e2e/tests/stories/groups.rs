//! Shows: a Queue object with consumer groups gives each of them every message: one that competes
//! in `default`, one of its own, and one that is paused and gets nothing until the object says
//! otherwise. One that is taken out of the object is gone.
use std::time::Duration;

use anyhow::{Result, ensure};
use roadstead_e2e::load::Load;
use roadstead_e2e::manifests::queue;
use roadstead_e2e::site::Site;
use roadstead_e2e::story::Story;
use roadstead_e2e::until::{Seen, until};
use serde_json::{Value, json};

const MESSAGES: u64 = 500;

pub fn tell(story: &Story<'_>) -> Result<()> {
    let site = Site::found(story, "main")?;
    let load = Load::begin(&site)?;
    let billing = json!({"name": "billing"});
    let audit = |delivery: &str| json!({"name": "audit", "delivery": delivery});
    say(&site, &[billing.clone(), audit("Paused")])?;
    load.produce_count("events", 1, MESSAGES)?;
    site.job_done(&story.namespace, "produce-events", Duration::from_mins(2))?;

    let all = MESSAGES.to_string();
    let whole = ["-c", &all, "--wait", "20s"];
    received(&site, ("working", "default"), &whole, MESSAGES)?;
    received(&site, ("billing", "billing"), &whole, MESSAGES)?;
    received(&site, ("paused", "audit"), &["--wait", "3s"], 0)?;
    say(&site, &[billing, audit("Active")])?;
    received(&site, ("resumed", "audit"), &whole, MESSAGES)?;

    say(&site, &[audit("Active")])?;
    let gone = site
        .client(&story.namespace)
        .pod("gone", &receive("billing", &[]));
    let (ok, said) = site.run_pod(&gone)?;
    ensure!(!ok && said.contains("billing"), "its group is gone: {said}");
    story.say(format!("billing, taken out: {}", said.trim()));
    Ok(())
}

/// Applies the queue with these groups, and waits until the cluster knows them.
fn say(site: &Site<'_>, groups: &[Value]) -> Result<()> {
    let namespace = &site.story.namespace;
    let mut object = queue(namespace, "events", &site.cluster);
    object["spec"]["groups"] = json!(groups);
    site.story.kubectl().apply(&[object])?;
    until("the Queue's groups", Duration::from_mins(1), || {
        let queue = site.queue_ready("events")?;
        let (wanted, seen) = (
            &queue["metadata"]["generation"],
            &queue["status"]["observedGeneration"],
        );
        Ok(Seen::when(wanted == seen, (), "an older generation"))
    })
}

fn receive<'a>(group: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let words = ["receive", "events", "--ack", "-o", "json", "--group", group];
    [&words, more].concat()
}

/// A pod of a group receives so many messages.
fn received(
    site: &Site<'_>,
    (name, group): (&str, &str),
    more: &[&str],
    messages: u64,
) -> Result<()> {
    let client = site.client(&site.story.namespace);
    let (ok, said) = site.run_pod(&client.pod(name, &receive(group, more)))?;
    let count = said.lines().filter(|line| line.starts_with('{')).count();
    ensure!(
        ok && count as u64 == messages,
        "{name}: {count} messages of {messages}, ended well: {ok}: {said}"
    );
    site.story.say(format!("{name}: {count} messages"));
    Ok(())
}
