//! The commands of `docs/cli.md`, in their order, as one who reads it types them.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use common::endpoint::{Endpoint, OK};
use common::{BINARY, Dev};

/// What stands in for `jq -r .NAME` on a machine that has none.
const JQ: &str = "#!/bin/sh
exec python3 -c 'import sys,json\nfor l in sys.stdin: print(json.loads(l)[sys.argv[1][1:]])' $2
";

/// The lines of the page's blocks of commands, but those that start a cluster or choose it.
fn commands(page: &str) -> Vec<&str> {
    let blocks = page.split("\n```\n").skip(1).step_by(2);
    let lines = blocks.flat_map(str::lines);
    lines
        .filter(|line| !line.starts_with("roadstead dev") && !line.starts_with("export "))
        .collect()
}

#[test]
fn the_page_of_the_command_line_can_be_followed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/cli.md")).unwrap();
    let lines = commands(&page);
    assert!(lines.len() > 20, "{lines:?}");

    let dev = Dev::start();
    let endpoint = Endpoint::start(|_| OK);
    let place = tempfile::tempdir().unwrap();
    let (bin, here) = (place.path().join("bin"), place.path());
    fs::create_dir(&bin).unwrap();
    symlink(BINARY, bin.join("roadstead")).unwrap();
    for name in ["examples", "README.md"] {
        symlink(root.canonicalize().unwrap().join(name), here.join(name)).unwrap();
    }
    let path = std::env::var("PATH").unwrap();
    let has_jq = std::env::split_paths(&path).any(|folder| folder.join("jq").exists());
    if !has_jq {
        fs::write(bin.join("jq"), JQ).unwrap();
        fs::set_permissions(bin.join("jq"), fs::Permissions::from_mode(0o755)).unwrap();
    }
    for line in lines {
        let line = &line
            .replace("localhost:8080", &endpoint.address)
            .replace("localhost:7701", &dev.endpoint);
        let mut shell = Command::new("bash");
        shell
            .args(["-o", "pipefail", "-c", line])
            .current_dir(here)
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("ROADSTEAD_ENDPOINT", &dev.endpoint)
            .stdin(Stdio::null());
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
    }
    assert_eq!(endpoint.seen().len(), 1);
}
