//! The rows of groups that were lost with LMDB's file are fetched from other nodes, before this
//! node takes part: its log and its votes are whole.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use roadstead_proto::v1::FetchStateRequest;
use tokio::time::timeout;

use super::members::Members;
use crate::raft::types::{GroupId, LogId};
use crate::store::Store;

/// A chunk that does not come by then is lost, and the state with it.
const CHUNK: Duration = Duration::from_secs(10);
/// The first one comes when all rows have been read there.
const FIRST_CHUNK: Duration = Duration::from_mins(5);
/// Pause before the members are asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is said that nobody has given a state yet.
const REMINDER: Duration = Duration::from_secs(10);

/// Fetches what is missing, however long that takes.
///
/// # Errors
/// When no other member is known, or the store fails.
pub async fn run(store: &Store, cluster: &str, members: &Members) -> anyhow::Result<()> {
    let lost = store.lost_groups()?;
    ensure!(
        lost.is_empty() || !members.addresses().is_empty(),
        "the journal begins after the rows that were lost, and no other member is known"
    );
    for (group, missing) in lost {
        tracing::warn!(group, "the rows of a group were lost: they are fetched");
        let mut said = Instant::now();
        for address in members.addresses().iter().cycle() {
            let request = FetchStateRequest {
                cluster_id: cluster.to_owned(),
                group: group.into(),
            };
            let why = match fetch(store, members, address, request, missing).await {
                Ok(applied) => {
                    tracing::info!(group, %applied, from = address, "rows fetched");
                    break;
                }
                Err(error) => format!("{error:#}"),
            };
            if let Some(failure) = store.failure().get() {
                bail!(failure);
            }
            if said.elapsed() >= REMINDER {
                said = Instant::now();
                tracing::warn!(group, from = address, why, "nobody has given the rows yet");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    // Also after a crash between the two.
    store.cut_tails()?;
    Ok(())
}

/// Installs the state of a replica that has applied at least `missing`; gives what it has applied.
async fn fetch(
    store: &Store,
    members: &Members,
    address: &str,
    request: FetchStateRequest,
    missing: LogId,
) -> anyhow::Result<LogId> {
    let group = GroupId::try_from(request.group)?;
    let mut peer = members.peer(address).await?;
    let answered = timeout(FIRST_CHUNK, peer.fetch_state(request)).await;
    let mut chunks = answered.context("no answer in time")??.into_inner();
    let mut installer = store.begin_install(group)?;
    while let Some(chunk) = timeout(CHUNK, chunks.message())
        .await
        .context("no chunk in time")??
    {
        installer.write(chunk.chunk).await?;
    }
    let staged = installer.finish()?;
    let applied = staged.info().applied;
    let applied = applied.filter(|applied| *applied >= missing);
    let applied = applied.with_context(|| format!("it has not applied {missing} yet"))?;
    store.install(staged).await?;
    Ok(applied)
}
