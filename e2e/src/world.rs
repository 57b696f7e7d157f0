//! What all stories share: the cluster, the image, the tools, and the operator.
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::audit::AuditLog;
use crate::command::Tool;
use crate::kubectl::Kubectl;

/// The namespace of the operator.
pub const SYSTEM: &str = "roadstead-system";

/// What all stories share.
pub struct World {
    /// The cluster.
    pub kubectl: Kubectl,
    /// Its audit log.
    pub audit: AuditLog,
    /// The checkout.
    pub root: PathBuf,
    /// Repository and tag of the image that every node has.
    pub image: (String, String),
    helm: String,
    began: Instant,
    definitions: Once,
    installed: Once,
}

impl World {
    /// Looks around; `None` where no cluster is given.
    pub fn of_environment() -> Result<Option<Self>> {
        let Some(kubectl) = Kubectl::of_environment()? else {
            return Ok(None);
        };
        let audit = std::env::var_os("ROADSTEAD_E2E_AUDIT_LOG")
            .context("ROADSTEAD_E2E_AUDIT_LOG is not set: run the stories by e2e/cluster run")?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("no parent")?
            .to_owned();
        let name = script(&root, "image", &["--name"])?;
        let (repository, tag) = name
            .rsplit_once(':')
            .with_context(|| format!("image {name} has no tag"))?;
        Ok(Some(Self {
            image: (repository.to_owned(), tag.to_owned()),
            helm: script(&root, "tools", &["helm"])?,
            audit: AuditLog::new(audit),
            began: Instant::now(),
            definitions: Once::new(),
            installed: Once::new(),
            kubectl,
            root,
        }))
    }

    /// Prints one line, with the time since the run began.
    pub fn say(&self, who: &str, what: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        // Nobody reads it where the pipe is closed, and the run goes on.
        drop(writeln!(
            std::io::stdout(),
            "[{seconds:6.1} s {who}] {what}"
        ));
    }

    /// The image as pods name it.
    pub fn image_name(&self) -> String {
        format!("{}:{}", self.image.0, self.image.1)
    }

    /// The image whose binaries can be told to do without a protection, as pods name it.
    pub fn control_image(&self) -> Result<String> {
        script(&self.root, "image", &["--controls", "--name"])
    }

    /// A helm call in the checkout.
    pub fn helm(&self, words: &[&str]) -> Tool {
        Tool::new(&self.helm)
            .args(words)
            .limit(Duration::from_mins(4))
    }

    /// The path of helm.
    pub fn helm_path(&self) -> &Path {
        Path::new(&self.helm)
    }

    /// The path of a chart of this checkout.
    pub fn chart(&self, name: &str) -> String {
        self.root.join("charts").join(name).display().to_string()
    }

    /// The harness's own entry script.
    pub fn cluster(&self, words: &[&str]) -> Tool {
        Tool::new(self.root.join("e2e/cluster")).args(words)
    }

    /// The folder with the programs that cargo built.
    pub fn target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| self.root.join("target"), PathBuf::from)
            .join("debug")
    }

    /// The command line as built in this checkout, run where the cluster's addresses work.
    pub fn roadstead(&self) -> Tool {
        Tool::new(self.target().join("roadstead"))
    }

    /// Installs the custom resource definitions, once per run.
    pub fn definitions(&self) -> Result<()> {
        once(&self.definitions, || {
            let chart = self.chart("roadstead-crds");
            self.helm(&["upgrade", "--install", "roadstead-crds", &chart])
                .output()
                .map(drop)
        })
    }

    /// Installs everything, once per run: every story that needs the operator calls this.
    pub fn installed(&self) -> Result<()> {
        self.definitions()?;
        once(&self.installed, || self.install())
    }

    /// Installs or upgrades the operator, and waits until it is ready.
    pub fn install(&self) -> Result<()> {
        self.helm(&[
            "upgrade",
            "--install",
            "roadstead",
            &self.chart("roadstead"),
        ])
        .args([
            "--namespace",
            SYSTEM,
            "--create-namespace",
            "--wait",
            "--timeout",
            "2m",
        ])
        .args(["--set", &format!("image.repository={}", self.image.0)])
        .args(["--set", &format!("image.tag={}", self.image.1)])
        .output()
        .map(drop)
    }
}

/// What a script of the checkout says.
fn script(root: &Path, name: &str, words: &[&str]) -> Result<String> {
    let said = Tool::new(root.join("scripts").join(name))
        .args(words)
        .output()?;
    Ok(said.trim().to_owned())
}

type Once = OnceLock<Result<(), String>>;

fn once(cell: &Once, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let outcome = cell.get_or_init(|| act().map_err(|error| format!("{error:#}")));
    outcome
        .clone()
        .map_err(|error| anyhow!("not installed: {error}"))
}
