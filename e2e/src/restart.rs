//! All nodes of a cluster restarted by its operator, under load on all shards.
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::kubectl::{condition_of, name_of};
use crate::ledger::Ledger;
use crate::load::Load;
use crate::nodes;
use crate::site::Site;
use crate::until::{Seen, until};

/// Load before the restart.
const STEADY: Duration = Duration::from_secs(8);
/// Between two looks, beside the pause that every look has.
const LOOK: Duration = Duration::from_secs(1);

/// Loads the cluster for `loaded`, which has to be longer than the restart, and restarts it
/// meanwhile. The load and its ledger, for the caller to judge what was sent: what was delivered
/// twice is explained.
pub fn under_load<'a>(site: &'a Site<'a>, loaded: Duration) -> Result<(Load<'a>, Ledger)> {
    let load = Load::over_four_queues(site, loaded)?;
    thread::sleep(STEADY);

    let before = uids(site)?;
    let began = Instant::now();
    let restart = "roadstead.dev/restarted-at=now";
    let words = [
        "-n",
        &site.story.namespace,
        "annotate",
        "queuecluster",
        &site.cluster,
        restart,
    ];
    site.story.kubectl().run(&words)?;
    restarted(site, &before)?;
    site.story.say(format!(
        "3 nodes restarted in {:.0} s",
        began.elapsed().as_secs_f64()
    ));
    ensure!(
        !load.producers_done()?,
        "the load ended before the restart: it shows nothing"
    );

    let ledger = load.settled(Duration::from_mins(1))?;
    load.explained(&ledger)?;
    Ok((load, ledger))
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
