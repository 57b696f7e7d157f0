//! What the queues of a namespace may ask for together; served on the admin listener only.

use roadstead_proto::v1::admin_service_client::AdminServiceClient;
use roadstead_proto::v1::{
    ListNamespaceQuotasRequest, NamespaceQuota, Quota, SetNamespaceQuotaRequest,
};

use crate::channels::MAX_FRAME_BYTES;
use crate::client::Client;
use crate::error::CallError;
use crate::queues::unary;

impl Client {
    /// Sets the quota of a namespace, or takes it away; `*` is each one that has none of its own.
    ///
    /// What is there beyond it stays, and cannot grow.
    pub async fn set_namespace_quota(
        &self,
        namespace: &str,
        quota: Option<Quota>,
    ) -> Result<(), CallError> {
        let request = SetNamespaceQuotaRequest {
            namespace: namespace.to_owned(),
            quota,
            fence: 0,
        };
        unary!(self, AdminServiceClient, set_namespace_quota, request).await?;
        Ok(())
    }

    /// The quotas, and the namespaces that that of `*` holds for, with what is taken.
    pub async fn namespace_quotas(&self) -> Result<Vec<NamespaceQuota>, CallError> {
        let request = ListNamespaceQuotasRequest {};
        let answer = unary!(self, AdminServiceClient, list_namespace_quotas, request).await?;
        Ok(answer.quotas)
    }
}
