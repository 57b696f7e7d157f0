//! Quotas of namespaces, as an administrator says them and others run into them.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use common::{Dev, code, stderr};

#[test]
fn a_quota_is_set_listed_held_and_taken_away() {
    let dev = Dev::with(&[]);
    let tls = dev.report["adminTls"].as_str().unwrap();
    let (admin, id) = (&dev.report["nodes"][0]["admin"], &dev.report["clusterId"]);
    let as_admin = format!(
        "--endpoint {} --server-name {} --ca-file {tls}/ca.crt --cert-file {tls}/tls.crt \
         --key-file {tls}/tls.key",
        admin.as_str().unwrap(),
        id.as_str().unwrap()
    );
    let admin = |line: &str| dev.stdout(&format!("cluster quota {line} {as_admin}"));
    assert!(admin("ls").contains("no namespace has a quota"));

    dev.stdout("-n shop queue create orders --max-messages 60");
    let shown = admin("set shop --queues 2 --messages 100 --bytes 0");
    assert!(shown.contains("1/2") && shown.contains("60/100"), "{shown}");
    let refused = dev.run("-n shop queue create more --max-messages 41");
    assert_eq!(code(&refused), Some(7), "{refused:?}");
    let said = stderr(&refused);
    let words = "namespace shop: its quota of messages is 100, other queues take 60 of it";
    assert!(said.contains(words), "{said}");
    let refused = dev.run("-n shop queue update orders --max-messages 0");
    assert!(stderr(&refused).contains("to at most 100"), "{refused:?}");
    dev.stdout("-n shop queue update orders --max-messages 100");

    let shown = admin("set * --bytes 10Gi");
    assert!(shown.contains("10737418240"), "{shown}");
    let shown = admin("set shop --messages 99");
    assert!(
        shown.contains("100/99") && shown.contains("messages"),
        "{shown}"
    );
    let removed = admin("rm shop");
    assert!(
        removed.contains("shop has no quota of its own"),
        "{removed}"
    );
    let listed = admin("ls");
    assert!(
        listed.contains("shop (*)") && listed.contains("any/10737418240"),
        "{listed}"
    );

    let refused = dev.run("cluster quota ls");
    assert_eq!(code(&refused), Some(5), "{refused:?}");
    assert!(stderr(&refused).contains("admin listener"), "{refused:?}");
    for usage in ["set No --queues 1", "set shop --messages -1", "rm"] {
        let refused = dev.run(&format!("cluster quota {usage}"));
        assert_eq!(code(&refused), Some(2), "{usage}: {refused:?}");
    }
}
