//! A node whose data is damaged gives it up and comes back as another one, where the cluster can
//! do without what it held.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use openraft_rt_tokio::TokioRuntime;
use roadstead_proto::v1::{Founder, ReplaceMemberRequest};
use tokio::time::timeout;
use tonic::{Code, Status};

use super::members::Members;
use crate::node::Node;
use crate::raft::types::NodeId;

/// How long a node asks whether it may give its data up. Leaders that it was are elected anew
/// meanwhile, and members that were silent may come back.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause before the members are asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(12);
/// How often it is looked whether the former node is out of the cluster.
const LOOK: Duration = Duration::from_secs(2);

/// Asks the cluster to go on without the data of `former`, for good.
///
/// # Errors
/// When the cluster cannot do without it, or nobody answers.
pub async fn give_up(members: &Members, cluster: &str, former: NodeId) -> anyhow::Result<()> {
    if members.addresses().is_empty() {
        bail!("no other member is known");
    }
    let request = ReplaceMemberRequest {
        cluster_id: cluster.to_owned(),
        former,
        successor: None,
    };
    let began = Instant::now();
    let mut why = String::new();
    for address in members.addresses().iter().cycle() {
        match ask(members, address, &request).await {
            Ok(()) => return Ok(()),
            // Whoever is no member any more has nothing that is needed.
            Err(refused) if is(&refused, Code::NotFound) => return Ok(()),
            // What the catalog's leader says counts more than that a member is away.
            Err(refused) if is(&refused, Code::FailedPrecondition) || why.is_empty() => {
                why = told(&refused);
            }
            Err(_) => {}
        }
        if began.elapsed() >= PATIENCE {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!(why)
}

/// Joins in the place of `former`, and takes that out once nothing is placed on it any more. On
/// Kubernetes the operator does the same; whoever comes second finds it done.
pub async fn take_place(node: Arc<Node<TokioRuntime>>, members: Members, former: NodeId) {
    let request = ReplaceMemberRequest {
        cluster_id: node.cluster_id(),
        former,
        successor: Some(Founder::from(&*node)),
    };
    for address in members.addresses().iter().cycle() {
        match ask(&members, address, &request).await {
            Ok(()) => {
                tracing::info!(former = %format_args!("{former:016x}"), "the former node is out");
                return node.note_replaced();
            }
            Err(error) => tracing::debug!(why = told(&error), "the former node is still in"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn ask(
    members: &Members,
    address: &str,
    request: &ReplaceMemberRequest,
) -> anyhow::Result<()> {
    let mut peer = members.peer(address).await.context(address.to_owned())?;
    let answered = timeout(ANSWER, peer.replace_member(request.clone())).await;
    answered.with_context(|| format!("{address}: no answer in {ANSWER:?}"))??;
    Ok(())
}

fn is(error: &anyhow::Error, code: Code) -> bool {
    let status = error.downcast_ref::<Status>();
    status.is_some_and(|status| status.code() == code)
}

fn told(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => format!("{error:#}"),
    }
}
