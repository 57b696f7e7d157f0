//! Pods that outlived their ServiceAccount. A token belongs to the very account that it was issued
//! for: the API server refuses it once that is deleted, even if there is another of its name.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use roadstead_crds::{Authentication, QueueCluster};

/// Whether a pod asks the API server with the token of an account that is gone: no pod is made
/// without its account, so one that is older than `account` was made with another.
pub fn is_former(cluster: &QueueCluster, pod: &ObjectMeta, account: Option<&ObjectMeta>) -> bool {
    let mut listeners = cluster.spec.listeners.iter();
    let asks = listeners.any(|listener| {
        let authentication = &listener.authentication;
        authentication.contains(&Authentication::ServiceAccount)
    });
    let Some(account) = account else { return asks };
    let made = pod.creation_timestamp.as_ref();
    let younger = made.zip(account.creation_timestamp.as_ref());
    asks && younger.is_some_and(|(pod, account)| pod.0 < account.0)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::desired::fixtures::cluster;

    fn made(second: i64) -> ObjectMeta {
        ObjectMeta {
            creation_timestamp: Some(Time(Timestamp::from_second(second).unwrap())),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn who_is_older_than_the_account_has_the_token_of_another() {
        let cluster = cluster();
        for (pod, account, former) in [(5, 4, false), (5, 5, false), (5, 6, true)] {
            let found = is_former(&cluster, &made(pod), Some(&made(account)));
            assert_eq!(found, former, "pod {pod}, account {account}");
        }
        assert!(is_former(&cluster, &made(5), None), "it is gone");
    }

    #[test]
    fn who_asks_nobody_for_tokens_goes_on() {
        let mut cluster = cluster();
        cluster.spec.listeners[0].authentication = vec![Authentication::Anonymous];
        assert!(!is_former(&cluster, &made(5), Some(&made(6))));
        assert!(!is_former(&cluster, &made(5), None));
    }
}
