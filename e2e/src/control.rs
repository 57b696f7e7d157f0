//! Control runs: the operator of the control image, without a protection, in place of the shipped
//! one. Only a story that runs alone may do that, for all stories share the one operator.
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

use crate::story::Story;
use crate::until::{Seen, until};
use crate::world::SYSTEM;

const OPERATOR: &str = "deployment/roadstead-operator";
const READY: Duration = Duration::from_mins(1);

/// What `act` gives when the operator does without this protection. Whatever comes of it, the
/// shipped operator is back afterwards; what the other one logged is in the story's folder.
pub fn without<T>(
    story: &Story<'_>,
    protection: &str,
    act: impl FnOnce() -> Result<T>,
) -> Result<T> {
    story.world.installed()?;
    let image = story.world.control_image()?;
    exchange(story, &image, protection)?;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        leads(story, &image)
            .with_context(|| format!("has e2e/cluster load given {image} to the nodes?"))?;
        story.say(format!("the operator does without {protection}"));
        act()
    }))
    .unwrap_or_else(|_| Err(anyhow!("it panicked, see above")));
    let back = put_back(story);
    let told = outcome?;
    back?;
    Ok(told)
}

/// The image that nodes run stays: only the operator is another one.
fn exchange(story: &Story<'_>, image: &str, protection: &str) -> Result<()> {
    let container = json!({
        "name": "operator",
        "image": image,
        "env": [{"name": "ROADSTEAD_WITHOUT", "value": protection}],
    });
    let patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}}).to_string();
    let words = ["-n", SYSTEM, "patch", OPERATOR, "--patch", &patch];
    story.kubectl().run(&words).map(drop)
}

fn put_back(story: &Story<'_>) -> Result<()> {
    let kubectl = story.kubectl();
    let log = kubectl.tool(&["-n", SYSTEM, "logs", OPERATOR]).finish();
    kubectl.run(&["-n", SYSTEM, "rollout", "undo", OPERATOR])?;
    leads(story, &story.world.image_name())?;
    story.say("the shipped operator is back");
    let log = log?;
    let file = story.folder()?.join("control-operator.log");
    Ok(fs::write(file, log.stdout + &log.stderr)?)
}

/// Waits until the one operator there is has this image, and is ready.
fn leads(story: &Story<'_>, image: &str) -> Result<()> {
    until(&format!("the operator of {image}"), READY, || {
        let pods = story.kubectl().list(&["pods", "-n", SYSTEM])?;
        let is = |pod: &Value| {
            let status = &pod["status"]["containerStatuses"][0];
            pod["spec"]["containers"][0]["image"] == image && status["ready"] == true
        };
        let seen = pods.iter().map(|pod| pod["status"].to_string());
        Ok(Seen::when(
            pods.len() == 1 && pods.iter().all(is),
            (),
            seen.collect::<Vec<_>>().join(" "),
        ))
    })
}
