//! Shows: a cluster of one node works and says that it keeps one copy; by `kubectl scale` it grows
//! to three, each of which has a copy then and is known with its zone, and no message is lost on
//! the way. It does not shrink again.
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use roadstead_e2e::kubectl::name_of;
use roadstead_e2e::load::Load;
use roadstead_e2e::manifests::queue_cluster;
use roadstead_e2e::nodes;
use roadstead_e2e::site::Site;
use roadstead_e2e::story::Story;
use serde_json::{Value, json};

const MESSAGES: u64 = 1_000;

pub fn tell(story: &Story<'_>) -> Result<()> {
    let mut one = queue_cluster(&story.namespace, "solo");
    one["spec"]["replicas"] = json!(1);
    let site = Site::apply(story, &one)?;
    site.ready()?;
    redundant(&site, "False")?;
    site.queues(&["orders"])?;
    let load = Load::begin(&site)?;
    load.produce_count("orders", 1, MESSAGES)?;
    site.job_done(&story.namespace, "produce-orders", Duration::from_mins(2))?;
    story.say(format!("{MESSAGES} messages in a cluster of one"));

    let began = Instant::now();
    scale(&site, "3")?;
    redundant(&site, "True")?;
    let pods = site.pods()?.len();
    ensure!(pods == 3, "{pods} nodes, not 3");
    story.say(format!(
        "3 nodes with a copy each {:.0} s after `kubectl scale`",
        began.elapsed().as_secs_f64()
    ));
    zones_are_known(&site)?;
    load.consume("orders", 1)?;
    let ledger = load.settled(Duration::from_mins(2))?;
    story.say(ledger.summary());
    ledger.nothing_lost(MESSAGES)?;

    let refusal = scale(&site, "1").err().map(|error| format!("{error:#}"));
    let words = "replicas cannot go below replicationFactor";
    ensure!(
        refusal.as_ref().is_some_and(|why| why.contains(words)),
        "a cluster of three was told to shrink to one: {refusal:?}"
    );
    Ok(())
}

fn scale(site: &Site<'_>, replicas: &str) -> Result<String> {
    let cluster = format!("queueclusters.roadstead.dev/{}", site.cluster);
    let replicas = format!("--replicas={replicas}");
    let words = ["-n", &site.story.namespace, "scale", &cluster, &replicas];
    site.story.kubectl().run(&words)
}

/// The nodes know each other's zones, as Kubernetes labels their pods with them.
fn zones_are_known(site: &Site<'_>) -> Result<()> {
    let words = ["cluster", "status", "-o", "json"];
    let client = site.client(&site.story.namespace);
    let (ok, said) = site.run_pod(&client.pod("asks-for-zones", &words))?;
    ensure!(ok, "the status of the cluster: {said}");
    let status: Value = serde_json::from_str(&said)?;
    let mut zones = BTreeSet::new();
    for pod in nodes::pods(site.story.kubectl(), &site.story.namespace, &site.cluster)? {
        let label = &pod["metadata"]["labels"]["topology.kubernetes.io/zone"];
        // An older Kubernetes does not label pods, and a machine may be in no zone.
        let Some(zone) = label.as_str() else { continue };
        let members = status["members"].as_array().into_iter().flatten();
        let mut known = members.filter(|member| member["name"] == name_of(&pod));
        ensure!(
            known.next().is_some_and(|member| member["zone"] == zone),
            "{} runs in zone {zone:?}; the nodes say: {said}",
            name_of(&pod)
        );
        zones.insert(zone.to_owned());
    }
    site.story
        .say(format!("the nodes know their zones: {zones:?}"));
    Ok(())
}

fn redundant(site: &Site<'_>, status: &'static str) -> Result<()> {
    let words = ["-n", &site.story.namespace, "queuecluster", &site.cluster];
    let wanted = ("Redundant", status);
    let kubectl = site.story.kubectl();
    kubectl
        .wait_for(&words, wanted, Duration::from_mins(3))
        .map(drop)
}
