//! The house rules hold over the whole tree.

use std::fmt::Write as _;
use std::path::Path;

use roadstead_tests::tidy::{RULES, Tree};

#[test]
fn the_house_rules_hold() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let tree = Tree::read(top).unwrap();
    assert!(
        tree.get("node/Cargo.toml").is_some(),
        "the tree was not read: {}",
        top.display()
    );
    let mut report = String::new();
    let mut count = 0;
    for (name, rule) in RULES {
        for finding in rule(&tree) {
            count += 1;
            writeln!(report, "  {finding} [{name}]").unwrap();
        }
    }
    assert_eq!(count, 0, "{count} places break the house rules:\n{report}");
}
