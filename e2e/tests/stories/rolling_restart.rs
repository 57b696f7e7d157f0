//! Shows: all nodes are restarted one after another, under load on all shards, and not one send
//! fails: each is acknowledged within 5 s and 10 attempts, and nothing that was acknowledged is
//! lost. Its control run is `ungated_restart`.
use std::time::Duration;

use anyhow::Result;
use roadstead_e2e::restart;
use roadstead_e2e::site::Site;
use roadstead_e2e::story::Story;

/// Load in all: longer than the restart.
const LOADED: Duration = Duration::from_secs(150);

pub fn tell(story: &Story<'_>) -> Result<()> {
    let site = Site::found(story, "main")?;
    let (load, ledger) = restart::under_load(&site, LOADED)?;
    load.no_failed_send(&ledger)?;
    ledger.nothing_lost(ledger.findings.sent)
}
