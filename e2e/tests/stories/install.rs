//! Shows: two helm charts install Roadstead, and only with an image.
use anyhow::{Result, ensure};
use roadstead_e2e::story::Story;

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
    world.installed()
}
