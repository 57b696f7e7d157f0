//! Shows: the commands of docs/install.md, word for word, install Roadstead and end in an
//! acknowledged message; without an image the chart says how to get one; removing keeps volumes.
//!
//! The first command of each block brings the image; the harness has done that in its own way.
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roadstead_e2e::command::Tool;
use roadstead_e2e::story::Story;
use roadstead_e2e::world::SYSTEM;

const LIMIT: Duration = Duration::from_mins(5);

pub fn tell(story: &Story<'_>) -> Result<()> {
    let world = story.world;
    let bare = world
        .helm(&["template", "roadstead", &world.chart("roadstead")])
        .finish()?;
    ensure!(
        !bare.ok && bare.stderr.contains("make image") && bare.stderr.contains("docs/install.md"),
        "without an image, helm must say how to get one; it said: {}",
        bare.stderr
    );
    let page = fs::read_to_string(world.root.join("docs/install.md"))?;
    let commands = same_but_for_the_image(&page)?;
    let folder = checkout(story)?;
    clear(story)?;
    for command in &commands[..3] {
        story.say(format!("$ {command}"));
        let said = sh(story, &folder, command)?;
        story.say(said.lines().last().unwrap_or_default());
    }
    let last = &commands[3];
    story.say(format!("$ {last}"));
    let said = sh(
        story,
        &folder,
        &format!("{last}; code=$?; kill %1; exit $code"),
    )?;
    ensure!(
        said.contains("hello"),
        "the message did not come back: {said}"
    );
    story.say(said.trim());
    remove(story, &folder, &page)
}

/// The commands of the page's three blocks but for their first: kind's, after a check that the
/// others differ from them in the image's name only.
fn same_but_for_the_image(page: &str) -> Result<Vec<String>> {
    let block = |title: &str| -> Result<Vec<String>> {
        let (_, rest) = page
            .split_once(title)
            .with_context(|| format!("no section {title}"))?;
        let block = rest.split("```").nth(1).context("no block of commands")?;
        let commands: Vec<_> = block.trim().lines().map(str::to_owned).collect();
        ensure!(
            commands.len() == 5,
            "{title} has {} commands, not five",
            commands.len()
        );
        Ok(commands[1..].to_vec())
    };
    let kind = block("## kind")?;
    ensure!(
        kind == block("## k3s")?,
        "the blocks for kind and k3s differ"
    );
    let registry = "registry.example.com/team/roadstead";
    let of_registry: Vec<_> = block("## Any cluster with a registry")?
        .iter()
        .map(|command| command.replace(registry, "localhost/roadstead"))
        .collect();
    ensure!(
        kind == of_registry,
        "the blocks for kind and a registry differ"
    );
    Ok(kind)
}

/// A folder that looks like a checkout in which `make image` has run.
fn checkout(story: &Story<'_>) -> Result<PathBuf> {
    let folder = story.folder()?.join("checkout");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.join("target"))?;
    let root = &story.world.root;
    for name in ["charts", "examples"] {
        symlink(root.join(name), folder.join(name))?;
    }
    symlink(story.world.target(), folder.join("target/debug"))?;
    let tools = folder.join("bin");
    fs::create_dir(&tools)?;
    symlink(story.world.helm_path(), tools.join("helm"))?;
    Ok(folder)
}

fn sh(story: &Story<'_>, folder: &Path, command: &str) -> Result<String> {
    let path = std::env::var("PATH")?;
    Tool::new("bash")
        .args(["-mc", command])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", folder.join("bin").display()))
        .env("KUBECONFIG", story.kubectl().kubeconfig())
        .limit(LIMIT)
        .output()
}

/// A cluster on which the stories ran before has what the page installs.
fn clear(story: &Story<'_>) -> Result<()> {
    let uninstall = ["uninstall", "--ignore-not-found", "--wait"];
    story
        .world
        .helm(&uninstall)
        .args(["roadstead", "-n", SYSTEM])
        .output()?;
    story
        .world
        .helm(&uninstall)
        .args(["roadstead-crds"])
        .output()
        .map(drop)
}

/// The page's own words to remove clusters and queues; the volumes stay.
fn remove(story: &Story<'_>, folder: &Path, page: &str) -> Result<()> {
    let page = page.replace('\n', " ");
    let start = page
        .find("kubectl delete queues")
        .context("the page says no kubectl delete")?;
    let command = page[start..].split('`').next().unwrap_or_default();
    story.say(format!("$ {command}"));
    sh(story, folder, command)?;
    let ours = "roadstead.dev/cluster=quickstart";
    let claims = story
        .kubectl()
        .list(&["pvc", "-n", "default", "-l", ours])?;
    ensure!(claims.len() == 3, "{} volumes stayed, not 3", claims.len());
    story
        .kubectl()
        .run(&["-n", "default", "delete", "pvc", "-l", ours, "--wait=false"])?;
    story.say("clusters and queues are gone, 3 volumes had stayed");
    Ok(())
}
