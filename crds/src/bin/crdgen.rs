//! Writes the definitions into the folder given, `charts/roadstead-crds/templates`.
use std::path::PathBuf;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let folder = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .context("crdgen FOLDER: name the folder to write into, charts/roadstead-crds/templates")?;
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    for crd in roadstead_crds::crds() {
        let path = folder.join(roadstead_crds::file_name(&crd));
        std::fs::write(&path, roadstead_crds::yaml(&crd)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
