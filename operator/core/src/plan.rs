//! The next step of a cluster, and how people see it.
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use roadstead_crds::{FounderStatus, PlanEntry};

use crate::controls::Controls;
use crate::members;
use crate::names::Names;
use crate::observed::{Observed, PodView};
use crate::rollout;

/// What shall be, as far as members and pods are concerned.
#[derive(Debug, Clone)]
pub struct Goal {
    /// Names of the cluster's objects.
    pub names: Names,
    /// Its id.
    pub cluster_id: String,
    /// Nodes it shall have.
    pub replicas: i32,
    /// Who founded it, as far as it is written down.
    pub founders: Vec<FounderStatus>,
    /// It has been founded.
    pub founded: bool,
    /// The revision of the settings that pods shall be made from.
    pub revision: String,
    /// Pods of an older revision may be restarted.
    pub approved: bool,
    /// What a control run does without.
    pub controls: Controls,
}

impl Goal {
    /// Whether a pod has to be restarted to become what pods shall be.
    pub fn is_outdated(&self, pod: &PodView) -> bool {
        pod.revision != self.revision || pod.former_account
    }
}

/// The one next step. Each is safe to repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// All is as it shall be.
    Done,
    /// Nothing can be done before something else happens.
    Wait,
    /// Write down who founds the cluster.
    RecordFounders(Vec<FounderStatus>),
    /// Give the order to found to the node in this pod.
    Bootstrap,
    /// Write down that the cluster is founded.
    RecordFounded,
    /// Let this node join.
    Join(u64),
    /// Move everything away from this member.
    Drain(u64),
    /// Take a drain back.
    CancelDrain(u64),
    /// Remove this member for good.
    Remove(u64),
    /// Move the node's leaderships away, where it has any, then delete its pod.
    Restart {
        /// The node, where it is a member.
        node: Option<u64>,
        /// The pod's uid.
        uid: String,
    },
}

/// A step and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// What to, mostly a pod.
    pub target: String,
    /// Why.
    pub reason: String,
    /// What it waits for; empty when it goes ahead.
    pub blocked_by: String,
}

impl Step {
    /// A step that goes ahead.
    pub fn new(action: Action, target: &str, reason: impl Into<String>) -> Self {
        Self {
            action,
            target: target.to_owned(),
            reason: reason.into(),
            blocked_by: String::new(),
        }
    }

    /// A step that waits.
    pub fn wait(target: &str, reason: impl Into<String>, blocked_by: impl Into<String>) -> Self {
        Self {
            action: Action::Wait,
            target: target.to_owned(),
            reason: reason.into(),
            blocked_by: blocked_by.into(),
        }
    }

    /// Nothing is left to do.
    pub fn done() -> Self {
        Self::new(
            Action::Done,
            "",
            "the cluster is as its specification wants it",
        )
    }

    /// How it is called in `status.plan`.
    pub fn name(&self) -> &'static str {
        match self.action {
            Action::Done => "Done",
            Action::Wait => "Wait",
            Action::RecordFounders(_) => "ChooseFounders",
            Action::Bootstrap => "Bootstrap",
            Action::RecordFounded => "FinishBootstrap",
            Action::Join(_) => "Join",
            Action::Drain(_) => "Drain",
            Action::CancelDrain(_) => "CancelDrain",
            Action::Remove(_) => "Remove",
            Action::Restart { .. } => "Restart",
        }
    }

    /// Its line in `status.plan`; `before` is the line that stood first so far.
    pub fn entry(&self, before: Option<&PlanEntry>, now: Timestamp) -> Option<PlanEntry> {
        if self.action == Action::Done {
            return None;
        }
        let since = before
            .filter(|entry| entry.step == self.name() && entry.target == self.target)
            .and_then(|entry| entry.since.clone())
            .unwrap_or(Time(now));
        Some(PlanEntry {
            step: self.name().to_owned(),
            target: self.target.clone(),
            reason: cut(&self.reason),
            blocked_by: cut(&self.blocked_by),
            since: Some(since),
        })
    }
}

/// What a line of the plan can hold.
fn cut(text: &str) -> String {
    text.chars().take(500).collect()
}

/// The next step: members first, then restarts.
pub fn plan(goal: &Goal, observed: &Observed) -> Step {
    let step = members::next(goal, observed);
    if step.action == Action::Done || step.action == Action::Wait {
        let restart = rollout::next(goal, observed, &step);
        if restart.action != Action::Done {
            return restart;
        }
    }
    step
}

#[cfg(test)]
pub(crate) mod fixtures {
    //! A goal to bend in tests.
    use super::Goal;
    use crate::controls::Controls;
    use crate::names::Names;
    use crate::observed::fixtures::ID;

    /// A founded cluster `queues/main` whose pods shall have the revision `new`.
    pub fn goal(replicas: i32) -> Goal {
        Goal {
            names: Names::new("queues", "main"),
            cluster_id: ID.into(),
            replicas,
            founders: Vec::new(),
            founded: true,
            revision: "new".into(),
            approved: true,
            controls: Controls::default(),
        }
    }
}

#[cfg(test)]
mod world;
