//! Shows: a pod without a token gets nothing, nor does one of another namespace, not even the
//! metrics, nor any pod that tries the peer port: the `NetworkPolicy` alone keeps out one that
//! holds the certificate, and TLS alone keeps out one that the policy lets in. Each attempt has a
//! twin that succeeds.
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roadstead_e2e::manifests::{
    CLIENT_PORT, Client, HTTP_PORT, PEER_PORT, let_everybody_in, toolbox,
};
use roadstead_e2e::site::Site;
use roadstead_e2e::story::Story;
use roadstead_e2e::until::{Seen, until};

const SEND: &[&str] = &["send", "orders", "hello"];
const MEMBERS: &[&str] = &["cluster", "members"];

pub fn tell(story: &Story<'_>) -> Result<()> {
    // A name of its own: the other namespace gets the CA of one cluster of a name.
    let site = Site::found(story, "guarded")?;
    site.queues(&["orders"])?;
    let own = site.client(&story.namespace);
    accepted(&site, "with-token", &own, SEND)?;
    let bare = Client {
        token: false,
        ..own.clone()
    };
    refused(&site, ("without-token", SEND), &bare, "no token")?;

    let elsewhere = format!("{}-elsewhere", story.namespace);
    story.make_namespace(&elsewhere)?;
    ca_arrives(&site, &elsewhere)?;
    let foreign = Client {
        queues: story.namespace.clone(),
        ..site.client(&elsewhere)
    };
    refused(&site, ("foreign", SEND), &foreign, "may not see queue")?;

    let host = format!("{0}-0.{0}-nodes.{1}.svc", site.cluster, story.namespace);
    let peer = Client {
        endpoint: format!("{host}:{PEER_PORT}"),
        ..own
    };
    let holder = Client {
        certificate: true,
        ..peer.clone()
    };
    refused(
        &site,
        ("closed-with-certificate", MEMBERS),
        &holder,
        "no answer",
    )?;
    policy_alone(&site, &elsewhere)?;
    accepted(&site, "open-with-certificate", &holder, MEMBERS)?;
    refused(&site, ("open-with-token", MEMBERS), &peer, "no answer")?;
    let plain = Client {
        endpoint: format!("http://{host}:{PEER_PORT}"),
        ..peer
    };
    refused(&site, ("open-in-the-clear", MEMBERS), &plain, "no answer")?;
    told_why(&site)
}

fn accepted(site: &Site<'_>, name: &str, client: &Client, words: &[&str]) -> Result<()> {
    let (ok, said) = site.run_pod(&client.pod(name, words))?;
    ensure!(ok, "{name}: should be accepted: {said}");
    site.story.say(format!("{name}: accepted"));
    Ok(())
}

fn refused(
    site: &Site<'_>,
    (name, words): (&str, &[&str]),
    client: &Client,
    reason: &str,
) -> Result<()> {
    let (ok, said) = site.run_pod(&client.pod(name, words))?;
    ensure!(!ok, "{name}: should be refused: {said}");
    ensure!(
        said.contains(reason),
        "{name}: refused, but for another reason than {reason}: {said}"
    );
    site.story.say(format!("{name}: {}", said.trim()));
    Ok(())
}

/// The CA comes into every namespace that may use the cluster, shortly after it was made.
fn ca_arrives(site: &Site<'_>, namespace: &str) -> Result<()> {
    let name = format!("{}-roadstead-ca", site.cluster);
    until(
        "the CA in the other namespace",
        Duration::from_mins(2),
        || {
            let found = site
                .story
                .kubectl()
                .find(&["-n", namespace, "configmap", &name])?;
            Ok(Seen::when(found.is_some(), (), "no ConfigMap"))
        },
    )
}

/// Nothing is said here: the connection itself is what the policy refuses.
fn policy_alone(site: &Site<'_>, elsewhere: &str) -> Result<()> {
    let own = &site.story.namespace;
    for namespace in [own.as_str(), elsewhere] {
        site.story.kubectl().apply(&[toolbox(namespace, "box")])?;
        let pod = ["-n", namespace, "pod", "box"];
        site.story
            .kubectl()
            .wait_for(&pod, ("Ready", "True"), Duration::from_mins(1))?;
        ensure!(
            connects(site, namespace, CLIENT_PORT)?,
            "{namespace} cannot reach the clients' port"
        );
        ensure!(
            !connects(site, namespace, PEER_PORT)?,
            "{namespace} reaches the peers' port"
        );
    }
    ensure!(
        connects(site, own, HTTP_PORT)? && !connects(site, elsewhere, HTTP_PORT)?,
        "the metrics are for {own}, and not for {elsewhere}"
    );
    site.story
        .kubectl()
        .apply(&[let_everybody_in(own, &site.cluster)])?;
    until(
        "the way to the peers' port is open",
        Duration::from_secs(20),
        || {
            let open = connects(site, own, PEER_PORT)?
                && connects(site, elsewhere, PEER_PORT)?
                && connects(site, elsewhere, HTTP_PORT)?;
            Ok(Seen::when(open, (), "no connection"))
        },
    )?;
    site.story
        .say("peer port and metrics: no connection under the NetworkPolicy, one without it");
    Ok(())
}

fn connects(site: &Site<'_>, namespace: &str, port: u16) -> Result<bool> {
    let own = &site.story.namespace;
    let host = format!("{0}-0.{0}-nodes.{own}.svc.cluster.local", site.cluster);
    let port = port.to_string();
    let words = [
        "-n",
        namespace,
        "exec",
        "box",
        "--",
        "/bin/busybox",
        "nc",
        "-w",
        "3",
    ];
    Ok(site
        .story
        .kubectl()
        .tool(&words)
        .args([&host, &port])
        .finish()?
        .ok)
}

/// The node says why it refused those who came without a certificate.
fn told_why(site: &Site<'_>) -> Result<()> {
    let pod = format!("{}-0", site.cluster);
    let words = ["-n", &site.story.namespace, "logs", &pod];
    let log = site.story.kubectl().run(&words)?;
    let refusals: Vec<_> = log
        .lines()
        .filter(|line| line.contains("a connection was refused"))
        .collect();
    let why = refusals.iter().find(|line| line.contains("ertificate"));
    let why = why.with_context(|| format!("no refusal for a certificate: {refusals:?}"))?;
    site.story.say(format!("{pod} says: {why}"));
    Ok(())
}
