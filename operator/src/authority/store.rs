//! Where authorities are kept: one Secret per cluster, in the operator's namespace. It holds what
//! was issued too, so that no Secret of another namespace ever has to be read.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{
    DeleteParams, ListParams, ObjectMeta, PartialObjectMeta, Patch, PatchParams, PostParams,
    Preconditions,
};
use kube::{Api, Client, ResourceExt};
use roadstead_operator_core::desired::Certificate;
use roadstead_operator_core::names::{CLUSTER, CLUSTER_ID, CLUSTER_NAMESPACE, Names};

use super::issue::{LEAF_DAYS, issue, new_authority};
use super::{Authority, AuthorityError, Issued};
use crate::error::{is_conflict, is_missing};

const ISSUED_AT: &str = "roadstead.dev/issued-at";
const MANAGER: &str = "roadstead-authority";
const LEAVES: [&str; 4] = ["node", "client", "operator", "admin"];

/// Cluster id, time of issue, and what was issued.
type Known = (String, Timestamp, Arc<Issued>);

/// An authority as it is listed: without its keys.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Whose it is.
    pub names: Names,
    /// The id of that cluster.
    pub cluster_id: String,
    /// The Secret's uid.
    pub uid: Option<String>,
}

/// The authorities of all clusters.
pub struct Authorities {
    api: Api<Secret>,
    namespace: String,
    known: Mutex<BTreeMap<String, Known>>,
}

impl Authorities {
    /// Those kept in the operator's namespace.
    pub fn new(client: &Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            namespace: namespace.to_owned(),
            known: Mutex::default(),
        }
    }

    /// The certificates of a cluster: made when there are none and it `may_make` them, issued anew
    /// when they grow old.
    ///
    /// # Errors
    /// When the Secret cannot be read or written, belongs to another cluster id, or is missing and
    /// may not be made.
    pub async fn ensure(
        &self,
        names: &Names,
        cluster_id: &str,
        may_make: bool,
        now: Timestamp,
    ) -> Result<Arc<Issued>, AuthorityError> {
        let name = names.authority();
        if let Some((id, at, issued)) = self.known(&name)
            && id == cluster_id
            && !due(at, now)
        {
            return Ok(issued);
        }
        let secret = match self.api.get(&name).await {
            Ok(secret) => secret,
            Err(error) if is_missing(&error) && may_make => {
                self.create(names, cluster_id, now).await?
            }
            Err(error) if is_missing(&error) => {
                let secret = format!("{}/{name}", self.namespace);
                return Err(AuthorityError::Missing { secret });
            }
            Err(source) => return Err(self.failed("read", &name, source)),
        };
        let (authority, kept) = self.read(&secret, cluster_id)?;
        let (issued, at) = match kept {
            Some((issued, at)) if !due(at, now) => (issued, at),
            _ => (self.renew(names, cluster_id, &authority, now).await?, now),
        };
        let issued = Arc::new(issued);
        let entry = (cluster_id.to_owned(), at, issued.clone());
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, entry);
        Ok(issued)
    }

    /// The cluster id that a kept authority belongs to.
    ///
    /// # Errors
    /// When the Secret cannot be read.
    pub async fn kept_id(&self, names: &Names) -> Result<Option<String>, AuthorityError> {
        let name = names.authority();
        let secret = self.api.get_opt(&name).await;
        let secret = secret.map_err(|source| self.failed("read", &name, source))?;
        Ok(secret.and_then(|secret| secret.labels().get(CLUSTER_ID).cloned()))
    }

    /// All that are kept.
    ///
    /// # Errors
    /// When the Secrets cannot be listed.
    pub async fn list(&self) -> Result<Vec<Kept>, AuthorityError> {
        let ours = ListParams::default().labels(&format!("{CLUSTER_NAMESPACE},{CLUSTER_ID}"));
        let found = self.api.list_metadata(&ours).await;
        let found = found.map_err(|source| self.failed("list", "authority.*", source))?;
        let kept = |secret: PartialObjectMeta<Secret>| {
            let label = |name| secret.labels().get(name).cloned().unwrap_or_default();
            let names = Names::new(&label(CLUSTER_NAMESPACE), &label(CLUSTER));
            (secret.name_any() == names.authority()).then(|| Kept {
                names,
                cluster_id: label(CLUSTER_ID),
                uid: secret.uid(),
            })
        };
        Ok(found.items.into_iter().filter_map(kept).collect())
    }

    /// Deletes a cluster's authority, when its data is deleted too; only that with this uid, where
    /// it is given.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self, names: &Names, uid: Option<String>) -> Result<(), AuthorityError> {
        let name = names.authority();
        let params = DeleteParams {
            preconditions: uid.map(|uid| Preconditions {
                uid: Some(uid),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&name);
        match self.api.delete(&name, &params).await {
            Ok(_) => Ok(()),
            Err(error) if is_missing(&error) || is_conflict(&error) => Ok(()),
            Err(source) => Err(self.failed("delete", &name, source)),
        }
    }

    fn known(&self, name: &str) -> Option<Known> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    async fn create(
        &self,
        names: &Names,
        cluster_id: &str,
        now: Timestamp,
    ) -> Result<Secret, AuthorityError> {
        let make = |source| AuthorityError::Make {
            cluster: names.authority(),
            source,
        };
        let authority = new_authority(cluster_id).map_err(make)?;
        let issued = issue(&authority, names, cluster_id).map_err(make)?;
        let secret = secret(names, cluster_id, &authority, (&issued, now));
        match self.api.create(&PostParams::default(), &secret).await {
            Ok(secret) => Ok(secret),
            Err(error) if is_conflict(&error) => {
                let name = names.authority();
                self.api
                    .get(&name)
                    .await
                    .map_err(|source| self.failed("read", &name, source))
            }
            Err(source) => Err(self.failed("create", &names.authority(), source)),
        }
    }

    async fn renew(
        &self,
        names: &Names,
        cluster_id: &str,
        authority: &Authority,
        now: Timestamp,
    ) -> Result<Issued, AuthorityError> {
        let make = |source| AuthorityError::Make {
            cluster: names.authority(),
            source,
        };
        let issued = issue(authority, names, cluster_id).map_err(make)?;
        let secret = secret(names, cluster_id, authority, (&issued, now));
        let params = PatchParams::apply(MANAGER).force();
        let name = names.authority();
        let patched = self.api.patch(&name, &params, &Patch::Apply(&secret)).await;
        patched.map_err(|source| self.failed("renew", &name, source))?;
        Ok(issued)
    }

    /// The authority and, unless a part of it is missing, what it issued and when: an operator of
    /// an older version did not issue as much.
    fn read(
        &self,
        secret: &Secret,
        cluster_id: &str,
    ) -> Result<(Authority, Option<(Issued, Timestamp)>), AuthorityError> {
        let name = format!("{}/{}", self.namespace, secret.name_any());
        let found = secret.labels().get(CLUSTER_ID).cloned().unwrap_or_default();
        if found != cluster_id {
            let wanted = cluster_id.to_owned();
            return Err(AuthorityError::Foreign {
                secret: name,
                found,
                wanted,
            });
        }
        let needed = |key: &'static str| {
            text(secret, key).ok_or(AuthorityError::Incomplete {
                secret: name.clone(),
                key,
            })
        };
        let authority = Authority {
            certificate: needed("ca.crt")?,
            key: needed("ca.key")?,
        };
        let kept = kept(secret, &authority.certificate);
        Ok((authority, kept))
    }

    fn failed(&self, doing: &'static str, name: &str, source: kube::Error) -> AuthorityError {
        let secret = format!("{}/{name}", self.namespace);
        AuthorityError::Secret {
            doing,
            secret,
            source: Box::new(source),
        }
    }
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.0.clone()).ok()
}

/// What was issued, and when.
fn kept(secret: &Secret, ca: &str) -> Option<(Issued, Timestamp)> {
    let leaf = |name: &str| {
        Some(Certificate {
            ca: ca.to_owned(),
            certificate: text(secret, &format!("{name}.crt"))?,
            key: text(secret, &format!("{name}.key"))?,
        })
    };
    let [node, client, operator, admin] = LEAVES.map(leaf);
    let issued = Issued {
        node: node?,
        client: client?,
        operator: operator?,
        admin: admin?,
    };
    let at = secret.annotations().get(ISSUED_AT)?.parse().ok()?;
    Some((issued, at))
}

/// Two thirds of the certificates' time are over.
fn due(issued_at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(issued_at) > SignedDuration::from_hours(i64::from(LEAF_DAYS) * 24 * 2 / 3)
}

fn secret(
    names: &Names,
    cluster_id: &str,
    authority: &Authority,
    (issued, at): (&Issued, Timestamp),
) -> Secret {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let mut data = BTreeMap::from([
        ("ca.crt".to_owned(), bytes(&authority.certificate)),
        ("ca.key".to_owned(), bytes(&authority.key)),
    ]);
    let leaves = [
        &issued.node,
        &issued.client,
        &issued.operator,
        &issued.admin,
    ];
    for (name, leaf) in LEAVES.iter().zip(leaves) {
        data.insert(format!("{name}.crt"), bytes(&leaf.certificate));
        data.insert(format!("{name}.key"), bytes(&leaf.key));
    }
    let labels = [
        ("app.kubernetes.io/managed-by", "roadstead-operator"),
        (CLUSTER, &names.cluster),
        (CLUSTER_NAMESPACE, &names.namespace),
        (CLUSTER_ID, cluster_id),
    ];
    Secret {
        metadata: ObjectMeta {
            name: Some(names.authority()),
            labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            annotations: Some([(ISSUED_AT.to_owned(), at.to_string())].into()),
            ..ObjectMeta::default()
        },
        type_: Some("roadstead.dev/authority".to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}
