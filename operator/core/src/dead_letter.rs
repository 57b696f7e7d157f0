//! Where dead letters go, between Queue objects.
use roadstead_crds::Queue;

/// What is wrong with two objects of a namespace that name each other for their dead letters. Where
/// one of them has its queue already, the other's can be made.
pub fn cycle(queue: &Queue, other: &Queue) -> Option<String> {
    let named = names(queue, other) && names(other, queue);
    if !named || has_queue(queue) || has_queue(other) {
        return None;
    }
    let name = |queue: &Queue| queue.metadata.name.clone().unwrap_or_default();
    Some(format!(
        "Queue {} and Queue {} name each other in deadLetter.queueRef, and neither can be made \
         first: take deadLetter out of one of them",
        name(queue),
        name(other)
    ))
}

fn names(queue: &Queue, other: &Queue) -> bool {
    let letters = queue.spec.dead_letter.as_ref();
    let named = letters.map(|letters| letters.queue_ref.name.as_str());
    named.is_some() && named == other.metadata.name.as_deref()
}

fn has_queue(queue: &Queue) -> bool {
    let status = queue.status.as_ref();
    status.is_some_and(|status| status.queue_id.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn queue(name: &str, letters: Option<&str>) -> Queue {
        let letters = letters.map(|name| json!({"queueRef": {"name": name}}));
        serde_json::from_value(json!({
            "apiVersion": "roadstead.dev/v1alpha1", "kind": "Queue",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"clusterRef": {"name": "main"}, "deadLetter": letters},
        }))
        .unwrap()
    }

    #[test]
    fn two_that_name_each_other() {
        let one = queue("one", Some("two"));
        for (letters, wrong) in [(Some("one"), true), (Some("three"), false), (None, false)] {
            let said = cycle(&one, &queue("two", letters));
            assert_eq!(said.is_some(), wrong, "{letters:?}: {said:?}");
        }
        let said = cycle(&one, &queue("two", Some("one"))).unwrap();
        assert!(said.contains("Queue one and Queue two"), "{said}");
        assert_eq!(cycle(&queue("one", None), &queue("two", Some("one"))), None);
        let mut two = queue("two", Some("one"));
        two.status = Some(serde_json::from_value(json!({"queueID": "7"})).unwrap());
        assert_eq!(cycle(&one, &two), None, "one can be made");
        assert_eq!(cycle(&two, &one), None, "one can be made");
    }
}
