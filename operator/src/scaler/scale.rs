//! Reading and writing `/scale` of anything that has it.
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt, discovery};
use roadstead_crds::ConsumerScaler;
use serde_json::json;

use crate::error::{Doing, ReconcileError, is_missing};

/// Field manager of `spec.replicas` of what is scaled; it owns nothing else.
pub const MANAGER: &str = "roadstead-scaler";

/// What can be scaled, by its kind.
pub struct Targets {
    client: Client,
    kinds: Mutex<BTreeMap<(String, String), ApiResource>>,
}

impl Targets {
    /// Nothing is known yet.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            kinds: Mutex::default(),
        }
    }

    /// Replicas that the target asks for; `None` where there is no such target.
    pub async fn current(&self, scaler: &ConsumerScaler) -> Result<Option<u32>, ReconcileError> {
        let Some(api) = self.api(scaler).await? else {
            return Ok(None);
        };
        match api.get_scale(&scaler.spec.scale_target_ref.name).await {
            Ok(scale) => {
                let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
                Ok(Some(u32::try_from(replicas).unwrap_or(0)))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error).doing(|| "read /scale of the target".to_owned()),
        }
    }

    /// Asks for so many replicas.
    pub async fn scale(
        &self,
        scaler: &ConsumerScaler,
        replicas: u32,
    ) -> Result<(), ReconcileError> {
        let Some(api) = self.api(scaler).await? else {
            return Ok(());
        };
        let name = scaler.spec.scale_target_ref.name.as_str();
        let body = json!({
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {"name": name, "namespace": scaler.namespace()},
            "spec": {"replicas": replicas},
        });
        let params = PatchParams::apply(MANAGER).force();
        let patched = api.patch_scale(name, &params, &Patch::Apply(&body)).await;
        patched
            .map(drop)
            .doing(|| format!("scale {name} to {replicas}"))
    }

    async fn api(
        &self,
        scaler: &ConsumerScaler,
    ) -> Result<Option<Api<DynamicObject>>, ReconcileError> {
        let target = &scaler.spec.scale_target_ref;
        let key = (target.api_version.clone(), target.kind.clone());
        let known = self
            .kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        let resource = match known {
            Some(resource) => resource,
            None => match self.discover(&target.api_version, &target.kind).await? {
                Some(resource) => resource,
                None => return Ok(None),
            },
        };
        self.kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, resource.clone());
        let namespace = scaler.namespace().unwrap_or_default();
        Ok(Some(Api::namespaced_with(
            self.client.clone(),
            &namespace,
            &resource,
        )))
    }

    async fn discover(
        &self,
        api_version: &str,
        kind: &str,
    ) -> Result<Option<ApiResource>, ReconcileError> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let gvk = GroupVersionKind::gvk(group, version, kind);
        match discovery::pinned_kind(&self.client, &gvk).await {
            Ok((resource, _)) => Ok(Some(resource)),
            Err(kube::Error::Discovery(_)) => Ok(None),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error).doing(|| format!("look for the kind {api_version} {kind}")),
        }
    }
}
