//! Which zones pods run in.
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Node as Machine, Pod};
use kube::{Api, Client, ResourceExt};
use roadstead_operator_core::zone::{Place, ZONE, place};
use tracing::debug;

/// Namespace and name of a pod.
type Name = (String, String);

/// Zones of pods, as far as they had to be asked for.
pub struct Zones {
    machines: Api<Machine>,
    /// A pod stays where it is, and the next of its name may come elsewhere: by its uid.
    known: Mutex<BTreeMap<Name, (String, String)>>,
}

impl Zones {
    /// Knows none yet.
    pub fn new(client: &Client) -> Self {
        Self {
            machines: Api::all(client.clone()),
            known: Mutex::default(),
        }
    }

    /// The zone that a pod runs in; empty where that is not known. Its machine is asked once,
    /// where the pod does not say it.
    pub async fn of(&self, pod: &Pod) -> String {
        let machine = match place(pod) {
            Place::Zone(zone) => return zone,
            Place::Machine(machine) => machine,
            Place::Unknown => return String::new(),
        };
        let name = (pod.namespace().unwrap_or_default(), pod.name_any());
        let uid = pod.uid().unwrap_or_default();
        if let Some(zone) = self.known(&name, &uid) {
            return zone;
        }
        match self.machines.get_metadata_opt(&machine).await {
            Ok(found) => {
                let zone = found.and_then(|found| found.labels().get(ZONE).cloned());
                let zone = zone.unwrap_or_default();
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(name, (uid, zone.clone()));
                zone
            }
            Err(error) => {
                debug!(machine, %error, "cannot read its zone");
                String::new()
            }
        }
    }

    fn known(&self, name: &Name, uid: &str) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, zone) = known.get(name)?;
        (of == uid).then(|| zone.clone())
    }
}
