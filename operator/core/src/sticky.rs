//! Sticky keys in a manifest.

use roadstead_proto::v1;

/// What cannot change in place: what it is and what is wanted.
pub(crate) fn fixed(have: &v1::QueueSpec, want: &v1::QueueSpec) -> Option<String> {
    let (have, want) = (have.sticky_keys, want.sticky_keys);
    (have != want).then(|| format!("stickyKeys is {have}, not {want}"))
}

#[cfg(test)]
mod tests {
    use roadstead_crds::QueueSpec;
    use serde_json::json;

    use crate::queue::{Difference, difference, specification};

    #[test]
    fn sticky_keys_arrive_and_cannot_change() {
        let spec = |spec: serde_json::Value| {
            let spec: QueueSpec = serde_json::from_value(spec).unwrap();
            specification(&spec, None).unwrap()
        };
        let of = |sticky: bool| {
            let cluster = json!({"name": "main"});
            spec(json!({"clusterRef": cluster, "ordering": "PerKey", "stickyKeys": sticky}))
        };
        let (plain, sticky) = (of(false), of(true));
        assert!(sticky.sticky_keys && !plain.sticky_keys);
        assert_eq!(difference(&sticky, &sticky), Difference::None);
        let words = "stickyKeys is false, not true".to_owned();
        assert_eq!(difference(&plain, &sticky), Difference::Fixed(words));
    }
}
