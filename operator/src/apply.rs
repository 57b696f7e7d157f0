//! Server-side apply that writes nothing when nothing changed.
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{Doing, ReconcileError};

/// What was applied last, by kind, namespace and name.
#[derive(Debug, Default)]
pub struct Applier {
    applied: Mutex<BTreeMap<String, Applied>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Applied {
    wanted: Value,
    /// What the API server made of it: its generation, or its version where it has none.
    mark: String,
    at: Instant,
}

impl Applier {
    /// Applies `wanted` under the name of `manager`, unless it was applied and is unchanged.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn apply<K>(
        &self,
        api: &Api<K>,
        manager: &str,
        wanted: &K,
    ) -> Result<(), ReconcileError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let (name, key, body) = prepare(wanted);
        if self
            .known(&key)
            .is_some_and(|applied| applied.wanted == body)
        {
            let live = api
                .get_metadata_opt(&name)
                .await
                .doing(|| format!("read {key}"))?;
            let mark = live.map(|live| mark(&live));
            if self
                .known(&key)
                .is_some_and(|applied| Some(applied.mark) == mark)
            {
                return Ok(());
            }
        }
        self.write(api, manager, (name, key, body)).await
    }

    /// Like [`Applier::apply`], of what may be written and not read: it is written again once it is
    /// `stale`.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn apply_blind<K>(
        &self,
        api: &Api<K>,
        manager: &str,
        (wanted, stale): (&K, Duration),
    ) -> Result<(), ReconcileError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let (name, key, body) = prepare(wanted);
        let fresh = |applied: &Applied| applied.wanted == body && applied.at.elapsed() < stale;
        if self.known(&key).is_some_and(|applied| fresh(&applied)) {
            return Ok(());
        }
        self.write(api, manager, (name, key, body)).await
    }

    /// Forgets what was applied, so that it is written anew.
    pub fn forget<K: Resource<DynamicType = ()>>(&self, namespace: &str, name: &str) {
        let key = format!("{} {namespace}/{name}", K::kind(&()));
        self.applied
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&key);
    }

    fn known(&self, key: &str) -> Option<Applied> {
        self.applied
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    async fn write<K>(
        &self,
        api: &Api<K>,
        manager: &str,
        (name, key, wanted): (String, String, Value),
    ) -> Result<(), ReconcileError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let params = PatchParams::apply(manager).force();
        let live = api
            .patch(&name, &params, &Patch::Apply(&wanted))
            .await
            .doing(|| format!("apply {key}"))?;
        let applied = Applied {
            wanted,
            mark: mark(&live),
            at: Instant::now(),
        };
        self.applied
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, applied);
        Ok(())
    }
}

fn prepare<K>(wanted: &K) -> (String, String, Value)
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let name = wanted.name_any();
    let namespace = wanted.namespace().unwrap_or_default();
    let key = format!("{} {namespace}/{name}", K::kind(&()));
    let mut body = json!(wanted);
    body["apiVersion"] = json!(K::api_version(&()));
    body["kind"] = json!(K::kind(&()));
    if let Some(body) = body.as_object_mut() {
        body.remove("status");
    }
    (name, key, body)
}

fn mark<K: Resource>(live: &K) -> String {
    let meta = live.meta();
    let uid = meta.uid.clone().unwrap_or_default();
    let change = match meta.generation {
        Some(generation) => generation.to_string(),
        None => format!("v{}", meta.resource_version.as_deref().unwrap_or_default()),
    };
    format!("{uid} {change}")
}

/// Writes the status of an object, unless it has it already. It fails with a conflict when the
/// object changed since it was read.
///
/// # Errors
/// What the API server answers.
pub async fn write_status<K, S>(
    api: &Api<K>,
    manager: &str,
    object: &K,
    (before, status): (Option<&S>, &S),
) -> Result<bool, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    S: Serialize + PartialEq,
{
    if before == Some(status) {
        return Ok(false);
    }
    let name = object.name_any();
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name, "resourceVersion": object.resource_version()},
        "status": status,
    });
    let params = PatchParams::apply(manager).force();
    api.patch_status(&name, &params, &Patch::Apply(&body))
        .await?;
    Ok(true)
}
