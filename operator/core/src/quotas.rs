//! The quotas of namespaces: which of them the cluster has otherwise than its specification.
use std::collections::BTreeMap;

use roadstead_crds as crds;
use roadstead_proto::v1;

use crate::queue::positive;

/// The orders that make the quotas of a cluster, of which `seen` are there, those that are wanted.
/// First those that set one, so that no namespace is without meanwhile.
pub fn changes(
    wanted: &[crds::NamespaceQuota],
    seen: &[v1::NamespaceQuota],
    fence: u64,
) -> Vec<v1::SetNamespaceQuotaRequest> {
    let own = seen.iter().filter(|quota| !quota.inherited);
    let there: BTreeMap<&str, v1::Quota> = own
        .map(|own| (own.namespace.as_str(), own.quota.unwrap_or_default()))
        .collect();
    let wanted: BTreeMap<&str, v1::Quota> = wanted
        .iter()
        .map(|wanted| (wanted.namespace.as_str(), quota(wanted)))
        .collect();
    let order = |namespace: &str, quota| v1::SetNamespaceQuotaRequest {
        namespace: namespace.to_owned(),
        quota,
        fence,
    };
    let differ = wanted
        .iter()
        .filter(|(namespace, quota)| there.get(*namespace) != Some(quota))
        .map(|(namespace, quota)| order(namespace, Some(*quota)));
    let gone = there
        .keys()
        .filter(|namespace| !wanted.contains_key(*namespace))
        .map(|namespace| order(namespace, None));
    differ.chain(gone).collect()
}

fn quota(spec: &crds::NamespaceQuota) -> v1::Quota {
    let long = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    // The schema lets more through than a node can add up, and no disk holds that much.
    let bytes = |size: &crds::ByteSize| size.bytes().unwrap_or(u64::MAX).min(i64::MAX as u64);
    v1::Quota {
        queues: spec.max_queues.map_or(0, positive),
        messages: long(spec.max_messages),
        bytes: spec.max_bytes.as_ref().map_or(0, bytes),
        partitions: spec.max_partitions.map_or(0, positive),
        rate_per_second: long(spec.max_rate_per_second),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(namespace: &str, max_queues: i32) -> crds::NamespaceQuota {
        crds::NamespaceQuota {
            namespace: namespace.to_owned(),
            max_queues: Some(max_queues),
            ..crds::NamespaceQuota::default()
        }
    }

    fn seen(namespace: &str, queues: u32, inherited: bool) -> v1::NamespaceQuota {
        let quota = v1::Quota {
            queues,
            ..v1::Quota::default()
        };
        v1::NamespaceQuota {
            namespace: namespace.to_owned(),
            quota: Some(quota),
            inherited,
            usage: None,
        }
    }

    #[test]
    fn what_differs_is_set_and_what_is_gone_is_taken_away() {
        let is = [
            seen("*", 9, false),
            seen("bank", 9, true),
            seen("old", 1, false),
            seen("same", 2, false),
            seen("shop", 3, false),
        ];
        let wants = [
            wanted("shop", 4),
            wanted("same", 2),
            wanted("new", 1),
            wanted("bank", 9),
        ];
        let made: Vec<_> = changes(&wants, &is, 7)
            .into_iter()
            .map(|order| {
                assert_eq!(order.fence, 7);
                (order.namespace, order.quota.map(|quota| quota.queues))
            })
            .collect();
        let expected = [
            ("bank", Some(9)),
            ("new", Some(1)),
            ("shop", Some(4)),
            ("*", None),
            ("old", None),
        ];
        let expected = expected.map(|(namespace, queues)| (namespace.to_owned(), queues));
        assert_eq!(made, expected);
    }

    #[test]
    fn nothing_is_ordered_where_all_is_as_wanted() {
        let is = [seen("shop", 3, false), seen("bank", 3, true)];
        assert_eq!(changes(&[wanted("shop", 3)], &is, 0), []);
        assert_eq!(changes(&[], &[], 0), []);
    }

    #[test]
    fn every_limit_is_carried_over() {
        let mut spec = crds::NamespaceQuota {
            max_messages: Some(5),
            max_bytes: Some("10Gi".into()),
            max_partitions: Some(6),
            max_rate_per_second: Some(7),
            ..wanted("shop", 4)
        };
        let all = v1::Quota {
            queues: 4,
            messages: 5,
            bytes: 10 << 30,
            partitions: 6,
            rate_per_second: 7,
        };
        assert_eq!(quota(&spec), all);
        spec.max_bytes = Some("9999999Ti".into());
        assert_eq!(quota(&spec).bytes, i64::MAX as u64);
    }
}
