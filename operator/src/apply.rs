//! Server-side apply that writes nothing when nothing changed.
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::api::{DeleteParams, PartialObjectMeta, Patch, PatchParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use roadstead_operator_core::claim::{Claim, claim};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{Doing, ReconcileError, is_conflict, is_missing};

/// What was applied last, by manager, kind, namespace and name.
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

/// An object on its way to the API server.
struct Request {
    /// Kind, namespace and name.
    object: String,
    name: String,
    manager: String,
    wanted: Value,
}

impl Request {
    fn new<K>(manager: &str, wanted: &K) -> Self
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let mut body = json!(wanted);
        body["apiVersion"] = json!(K::api_version(&()));
        body["kind"] = json!(K::kind(&()));
        if let Some(body) = body.as_object_mut() {
            body.remove("status");
        }
        Self {
            object: describe(wanted),
            name: wanted.name_any(),
            manager: manager.to_owned(),
            wanted: body,
        }
    }

    /// What is there under its name.
    async fn look<K>(&self, api: &Api<K>) -> Result<Option<PartialObjectMeta<K>>, ReconcileError>
    where
        K: Resource + Clone + Debug + DeserializeOwned,
    {
        let live = api.get_metadata_opt(&self.name).await;
        live.doing(|| format!("read {}", self.object))
    }

    /// Several managers may have their parts of one object.
    fn key(&self) -> String {
        format!("{} {}", self.manager, self.object)
    }
}

fn describe<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let (kind, name) = (K::kind(&()), object.name_any());
    match object.namespace() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

impl Applier {
    /// Applies `wanted` under the name of `manager`, unless it was applied and is unchanged. What
    /// is there and does not belong to the cluster (see [`claim`]) is left as it is.
    ///
    /// # Errors
    /// When the name is taken, or the API server refuses.
    pub async fn apply<K>(
        &self,
        api: &Api<K>,
        manager: &str,
        wanted: &K,
    ) -> Result<(), ReconcileError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let request = Request::new(manager, wanted);
        let Some(live) = request.look(api).await? else {
            return self.write(api, request, false).await;
        };
        let object = request.object.clone();
        match claim(wanted.meta(), &live.metadata) {
            Claim::Ours => {}
            Claim::Leaving => return Err(ReconcileError::Leaving { object }),
            Claim::Foreign => return Err(ReconcileError::NameConflict { object }),
        }
        let mark = mark(&live);
        let unchanged =
            |applied: &Applied| applied.wanted == request.wanted && applied.mark == mark;
        if self.known(&request.key()).is_some_and(|a| unchanged(&a)) {
            return Ok(());
        }
        self.write(api, request, true).await
    }

    /// Like [`Applier::apply`], of what may be written and not read: it is written again once it is
    /// `stale`. Its type, which cannot change, keeps it off what others made.
    ///
    /// # Errors
    /// When the name is taken, or the API server refuses.
    pub async fn apply_blind<K>(
        &self,
        api: &Api<K>,
        manager: &str,
        (wanted, stale): (&K, Duration),
    ) -> Result<(), ReconcileError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let request = Request::new(manager, wanted);
        let fresh =
            |applied: &Applied| applied.wanted == request.wanted && applied.at.elapsed() < stale;
        if self.known(&request.key()).is_some_and(|a| fresh(&a)) {
            return Ok(());
        }
        let object = request.object.clone();
        match self.write(api, request, true).await {
            Err(error) if error.is_about("type") => Err(ReconcileError::NameConflict { object }),
            done => done,
        }
    }

    /// Deletes what is called as `wanted`, where it is ours; else it stays.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn remove<K>(
        &self,
        api: &Api<K>,
        manager: &str,
        wanted: &K,
    ) -> Result<(), ReconcileError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let request = Request::new(manager, wanted);
        let ours = request
            .look(api)
            .await?
            .filter(|live| claim(wanted.meta(), &live.metadata) == Claim::Ours);
        let Some(live) = ours else { return Ok(()) };
        // What takes its place meanwhile is not it.
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: live.metadata.uid,
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        self.applied
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&request.key());
        match api.delete(&request.name, &params).await {
            Err(error) if !is_missing(&error) && !is_conflict(&error) => {
                Err(error).doing(|| format!("delete {}", request.object))
            }
            _ => Ok(()),
        }
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
        request: Request,
        force: bool,
    ) -> Result<(), ReconcileError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let mut params = PatchParams::apply(&request.manager);
        params.force = force;
        let patch = Patch::Apply(&request.wanted);
        let live = api.patch(&request.name, &params, &patch).await;
        let live = live.doing(|| format!("apply {}", request.object))?;
        let key = request.key();
        let applied = Applied {
            wanted: request.wanted,
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
