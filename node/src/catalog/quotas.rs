//! What the queues of a namespace may ask for together is said and shown.

use roadstead_core::catalog::{Bound, CatalogMachine, Op, Quota, QuotaReport, SetQuota, Usage};
use roadstead_proto::v1::{
    ListNamespaceQuotasResponse, NamespaceQuota, Quota as QuotaMessage, QuotaUsage,
    SetNamespaceQuotaRequest,
};

use super::service::CatalogService;
use crate::auth::{Action, Principal, authorize};
use crate::gateway::ApiError;
use crate::runtime::Runtime;

impl<R: Runtime> CatalogService<R> {
    pub(super) async fn set_quota(
        &self,
        principal: &Principal,
        request: SetNamespaceQuotaRequest,
    ) -> Result<(), ApiError> {
        authorize(principal, Action::SetNamespaceQuota, None)?;
        self.propose(Op::SetQuota(SetQuota {
            namespace: request.namespace,
            quota: request.quota.as_ref().map(quota_from_wire),
            fence: request.fence,
        }))
        .await?;
        Ok(())
    }

    /// As they are when the call comes in: who has just set one sees it.
    pub(super) async fn list_quotas(
        &self,
        principal: &Principal,
    ) -> Result<ListNamespaceQuotasResponse, ApiError> {
        authorize(principal, Action::ListNamespaceQuotas, None)?;
        self.view.own_read_index().await?;
        let reports = self.view.read(CatalogMachine::quota_reports);
        Ok(ListNamespaceQuotasResponse {
            quotas: reports.into_iter().map(report_to_wire).collect(),
        })
    }
}

fn quota_from_wire(quota: &QuotaMessage) -> Quota {
    let QuotaMessage {
        queues,
        messages,
        bytes,
        partitions,
        rate_per_second,
    } = *quota;
    Quota {
        queues,
        messages,
        bytes,
        partitions,
        rate_per_second,
    }
}

fn quota_to_wire(quota: &Quota) -> QuotaMessage {
    let Quota {
        queues,
        messages,
        bytes,
        partitions,
        rate_per_second,
    } = *quota;
    QuotaMessage {
        queues,
        messages,
        bytes,
        partitions,
        rate_per_second,
    }
}

fn report_to_wire(report: QuotaReport) -> NamespaceQuota {
    let usage = |usage: Usage| {
        let taken = |bound| usage.taken(bound);
        let over = usage.over(&report.quota).into_iter();
        QuotaUsage {
            queues: taken(Bound::Queues).sum,
            messages: taken(Bound::Messages).sum,
            bytes: taken(Bound::Bytes).sum,
            partitions: taken(Bound::Partitions).sum,
            rate_per_second: taken(Bound::Rate).sum,
            unlimited_messages: taken(Bound::Messages).unlimited,
            unlimited_bytes: taken(Bound::Bytes).unlimited,
            unlimited_rates: taken(Bound::Rate).unlimited,
            over: over.map(|bound| bound.name().to_owned()).collect(),
        }
    };
    NamespaceQuota {
        quota: Some(quota_to_wire(&report.quota)),
        inherited: report.inherited,
        usage: report.usage.map(usage),
        namespace: report.namespace,
    }
}

#[cfg(test)]
mod tests {
    use roadstead_core::catalog::QueueSpec;

    use super::*;

    #[test]
    fn a_report_says_what_is_taken_and_what_is_exceeded() {
        let quota = Quota {
            queues: 2,
            messages: 300,
            bytes: 1 << 40,
            partitions: 6,
            rate_per_second: 10,
        };
        assert_eq!(quota_from_wire(&quota_to_wire(&quota)), quota);
        let specs = [3, 4].map(|partitions| QueueSpec {
            partitions,
            max_messages: 100,
            max_bytes: 1 << 30,
            rate_per_second: partitions - 3,
            ..QueueSpec::default()
        });
        let report = report_to_wire(QuotaReport {
            namespace: "shop".into(),
            quota,
            inherited: true,
            usage: Some(Usage::of(&specs)),
        });
        assert!(report.inherited && report.namespace == "shop");
        let usage = QuotaUsage {
            queues: 2,
            messages: 200,
            bytes: 2 << 30,
            partitions: 7,
            rate_per_second: 1,
            unlimited_rates: 1,
            over: vec!["partitions".into(), "rate_per_second".into()],
            ..QuotaUsage::default()
        };
        assert_eq!(report.usage, Some(usage));
    }
}
