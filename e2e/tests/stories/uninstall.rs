//! Shows: uninstalling the operator takes nothing from its users: the definitions, the objects, the
//! volumes and the running nodes stay, and an operator that comes back goes on with them.
use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use roadstead_e2e::kubectl::name_of;
use roadstead_e2e::load::Load;
use roadstead_e2e::site::Site;
use roadstead_e2e::story::Story;
use roadstead_e2e::until::{Seen, until};
use roadstead_e2e::world::SYSTEM;

const MESSAGES: u64 = 500;
const KINDS: [&str; 3] = ["queueclusters", "queues", "consumerscalers"];

pub fn tell(story: &Story<'_>) -> Result<()> {
    let site = Site::found(story, "main")?;
    site.queues(&["orders"])?;
    let load = Load::begin(&site)?;
    load.produce_count("orders", 1, MESSAGES)?;
    site.job_done(&story.namespace, "produce-orders", Duration::from_mins(2))?;
    let before = kept(&site)?;

    story
        .world
        .helm(&["uninstall", "roadstead", "-n", SYSTEM, "--wait"])
        .output()?;
    story
        .world
        .helm(&["uninstall", "roadstead-crds", "--wait"])
        .output()?;
    until("the operator's pods go", Duration::from_mins(1), || {
        let pods = story.kubectl().list(&["pods", "-n", SYSTEM])?;
        Ok(Seen::when(
            pods.is_empty(),
            (),
            format!("{} pods", pods.len()),
        ))
    })?;
    let after = kept(&site)?;
    ensure!(before == after, "before: {before:?}\nafter: {after:?}");
    story.say(format!(
        "both charts are gone, and these stayed: {}",
        Vec::from_iter(after).join(" ")
    ));

    load.consume("orders", 1)?;
    let ledger = load.settled(Duration::from_mins(2))?;
    ledger.nothing_lost(MESSAGES)?;
    story.say(format!("without an operator: {}", ledger.summary()));

    story
        .world
        .helm(&[
            "install",
            "roadstead-crds",
            &story.world.chart("roadstead-crds"),
        ])
        .output()?;
    story.world.install()?;
    site.queues(&["orders", "after"])?;
    ensure!(
        kept(&site)?.is_superset(&before),
        "the operator that came back changed something"
    );
    Ok(())
}

/// What a user would miss: definitions, objects, volumes, and the pods with their identity.
fn kept(site: &Site<'_>) -> Result<BTreeSet<String>> {
    let (kubectl, namespace) = (site.story.kubectl(), &site.story.namespace);
    let mut kept = BTreeSet::new();
    for kind in KINDS {
        let name = format!("{kind}.roadstead.dev");
        kept.insert(format!("crd/{}", name_of(&kubectl.get(&["crd", &name])?)));
    }
    for kind in ["queueclusters", "queues.roadstead.dev", "pvc", "pods"] {
        let label = if kind == "pods" {
            "roadstead.dev/cluster"
        } else {
            ""
        };
        for object in kubectl.list(&[kind, "-n", namespace, "-l", label])? {
            let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
            let uid = uid.split('-').next().unwrap_or_default();
            kept.insert(format!("{kind}/{}/{uid}", name_of(&object)));
        }
    }
    Ok(kept)
}
