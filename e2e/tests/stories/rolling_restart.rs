//! Shows: all nodes are restarted one after another, under load on all shards, and not one send
//! fails: each is acknowledged within 5 s and 10 attempts, and nothing that was acknowledged is
//! lost.
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use roadstead_e2e::kubectl::{condition_of, name_of};
use roadstead_e2e::load::Load;
use roadstead_e2e::nodes;
use roadstead_e2e::site::Site;
use roadstead_e2e::story::Story;
use roadstead_e2e::until::{Seen, until};

const STEADY: Duration = Duration::from_secs(8);
/// Between two looks, beside the pause that every look has.
const LOOK: Duration = Duration::from_secs(1);
/// Load in all: longer than the restart.
const LOADED: Duration = Duration::from_secs(150);

pub fn tell(story: &Story<'_>) -> Result<()> {
    let site = Site::found(story, "main")?;
    let load = Load::over_four_queues(&site, LOADED)?;
    thread::sleep(STEADY);

    let before = uids(&site)?;
    let began = Instant::now();
    let restart = "roadstead.dev/restarted-at=now";
    let words = [
        "-n",
        &story.namespace,
        "annotate",
        "queuecluster",
        &site.cluster,
        restart,
    ];
    story.kubectl().run(&words)?;
    restarted(&site, &before)?;
    story.say(format!(
        "3 nodes restarted in {:.0} s",
        began.elapsed().as_secs_f64()
    ));
    ensure!(
        !load.producers_done()?,
        "the load ended before the restart: it shows nothing"
    );

    let ledger = load.settled(Duration::from_mins(1))?;
    load.explained(&ledger)?;
    load.no_failed_send(&ledger)?;
    ledger.nothing_lost(ledger.findings.sent)
}

fn uids(site: &Site<'_>) -> Result<Vec<String>> {
    let pods = nodes::pods(site.story.kubectl(), &site.story.namespace, &site.cluster)?;
    let uid = |pod: &serde_json::Value| pod["metadata"]["uid"].as_str().unwrap_or("").to_owned();
    Ok(pods.iter().map(uid).collect())
}

/// Waits until all pods are new ones and the cluster is Ready and at rest.
fn restarted(site: &Site<'_>, before: &[String]) -> Result<()> {
    let mut told = 0;
    until("all nodes are restarted", Duration::from_mins(3), || {
        // Looking is work for a machine that is busy.
        thread::sleep(LOOK);
        let now = uids(site)?;
        let old = now.iter().filter(|uid| before.contains(uid)).count();
        let new = before.len() - old;
        if new > told {
            told = new;
            site.story
                .say(format!("{new} of {} nodes are new", before.len()));
        }
        let cluster = site.object()?;
        let is = |kind: &str, status: &str| {
            condition_of(&cluster, kind).is_some_and(|c| c["status"] == status)
        };
        let done = old == 0 && now.len() == 3 && is("Ready", "True") && is("Progressing", "False");
        let plan = format!("{}: {}", name_of(&cluster), cluster["status"]["plan"]);
        Ok(Seen::when(done, (), plan))
    })
}
