//! Shows: without the gate between restarts, sends fail under the load of `rolling_restart`, and
//! its judgement says so: the control run of that story. What was acknowledged is kept even so.
use std::time::Duration;

use anyhow::{Result, ensure};
use roadstead_e2e::site::Site;
use roadstead_e2e::story::Story;
use roadstead_e2e::{control, restart};

/// Load in all: longer than the restart.
const LOADED: Duration = Duration::from_mins(1);

pub fn tell(story: &Story<'_>) -> Result<()> {
    control::without(story, "catch-up-gate", || {
        let site = Site::found(story, "main")?;
        let (load, ledger) = restart::under_load(&site, LOADED)?;
        let judged = load.no_failed_send(&ledger);
        let failed = ledger.findings.failed + ledger.findings.maybe;
        ensure!(
            judged.is_err() && failed > 0,
            "without the gate {failed} sends failed and the judgement was {judged:?}: \
             rolling_restart would notice nothing"
        );
        story.say(format!(
            "the pair: with the gate 0 failed sends, which rolling_restart asserts; without it \
             {failed} failed beside {} acknowledged",
            ledger.findings.sent
        ));
        ledger.nothing_lost(ledger.findings.sent)
    })
}
