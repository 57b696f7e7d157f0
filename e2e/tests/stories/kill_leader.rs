//! Shows: SIGKILL to the node that leads most, with traffic over all shards, loses no acknowledged
//! message; what is delivered twice is counted and looked up in the nodes' logs.
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roadstead_e2e::kubectl::name_of;
use roadstead_e2e::load::{Load, RATE};
use roadstead_e2e::nodes;
use roadstead_e2e::site::Site;
use roadstead_e2e::story::{Story, restarts};

/// Load before the fault.
const STEADY: Duration = Duration::from_secs(10);
/// Load in all.
const LOADED: Duration = Duration::from_secs(40);

pub fn tell(story: &Story<'_>) -> Result<()> {
    let site = Site::found(story, "main")?;
    let load = Load::over_four_queues(&site, LOADED)?;
    thread::sleep(STEADY);

    let (pod, shards) = site.busiest()?;
    let before = load.ledger()?;
    story.say(format!(
        "SIGKILL to {pod}, leader of shards {shards:?} with traffic; at this moment {} sends \
         acknowledged, {} messages in flight",
        before.findings.sent, before.in_flight
    ));
    story
        .world
        .cluster(&["kill-pod", &story.namespace, &pod])
        .output()?;

    let ledger = load.settled(Duration::from_mins(1))?;
    load.explained(&ledger)?;
    was_killed(&site, &pod)?;
    let sent = ledger.findings.sent;
    let wanted = u64::from(RATE) * 8 * LOADED.as_secs() / 2;
    ensure!(
        sent > wanted,
        "only {sent} messages in {} s: no load",
        LOADED.as_secs()
    );
    ledger.nothing_lost(sent)?;
    site.ready().map(drop)
}

fn was_killed(site: &Site<'_>, pod: &str) -> Result<()> {
    let pods = nodes::pods(site.story.kubectl(), &site.story.namespace, &site.cluster)?;
    let pod = pods
        .iter()
        .find(|candidate| name_of(candidate) == pod)
        .context("the pod is gone")?;
    ensure!(
        restarts(pod, "node") == 1,
        "the node was not restarted: {}",
        pod["status"]
    );
    Ok(())
}
