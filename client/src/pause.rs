//! Consumer groups that are to get nothing for a while.

use roadstead_proto::v1::queue_service_client::QueueServiceClient;
use roadstead_proto::v1::{ConsumerGroup, GroupDelivery, QueueSpec, UpdateQueueRequest};
use tonic::Code;

use crate::channels::MAX_FRAME_BYTES;
use crate::client::Client;
use crate::error::{CallError, Fault};
use crate::queues::unary;

/// The group that every queue has.
const DEFAULT: &str = "default";
/// Tries, where others change the queue at the same time.
const TRIES: usize = 5;

impl Client {
    /// Lets a consumer group get no deliveries, or lets it get them again; what it has leased can
    /// be settled all the while. Whether that is new.
    ///
    /// It changes the queue's specification. A queue that is kept by the operator has it from its
    /// object: say it there.
    pub async fn set_paused(
        &self,
        name: &str,
        group: &str,
        paused: bool,
    ) -> Result<bool, CallError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let queue = self.queue(name).await?;
            let mut spec = queue.spec.unwrap_or_default();
            match set(&mut spec, group, paused) {
                None => return Err(no_group(name, group, &spec)),
                // Where it was refused for another change, that may have been its own first try.
                Some(false) => return Ok(tries > 1),
                Some(true) => {}
            }
            let request = UpdateQueueRequest {
                queue: Some(self.queue_ref(name)),
                spec: Some(spec),
                expected_generation: queue.generation,
            };
            match unary!(self, QueueServiceClient, update_queue, request).await {
                Ok(_) => return Ok(true),
                Err(CallError::Refused(fault)) if fault.code == Code::Aborted && tries < TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Changes what is said of a group. Whether that is new; None: there is no such group.
fn set(spec: &mut QueueSpec, group: &str, paused: bool) -> Option<bool> {
    let name = if group.is_empty() { DEFAULT } else { group };
    let delivery = if paused {
        GroupDelivery::Paused
    } else {
        GroupDelivery::Active
    };
    if let Some(known) = spec.groups.iter_mut().find(|known| known.name == name) {
        let was_paused = known.delivery() == GroupDelivery::Paused;
        known.set_delivery(delivery);
        return Some(was_paused != paused);
    }
    if name != DEFAULT {
        return None;
    }
    spec.groups.push(ConsumerGroup {
        name: DEFAULT.to_owned(),
        delivery: delivery.into(),
        ..ConsumerGroup::default()
    });
    Some(paused)
}

fn no_group(queue: &str, group: &str, spec: &QueueSpec) -> CallError {
    let others = spec.groups.iter().map(|known| known.name.as_str());
    let known: Vec<_> = others.filter(|name| *name != DEFAULT).collect();
    let message = format!(
        "queue {queue} has no consumer group {group}, but {DEFAULT}{}{}",
        if known.is_empty() { "" } else { ", " },
        known.join(", ")
    );
    let mut fault = Fault::invalid("group", message);
    fault.code = Code::NotFound;
    CallError::Refused(Box::new(fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_paused_and_goes_on_and_no_other_changes() {
        let mut spec = QueueSpec {
            groups: vec![ConsumerGroup {
                name: "billing".to_owned(),
                max_in_flight: 7,
                ..ConsumerGroup::default()
            }],
            ..QueueSpec::default()
        };
        assert_eq!(set(&mut spec, "audit", true), None);
        assert_eq!(set(&mut spec, "", false), Some(false), "it is not paused");
        let before = spec.clone();
        assert_eq!(set(&mut spec, "billing", true), Some(true));
        assert_eq!(set(&mut spec, "billing", true), Some(false));
        assert_eq!(spec.groups[0].delivery(), GroupDelivery::Paused);
        assert_eq!(spec.groups[0].max_in_flight, 7);
        assert_eq!(set(&mut spec, "billing", false), Some(true));
        assert_eq!(spec.groups[0].delivery(), GroupDelivery::Active);
        assert_eq!(spec.groups[1..], before.groups[1..]);
        assert_eq!(set(&mut spec, "default", true), Some(true));
        assert_eq!(set(&mut spec, "", true), Some(false));
        let error = no_group("q", "audit", &spec).to_string();
        assert!(error.contains("default, billing"), "{error}");
    }
}
