//! Which image the nodes run.
use k8s_openapi::api::apps::v1::StatefulSet;
use roadstead_crds::QueueCluster;

use crate::names::IMAGE_FROM;

/// Value of [`IMAGE_FROM`] where `spec.image` names the image.
pub(super) const SPECIFICATION: &str = "specification";

/// The image of the nodes: as specified, else what they got from an operator, else `default`, this
/// operator's own. So a newer operator changes no cluster by itself, and an image that is no longer
/// specified goes.
pub fn image(cluster: &QueueCluster, live: Option<&StatefulSet>, default: &str) -> String {
    let given = live.filter(|live| {
        let annotations = live.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(IMAGE_FROM)).is_none()
    });
    let given = given
        .and_then(|live| live.spec.as_ref()?.template.spec.as_ref())
        .and_then(|pod| pod.containers.first()?.image.as_deref());
    let specified = cluster.spec.image.as_deref();
    specified.or(given).unwrap_or(default).to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::cluster;
    use super::super::{Surroundings, desired};
    use super::*;
    use crate::observed::fixtures::ID;

    /// What the operator with this image applies over `live`.
    fn next(specified: Option<&str>, live: Option<&StatefulSet>, default: &str) -> StatefulSet {
        let mut cluster = cluster();
        cluster.spec.image = specified.map(str::to_owned);
        let around = Surroundings {
            operator_namespace: "roadstead-system".into(),
            image: image(&cluster, live, default),
            replicas: 3,
        };
        desired(&cluster, ID, &around).statefulset
    }

    fn runs(set: &StatefulSet) -> String {
        let pod = set.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
        pod.containers[0].image.clone().unwrap()
    }

    #[test]
    fn an_image_stays_until_it_is_specified_or_no_longer() {
        let first = next(None, None, "op:1");
        assert_eq!(runs(&first), "op:1");
        let newer = next(None, Some(&first), "op:2");
        assert_eq!(runs(&newer), "op:1", "a newer operator changes nothing");
        let broken = next(Some("broken"), Some(&newer), "op:2");
        assert_eq!(runs(&broken), "broken");
        let back = next(None, Some(&broken), "op:2");
        assert_eq!(runs(&back), "op:2", "back to the operator's");
        assert_eq!(runs(&next(None, Some(&back), "op:3")), "op:2");
    }
}
