//! Says what the queues of a namespace may ask for.

use crate::catalog::machine::{CatalogMachine, Step};
use crate::catalog::quota::{MAX_QUOTAS, Quota, check_name};
use crate::catalog::reply::{Refusal, Reply};
use crate::catalog::row::MAX_TEXT;
use crate::catalog::spec::Violation;
use crate::codec::{Decoded, Put, Reader};

/// Sets the quota of a namespace, or takes it away. What is there beyond it stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetQuota {
    /// The namespace; `*`: all that have none of their own.
    pub namespace: String,
    /// None: it has none.
    pub quota: Option<Quota>,
    /// Refused when lower than the newest fence heard of; 0: no fence.
    pub fence: u64,
}

impl SetQuota {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_prefixed(self.namespace.as_bytes());
        out.push(u8::from(self.quota.is_some()));
        if let Some(quota) = &self.quota {
            quota.encode(out);
        }
        out.put_varint(self.fence);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            namespace: r.text(MAX_TEXT, "namespace")?,
            quota: match r.u8("whether there is a quota")? {
                0 => None,
                1 => Some(Quota::decode(r)?),
                _ => return r.fail("whether there is a quota"),
            },
            fence: r.varint("fence")?,
        })
    }

    pub(in crate::catalog) fn apply(
        self,
        m: &mut CatalogMachine,
        step: &mut Step<'_>,
    ) -> Result<Reply, Refusal> {
        let valid = match &self.quota {
            Some(quota) => quota.check(&self.namespace),
            None => check_name(&self.namespace),
        };
        valid.map_err(Refusal::Invalid)?;
        m.check_fence(step, self.fence)?;
        let before = m.quotas.get(&self.namespace);
        if before == self.quota.as_ref() {
            return Ok(Reply::Done);
        }
        if before.is_none() && m.quotas.len() >= MAX_QUOTAS {
            let message = format!("there are quotas of {MAX_QUOTAS} namespaces: remove one first");
            return Err(Refusal::Invalid(vec![Violation {
                field: "namespace",
                message,
            }]));
        }
        m.put_quota(step, self.namespace, self.quota);
        Ok(Reply::Done)
    }
}
