//! Shows: applied objects become a cluster of three and four queues, and client pods, producers in
//! Jobs and consumers in Deployments, move 50,000 messages with JSON bodies of real shape through
//! them: every one is acknowledged, received and acked.
use std::time::{Duration, Instant};

use anyhow::Result;
use roadstead_e2e::load::{Load, QUEUES};
use roadstead_e2e::site::Site;
use roadstead_e2e::story::Story;

const MESSAGES: u64 = 50_000;

pub fn tell(story: &Story<'_>) -> Result<()> {
    let site = Site::found(story, "main")?;
    site.queues(&QUEUES)?;
    let load = Load::begin(&site)?;
    load.consumers_everywhere()?;
    for queue in QUEUES {
        load.produce_count(queue, 2, MESSAGES / 4)?;
    }
    load.first_acknowledged()?;
    let began = Instant::now();
    let ledger = load.settled(Duration::from_mins(1))?;
    load.explained(&ledger)?;
    load.no_failed_send(&ledger)?;
    ledger.nothing_lost(MESSAGES)?;
    story.say(format!(
        "{MESSAGES} messages acknowledged, received and acked within {:.0} s of the first",
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}
